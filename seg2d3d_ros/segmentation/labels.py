"""Masks made elsewhere: label pictures, paired with pictures by camera and stamp."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import BackendError
from seg2d3d_ros.segmentation.backend import PromptlessBackend
from seg2d3d_ros.segmentation.classes import CITYSCAPES
from seg2d3d_ros.segmentation.masks import encode_labels
from seg2d3d_ros.types import Frame, LabelImage, Mask

Pair: TypeAlias = tuple[Frame, LabelImage | None]

_NEVER = -(2**62)


class LabelsBackend(PromptlessBackend):
    """Takes masks from label pictures; the stage pairs them with pictures."""

    name = "labels"
    classes = CITYSCAPES

    def segment(self, frames: Sequence[Frame]) -> list[list[Mask] | None]:
        """Refuse: a picture alone holds no labels."""
        raise BackendError(
            f"the backend 'labels' was handed {len(frames)} pictures without their label "
            "pictures; push both into a SegmentationStage"
        )

    def masks(self, frame: Frame, labels: LabelImage) -> list[Mask] | None:
        """Return one mask per value; None if the label picture does not fit the picture.

        One that is a whole number of times smaller, as networks leave it, is enlarged.
        """
        (height, width), (rows, columns) = frame.image.shape[:2], labels.labels.shape
        times = height // rows
        if (rows * times, columns * times) != (height, width):
            self.counts["labels_of_other_size"] = self.counts.get("labels_of_other_size", 0) + 1
            return None
        picture = labels.labels
        if times > 1:
            picture = picture.repeat(times, axis=0).repeat(times, axis=1)
        return [
            Mask(value, value // 1000 if value >= 1000 else value, 1.0, bbox_px, runs)
            for value, bbox_px, runs in encode_labels(picture)
        ]


def create(config: Config) -> LabelsBackend:
    """Make the backend."""
    return LabelsBackend()


class LabelPairing:
    """Pairs pictures with label pictures of the same camera and stamp, deciding by stamps alone.

    A picture waits for its labels until a later label picture of its camera has come (they arrive
    in stamp order, so its own never will: labels may exist for every n-th picture only) or until
    the newest stamp seen is more than `wait_ns` later.

    Attributes:
        num_unused: Label pictures whose picture never came, or had been given up before.
    """

    def __init__(self, wait_ns: int) -> None:
        """Start with nothing waiting."""
        self.num_unused = 0
        self._wait_ns = wait_ns
        self._clock_ns = _NEVER
        self._queues: dict[str, _Queue] = {}

    def push(self, item: Frame | LabelImage) -> list[Pair]:
        """Take a picture or a label picture; return the pictures that are decided by it."""
        queue = self._queues.setdefault(item.camera, _Queue())
        decided: list[Pair] = []
        if isinstance(item, Frame):
            if item.stamp_ns < queue.newest_frame_ns - self._wait_ns:
                decided = self.flush()
                queue = self._queues.setdefault(item.camera, _Queue())
            queue.frames.append(item)
            queue.newest_frame_ns = max(item.stamp_ns, queue.newest_frame_ns)
        else:
            queue.labels[item.stamp_ns] = item
            queue.newest_label_ns = max(item.stamp_ns, queue.newest_label_ns)
        self._clock_ns = max(item.stamp_ns, self._clock_ns)
        for queue in self._queues.values():
            decided += queue.decide(self._clock_ns - self._wait_ns)
            self.num_unused += queue.forget_unused()
        return decided

    def flush(self) -> list[Pair]:
        """Decide every picture that still waits and forget all stamps (time may start anew)."""
        decided: list[Pair] = []
        for queue in self._queues.values():
            decided += [(frame, queue.labels.pop(frame.stamp_ns, None)) for frame in queue.frames]
            self.num_unused += len(queue.labels)
        self._queues, self._clock_ns = {}, _NEVER
        return decided


@dataclass
class _Queue:
    """What waits of one camera."""

    frames: deque[Frame] = field(default_factory=deque)
    labels: dict[int, LabelImage] = field(default_factory=dict)
    newest_frame_ns: int = _NEVER
    newest_label_ns: int = _NEVER

    def decide(self, oldest_ns: int) -> list[Pair]:
        """Take leading pictures whose labels are here, or will not come any more."""
        decided: list[Pair] = []
        while self.frames:
            stamp_ns = self.frames[0].stamp_ns
            labels = self.labels.pop(stamp_ns, None)
            if labels is None and stamp_ns >= max(self.newest_label_ns, oldest_ns):
                break
            decided.append((self.frames.popleft(), labels))
        return decided

    def forget_unused(self) -> int:
        """Drop label pictures that no picture can want any more; return their number."""
        wanted = {frame.stamp_ns for frame in self.frames}
        unused = [s for s in self.labels if s <= self.newest_frame_ns and s not in wanted]
        for stamp_ns in unused:
            del self.labels[stamp_ns]
        return len(unused)
