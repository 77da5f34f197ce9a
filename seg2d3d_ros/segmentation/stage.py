"""The first stage: every picture gets exactly one Segmentation, empty with a status if it must.

Synchronous, without a clock of its own: it decides by the stamps of what is pushed, so live and
replay give the same result. Pictures of one camera come out in the order in which they went in.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import InputError
from seg2d3d_ros.geometry.masks import area
from seg2d3d_ros.segmentation.backend import (
    SegmentationBackend,
    choose_backend,
    create_backend,
)
from seg2d3d_ros.segmentation.labels import LabelPairing, LabelsBackend, Pair
from seg2d3d_ros.types import (
    Frame,
    Item,
    LabelImage,
    Mask,
    Rig,
    Segmentation,
    SegmentationStatus,
)

_LOG = logging.getLogger(__name__)

Status = SegmentationStatus


class SegmentationStage:
    """Turns pictures into segmentations.

    Attributes:
        backend: The backend in use.
        reason: Sentence that says why it was chosen.
        prompts: Classes of every prompt that was set, the first of them version 1.
        counts: Pictures per camera and status.
    """

    def __init__(
        self, config: Config, rig: Rig, backend: SegmentationBackend | None = None
    ) -> None:
        """Prepare for a rig.

        Args:
            config: Whole configuration.
            rig: The cameras.
            backend: Backend to use; None to choose one by the configuration.

        Raises:
            BackendError: the backend is unknown or cannot run here.
            WeightsError: its weights cannot be used.
        """
        if backend is None:
            name, self.reason = choose_backend(config, rig)
            self.backend = create_backend(name, config)
            _LOG.info("%s", self.reason)
        else:
            self.backend = backend
            self.reason = f"backend '{backend.name}' because it was handed over"
        self.prompts: list[tuple[str, ...]] = []
        self.counts: dict[str, Counter[str]] = {c.name: Counter() for c in rig.cameras}
        self._options = config.segmentation
        self._num_frames: Counter[str] = Counter()
        self._skipped: set[tuple[str, int]] = set()
        self._batch: list[Frame] = []
        self._batch_size = max(1, min(self.backend.max_batch, len(rig.cameras)))
        self._ready: list[Segmentation] = []
        self._shapes = [(c.height_px, c.width_px) for c in rig.cameras]
        self._labelled = rig.has_labels or frozenset(self.counts)
        self._pairing = LabelPairing(round(self._options.label_wait_s * 1e9))

    @property
    def prompt_version(self) -> int:
        """Number of the text prompt in force, 0 for the configured one."""
        return len(self.prompts)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Why the backend was chosen, what later prompts asked for, and cameras without masks."""
        changes = [f"prompt {k}: {'; '.join(p)}" for k, p in enumerate(self.prompts, 1)]
        return (self.reason, *changes, *self._without_masks())

    def _without_masks(self) -> list[str]:
        """Return a sentence about each camera whose label pictures all fail to fit."""
        if not isinstance(self.backend, LabelsBackend):
            return []
        of = {c: n for c, n in self.counts.items() if c in self._labelled and n.total()}
        return [
            f"not one of {n.total()} pictures of {camera} got masks: {n[Status.FAILED.value]} "
            f"label pictures are of another size, {self._pairing.num_unused} have the stamp of no "
            "picture"
            for camera, n in of.items()
            if not n[Status.OK.value]
        ]

    @property
    def classes(self) -> dict[int, str]:
        """Class names by id, as far as the backend knows them."""
        return self.backend.classes

    @property
    def backend_counts(self) -> dict[str, float]:
        """What happened besides pictures and statuses, by name, for the report."""
        return {**self.backend.counts, "unused_labels": float(self._pairing.num_unused)}

    def push(self, item: Item) -> list[Segmentation]:
        """Take the next item; return the segmentations that are complete.

        Frames and label pictures matter, other items are let pass.

        Raises:
            InputError: the camera is not part of the rig.
        """
        if isinstance(item, Frame):
            self._ready += self._push_frame(item)
        elif isinstance(item, LabelImage) and isinstance(self.backend, LabelsBackend):
            self._check_camera(item.camera)
            self._ready += self._segment_pairs(self._pairing.push(item))
        return self._take_ready()

    def finish(self) -> list[Segmentation]:
        """Complete everything that still waits; the stage can go on afterwards."""
        self._ready += self._segment_batch() + self._segment_pairs(self._pairing.flush())
        return self._take_ready()

    def shed(self, frame: Frame) -> list[Segmentation]:
        """Let a picture pass without looking at it, because there is no time for it."""
        self._check_camera(frame.camera)
        try:
            self._ready += self._segment_batch()
        finally:
            self._ready.append(self._empty(frame, Status.OVERLOAD))
        return self._take_ready()

    def set_prompt(self, classes: Sequence[str]) -> int:
        """Look for other classes from the next picture on; return the new prompt's version.

        Args:
            classes: `name`, or `name=synonym,synonym`, most important first.

        Raises:
            BackendError: the backend takes no prompt.
            ConfigError: the prompt is not well formed.
        """
        self._ready += self._segment_batch()
        self.backend.set_prompt(classes)
        self.prompts.append(tuple(classes))
        return self.prompt_version

    def activate(self) -> None:
        """Let the backend take its device and warm up for the rig's pictures."""
        self.backend.activate(self._shapes)

    def deactivate(self) -> None:
        """Let the backend leave its device."""
        self.backend.deactivate()

    def close(self) -> None:
        """Free the backend."""
        self.backend.close()

    def _push_frame(self, frame: Frame) -> list[Segmentation]:
        self._check_camera(frame.camera)
        is_skipped = self._num_frames[frame.camera] % self._options.every_nth != 0
        self._num_frames[frame.camera] += 1
        if isinstance(self.backend, LabelsBackend):
            if is_skipped:
                self._skipped.add((frame.camera, frame.stamp_ns))
            is_labelled = frame.camera in self._labelled
            alone: list[Pair] = [(frame, None)]
            return self._segment_pairs(self._pairing.push(frame) if is_labelled else alone)
        done: list[Segmentation] = []
        if self._batch and self._must_go_before(frame):
            done = self._segment_batch()
        if is_skipped:
            return [*done, self._empty(frame, Status.SKIPPED)]
        self._batch.append(frame)
        if len(self._batch) >= self._batch_size:
            done += self._segment_batch(frame)
        return done

    def _must_go_before(self, frame: Frame) -> bool:
        """Tell whether the batch cannot wait: one picture per camera, taken at about one time."""
        wait_ns = round(self._options.batch_wait_s * 1e9)
        is_late = abs(frame.stamp_ns - self._batch[0].stamp_ns) > wait_ns
        return is_late or any(waiting.camera == frame.camera for waiting in self._batch)

    def _segment_batch(self, pushed: Frame | None = None) -> list[Segmentation]:
        """Run the backend on the waiting pictures, one call per picture size.

        If it raises, every waiting picture but the one just pushed, whose call the exception
        leaves, is ready as failed: no picture goes without its segmentation.
        """
        waiting, self._batch = self._batch, []
        groups: dict[tuple[int, ...], list[Frame]] = {}
        for frame in waiting:
            groups.setdefault(frame.image.shape, []).append(frame)
        done: list[Segmentation] = []
        try:
            for shape in list(groups):
                found = self.backend.segment(groups[shape])
                for frame, masks in zip(groups.pop(shape), found, strict=True):
                    done.append(self._full(frame, masks))
        except Exception:
            lost = [frame for frames in groups.values() for frame in frames if frame is not pushed]
            self._ready += done + [self._empty(frame, Status.FAILED) for frame in lost]
            raise
        return done

    def _segment_pairs(self, pairs: list[Pair]) -> list[Segmentation]:
        done = []
        for frame, labels in pairs:
            if (frame.camera, frame.stamp_ns) in self._skipped:
                self._skipped.remove((frame.camera, frame.stamp_ns))
                done.append(self._empty(frame, Status.SKIPPED))
            elif labels is None:
                done.append(self._empty(frame, Status.NO_LABELS))
            else:
                assert isinstance(self.backend, LabelsBackend)
                masks = self.backend.masks(frame, labels)
                done.append(self._full(frame, masks))
        return done

    def _full(self, frame: Frame, masks: list[Mask] | None) -> Segmentation:
        """Keep the largest masks that are large enough, in ascending label."""
        if masks is None:
            return self._empty(frame, Status.FAILED)
        sized = [(area(mask.bbox_px, mask.runs), mask) for mask in masks]
        sized = [(size, mask) for size, mask in sized if size >= self._options.min_area_px]
        sized.sort(key=lambda pair: (-pair[0], pair[1].label))
        kept = [mask for _, mask in sized[: self._options.max_masks]]
        return self._made(frame, Status.OK, tuple(sorted(kept, key=lambda mask: mask.label)))

    def _empty(self, frame: Frame, status: SegmentationStatus) -> Segmentation:
        return self._made(frame, status, ())

    def _made(
        self, frame: Frame, status: SegmentationStatus, masks: tuple[Mask, ...]
    ) -> Segmentation:
        self.counts[frame.camera][status.value] += 1
        h, w = frame.image.shape[:2]
        return Segmentation(
            frame.camera,
            frame.stamp_ns,
            w,
            h,
            masks,
            status,
            self.backend.name,
            self.prompt_version,
        )

    def _take_ready(self) -> list[Segmentation]:
        ready, self._ready = self._ready, []
        return ready

    def _check_camera(self, camera: str) -> None:
        if camera not in self.counts:
            raise InputError(
                f"a picture of camera '{camera}' came, but the rig holds only "
                f"{', '.join(self.counts)}; name all cameras before the first picture"
            )
