"""Bring pictures, segmentations and odometry together by stamp, whatever order they arrived in."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from seg2d3d_ros.config import ClustersConfig
from seg2d3d_ros.types import Dropped, Fix, Frame, Odometry, Rig, Segmentation

_JUMP_BACK_PICTURES = 10


@dataclass(frozen=True)
class RigFrame:
    """All pictures of one moment by camera index, with their segmentations where there are any."""

    stamp_ns: int
    frames: dict[int, Frame]
    segmentations: dict[int, Segmentation]


class Assembler:
    """Releases rig frames in stamp order once all they need has come or cannot come any more.

    Whether to wait is decided by the stamps of pictures alone, so that a replay and a live run
    release the same, and so that pictures may come as long after odometry as they like.
    """

    def __init__(
        self, config: ClustersConfig, rig: Rig, expects_segmentation: bool = True
    ) -> None:
        """Prepare for a rig; without `expects_segmentation` pictures do not wait for masks."""
        self._rig = rig
        self._tolerance_ns = int(config.sync_tolerance_s * 1e9)
        self._wait_ns = int(config.wait_s * 1e9)
        self._expects_segmentation = expects_segmentation
        self._pictures: list[tuple[int, int, Frame]] = []
        self._segmentations: dict[tuple[int, int], Segmentation] = {}
        self._newest: dict[int, int] = {}
        self._released_ns = -(1 << 62)
        self._odometry_ns = -(1 << 62)
        self._watermark_ns = -(1 << 62)
        self._late_in_a_row = 0
        self.dropped: list[Dropped] = []
        self.jumped_back = False
        self.num_late_segmentations = 0

    def push(self, item: Frame | Segmentation | Odometry | Fix) -> None:
        """Take one item."""
        if isinstance(item, Frame):
            self._watermark_ns = max(self._watermark_ns, item.stamp_ns)
            self._push_frame(item)
        elif isinstance(item, Segmentation):
            if item.stamp_ns <= self._released_ns:
                self.num_late_segmentations += 1
            else:
                self._segmentations[(self._rig.index(item.camera), item.stamp_ns)] = item
        elif isinstance(item, Odometry):
            self._odometry_ns = max(self._odometry_ns, item.stamp_ns)

    def _push_frame(self, frame: Frame) -> None:
        camera = self._rig.index(frame.camera)
        late = frame.stamp_ns <= self._released_ns or frame.stamp_ns <= self._newest.get(
            camera, -(1 << 62)
        )
        if late:
            self._late_in_a_row += 1
            if self._late_in_a_row >= _JUMP_BACK_PICTURES and frame.stamp_ns < self._released_ns:
                self._restart()
            else:
                self.dropped.append(Dropped(frame.camera, frame.stamp_ns, "stamp_back"))
                return
        self._late_in_a_row = 0
        self._newest[camera] = frame.stamp_ns
        bisect.insort(self._pictures, (frame.stamp_ns, camera, frame), key=lambda p: p[:2])

    def _restart(self) -> None:
        # Time went back for good (a bag that loops): start again rather than drop everything.
        self.dropped += [Dropped(f.camera, f.stamp_ns, "time_jump") for _, _, f in self._pictures]
        self._pictures.clear()
        self._segmentations.clear()
        self._newest.clear()
        self._released_ns = self._odometry_ns = self._watermark_ns = -(1 << 62)
        self.jumped_back = True

    def pop(self, flush: bool = False) -> RigFrame | None:
        """Return the next rig frame, or None while it still waits; `flush` waits for nothing."""
        if not self._pictures:
            return None
        stamp = self._pictures[0][0]
        group = [
            p
            for p in self._pictures[: 2 * len(self._rig.cameras)]
            if p[0] - stamp <= self._tolerance_ns
        ]
        if (
            not flush
            and self._watermark_ns - stamp <= self._wait_ns
            and not self._is_complete(stamp, group)
        ):
            return None
        frames: dict[int, Frame] = {}
        for picture in group:
            if picture[1] not in frames:
                frames[picture[1]] = picture[2]
                self._pictures.remove(picture)
        self._released_ns = stamp
        found = {
            c: self._segmentations.pop((c, f.stamp_ns))
            for c, f in frames.items()
            if (c, f.stamp_ns) in self._segmentations
        }
        self._forget_older(stamp)
        return RigFrame(stamp, frames, found)

    def _is_complete(self, stamp: int, group: list[tuple[int, int, Frame]]) -> bool:
        present = {camera for _, camera, _ in group}
        for camera in range(len(self._rig.cameras)):
            if (
                camera not in present
                and self._newest.get(camera, stamp) <= stamp + self._tolerance_ns
            ):
                return False
        if self._rig.has_odometry and self._odometry_ns < stamp:
            return False
        return not self._expects_segmentation or all(
            (camera, frame.stamp_ns) in self._segmentations for _, camera, frame in group
        )

    def _forget_older(self, stamp: int) -> None:
        old = [key for key in self._segmentations if key[1] < stamp - self._wait_ns]
        for key in old:
            del self._segmentations[key]
