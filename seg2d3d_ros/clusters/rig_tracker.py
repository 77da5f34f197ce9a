"""Corners that all cameras of a rig follow from picture to picture, none of them on what moves."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from seg2d3d_ros.clusters.assembly import RigFrame
from seg2d3d_ros.clusters.exclusion import Exclusion
from seg2d3d_ros.clusters.landmarks import is_among
from seg2d3d_ros.clusters.motion import guess_pixels
from seg2d3d_ros.clusters.threads import Threads
from seg2d3d_ros.clusters.tracker import FAR, NEAR, Tracker
from seg2d3d_ros.clusters.window import LocalMap, Seen
from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.types import FloatArray, Rig

_FEWEST_CORNERS = 50
_MOST_APART_M = 2.0


class RigTracker:
    """One tracker for each camera; they work side by side.

    Attributes:
        trackers: By camera.
        exclusion: Where no track may be, by camera.
    """

    def __init__(self, config: Config, rig: Rig, threads: Threads) -> None:
        """Share the configured corners evenly among the cameras."""
        limits = config.clusters
        share = max(limits.max_features // len(rig.cameras), _FEWEST_CORNERS)
        self.trackers = [Tracker(share, limits.min_feature_distance_px) for _ in rig.cameras]
        self.exclusion = Exclusion(config.segmentation)
        self._lenses = rig.cameras
        self._threads = threads
        # By camera: where base_link was when its last picture was taken.
        self._pose_of: dict[int, FloatArray] = {}
        # Without odometry nothing tells how the rig moved between their pictures.
        self._fire_in_turn = rig.has_odometry and len(rig.cameras) > 1

    def clear(self) -> None:
        """End all tracks; forget poses and masks."""
        for tracker in self.trackers:
            tracker.clear()
        self.exclusion.clear()
        self._pose_of.clear()

    def advance(
        self, moment: RigFrame, known: LocalMap, T_local_base: FloatArray
    ) -> dict[int, np.ndarray]:
        """Follow the tracks into the pictures of a moment; those on what moves end.

        Args:
            moment: Pictures and masks.
            known: The local map, whose landmarks say where tracks should be by now.
            T_local_base: (4, 4) where the rig should be.

        Returns:
            Grey pictures (h, w) uint8 by camera.
        """

        reach = NEAR if known.rig.has_odometry else FAR

        def work(c: int) -> tuple[int, np.ndarray]:
            image, tracker = moment.frames[c].image, self.trackers[c]
            gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            tracker.advance(gray, self._guess(c, known, T_local_base), reach)
            never = self.exclusion.look(c, moment.segmentations.get(c))
            if never is not None:
                at = np.round(tracker.uv_px).astype(int)
                tracker.keep(never[at[:, 1], at[:, 0]] == 0)
            return c, gray

        self._fire_in_turn &= len(moment.frames) == 1
        return dict(self._threads.map(work, sorted(moment.frames)))

    def _guess(self, c: int, known: LocalMap, T_local_base: FloatArray) -> FloatArray:
        """Return where the tracks of a camera (n, 2) should be with the rig at a pose."""
        tracker, camera = self.trackers[c], known.rig.cameras[c]
        if not len(tracker.ids):
            return tracker.uv_px
        points = known.landmarks.points(tracker.ids)
        T_before = self._pose_of[c] @ camera.T_base_cam
        T_now = T_local_base @ camera.T_base_cam
        return guess_pixels(camera, tracker.uv_px, points, T_before, T_now)

    def stand_at(self, cameras: Sequence[int], T_local_base: FloatArray) -> None:
        """Hear where base_link (4, 4) was when the last pictures of some cameras were taken."""
        self._pose_of.update(dict.fromkeys(cameras, T_local_base))

    def others_in_turn(
        self, cameras: Sequence[int], T_local_base: FloatArray
    ) -> dict[int, tuple[FloatArray, np.ndarray]]:
        """Return the newest pictures of other cameras that fire in turn with some.

        Args:
            cameras: Those whose pictures were taken last.
            T_local_base: (4, 4) where base_link was then.

        Returns:
            By camera: where base_link (4, 4) was then, not far away, and the picture (h, w) uint8,
            grey. Nothing if any two cameras ever fired together, or without odometry.
        """
        out: dict[int, tuple[FloatArray, np.ndarray]] = {}
        for c, T in self._pose_of.items() if self._fire_in_turn else ():
            way = float(np.linalg.norm(T[:3, 3] - T_local_base[:3, 3]))
            image = self.trackers[c].image
            if c not in cameras and way < _MOST_APART_M and image is not None:
                out[c] = (T, image)
        return out

    def seen(self, cameras: Sequence[int]) -> Seen:
        """Return all tracks of some cameras, camera by camera."""
        trackers = [self.trackers[c] for c in cameras]
        ideal = [
            models.ideal_pixels(self._lenses[c], t.uv_px)
            for c, t in zip(cameras, trackers, strict=True)
        ]
        return Seen(
            ids=np.concatenate([t.ids for t in trackers]),
            camera=np.repeat(np.array(cameras, dtype=np.int64), [len(t.ids) for t in trackers]),
            uv_px=np.concatenate([t.uv_px for t in trackers]),
            uv_ideal_px=np.concatenate(ideal),
        )

    def end_others(self, cameras: Sequence[int], seen: Seen) -> None:
        """End the tracks of some cameras that are not among what they saw."""
        for c in cameras:
            tracker = self.trackers[c]
            tracker.keep(is_among(np.sort(seen.ids[seen.camera == c]), tracker.ids))

    def replace(self, cameras: Sequence[int], seen: Seen) -> None:
        """Let some cameras follow what was seen, and nothing else."""
        for c in cameras:
            rows = seen.camera == c
            self.trackers[c].clear()
            self.trackers[c].add(seen.ids[rows], seen.uv_px[rows])

    def find_corners(self, moment: RigFrame, most: int) -> dict[int, FloatArray]:
        """Return up to so many new corners (n, 2) of each picture that lie where they may."""
        return {
            c: self.trackers[c].find_corners(self.exclusion.allow(c, frame.stamp_ns), most)
            for c, frame in moment.frames.items()
        }
