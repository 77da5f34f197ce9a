"""Finds a rig that lost its tracks among the landmarks it followed before, by their looks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.clusters.descriptors import describe
from seg2d3d_ros.clusters.window import LocalFrame, LocalMap, Seen
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.pose import RigObservations, RigPose, find_rig_pose, refine_rig_pose
from seg2d3d_ros.types import Camera, FloatArray, IntArray

# A patch of known size in the world covers more of the picture the nearer it has come.
_SIZES_PX = 4.0 * 2.0 ** (0.5 * np.arange(7))
_RATIO = 0.85
_MIN_CORNERS = 40
_FIRST_TRIES, _MAX_TRIES = 3, 15
_KEYFRAMES = 8
_MARGIN = 1.3
_MIN_INLIERS = 12
_MIN_SHARE = 0.35
_MAX_ERROR_PX = 5.0
_MOST_WAY, _MOST_DEPTH = 0.5, 0.25
# Three landmarks make a pose: more must say that it is no other one, and not too few of those
# that might have.
_MIN_TELLING, _MIN_TELLING_SHARE = 4, 0.25
_OTHER_WAY = 0.33
# A road neither rises nor tilts by more than this between two places.
_MOST_RISE, _MOST_RISE_DEPTH = 0.08, 0.01
_MOST_TILT_RAD = np.deg2rad(5.0)


@dataclass(frozen=True)
class Relocation:
    """Where the rig is, and which landmarks its cameras see where."""

    T_local_base: FloatArray
    seen: Seen


class Relocator:
    """Compares the corners of pictures, at all sizes they may have, with described landmarks.

    Attributes:
        is_blind: The pictures looked at last show hardly a corner: they are black or blurred.
    """

    def __init__(self, cameras: tuple[Camera, ...]) -> None:
        """Prepare for the cameras of a rig."""
        self._cameras = cameras
        self._sift = cv2.SIFT.create()
        self._num_tries = 0
        self.is_blind = False

    @property
    def is_searching(self) -> bool:
        """Return True after a picture that was looked at in vain, while the next may tell more."""
        return self.is_blind or 0 < self._num_tries < _FIRST_TRIES

    @property
    def is_waiting(self) -> bool:
        """Return True where more pictures are needed before the search can count as failed."""
        return self.is_blind or self._num_tries < _FIRST_TRIES

    def rest(self) -> None:
        """Hear that the rig is located: the next search may take its time again."""
        self._num_tries = 0

    def find(
        self,
        grays: dict[int, NDArray[np.uint8]],
        corners: dict[int, FloatArray],
        known: LocalMap,
        T_local_base: FloatArray,
    ) -> Relocation | None:
        """Find the rig by what it saw before its tracks ended.

        Args:
            grays: Its pictures (h, w) by camera.
            corners: Their corners (n, 2) by camera.
            known: The local map; landmarks of its newest keyframes are looked for.
            T_local_base: (4, 4) where the rig should be, roughly.

        Returns:
            The pose and what is seen; None where too few landmarks agree with one pose or too few
            of them are near enough to tell it from others, where that lies further off than the
            way since and the depths allow or not on a road, or after fifteen pictures in vain.
        """
        self.is_blind = sum(len(uv) for uv in corners.values()) < _MIN_CORNERS
        if self.is_blind or self._num_tries >= _MAX_TRIES:
            return None
        self._num_tries += 1
        ids = self._candidates(known, T_local_base)
        if len(ids) < _MIN_INLIERS:
            return None
        seen = self._matches(grays, corners, ids, known.landmarks.descriptors(ids))
        if len(seen.ids) < _MIN_INLIERS:
            return None
        points = known.landmarks.points(seen.ids)
        obs = RigObservations(self._cameras, seen.camera, points, known.normalized(seen))
        guess = find_rig_pose(obs, _MAX_ERROR_PX)
        if guess is None:
            return None
        found = refine_rig_pose(obs, guess, _MAX_ERROR_PX)
        T, good = found.T_world_base, found.is_inlier
        T_before = known.keyframes[-1].T_local_base
        if not _is_sure(obs, found, T_before):
            return None
        depth = float(np.median(np.linalg.norm(points[good] - T[:3, 3], axis=1)))
        if not _is_on_road(transforms.invert(T_before) @ T, depth):
            return None
        way = np.linalg.norm(T_local_base[:3, 3] - T_before[:3, 3])
        if np.linalg.norm(T[:3, 3] - T_local_base[:3, 3]) > _MOST_WAY * way + _MOST_DEPTH * depth:
            return None
        return Relocation(T, seen.rows(good))

    def _candidates(self, known: LocalMap, T_local_base: FloatArray) -> IntArray:
        """Return landmarks of the newest keyframes that may be in sight of some camera."""
        sighted = [k.seen.ids for k in known.keyframes if len(k.seen.ids)][-_KEYFRAMES:]
        if not sighted:
            return np.zeros(0, dtype=np.int64)
        ids = np.unique(np.concatenate(sighted))
        points = known.landmarks.points(ids)
        inside = np.zeros(len(ids), dtype=bool)
        for camera in self._cameras:
            T_cam_local = transforms.invert(T_local_base @ camera.T_base_cam)
            p_cam = transforms.apply(T_cam_local, points)
            reach = _MARGIN * np.array([camera.width_px, camera.height_px]) / 2.0
            tangent = reach / np.array([camera.K[0, 0], camera.K[1, 1]])
            inside |= (np.abs(p_cam[:, :2]) < tangent * p_cam[:, 2:]).all(axis=1)
        return ids[inside & known.landmarks.is_described(ids)]

    def _matches(
        self,
        grays: dict[int, NDArray[np.uint8]],
        corners: dict[int, FloatArray],
        ids: IntArray,
        descriptors: NDArray[np.uint8],
    ) -> Seen:
        parts = []
        for c, uv in sorted(corners.items()):
            i, j = self._match(grays[c], uv, descriptors)
            ideal = models.ideal_pixels(self._cameras[c], uv[j])
            parts.append(Seen(ids[i], np.full(len(i), c), uv[j], ideal))
        return Seen.joined(parts)

    def _match(
        self, gray: NDArray[np.uint8], uv_px: FloatArray, descriptors: NDArray[np.uint8]
    ) -> tuple[IntArray, IntArray]:
        """Return rows of descriptors (n, 128) and of corners (m, 2) that suit each other best."""
        if len(uv_px) < 2:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        a = descriptors.astype(np.float32)
        distance = np.full((len(a), len(uv_px)), np.inf, dtype=np.float32)
        for size in _SIZES_PX:
            b = describe(self._sift, gray, uv_px, np.full(len(uv_px), size)).astype(np.float32)
            # Whole numbers below 2^24: single precision is exact.
            apart = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * (a @ b.T)
            apart[:, ~b.any(axis=1)] = np.inf
            distance = np.minimum(distance, apart)
        rows, j = np.arange(len(a)), distance.argmin(axis=1)
        mutual = distance.argmin(axis=0)[j] == rows
        nearest = distance[rows, j]
        distance[rows, j] = np.inf
        i = np.flatnonzero(mutual & (nearest < _RATIO**2 * distance.min(axis=1)))
        return i, j[i]


def _is_sure(obs: RigObservations, found: RigPose, T_before: FloatArray) -> bool:
    """Return whether enough matches agree with a pose, of those near enough to tell it, too."""
    num_good, num = int(found.is_inlier.sum()), len(found.is_inlier)
    if num_good < max(_MIN_INLIERS, _MIN_SHARE * num):
        return False
    telling = _num_telling(obs, found, T_before)
    could_tell = telling + num - num_good
    return telling >= max(_MIN_TELLING, _MIN_TELLING_SHARE * could_tell)


def _num_telling(obs: RigObservations, found: RigPose, T_local_base: FloatArray) -> int:
    """Return how many inliers rule out that the rig came a third less far, or further.

    What lies at the end of the street looks the same from everywhere: a few wrong matches nearby
    then decide how far the rig came since it was last located, at a pose (4, 4).
    """
    num = []
    for share in (-_OTHER_WAY, _OTHER_WAY):
        other = found.T_world_base.copy()
        other[:3, 3] += share * (other[:3, 3] - T_local_base[:3, 3])
        seen = refine_rig_pose(obs, other, _MAX_ERROR_PX, max_iterations=0)
        num.append(int((found.is_inlier & ~seen.is_inlier).sum()))
    return min(num)


def _is_on_road(T_before_base: FloatArray, depth: float) -> bool:
    """Return whether a vehicle can have moved so (4, 4); depths around tell how sure that is."""
    way, rise = np.linalg.norm(T_before_base[:3, 3]), abs(T_before_base[2, 3])
    tilt_rad = np.arccos(np.clip(T_before_base[2, 2], -1.0, 1.0))
    return bool(rise <= _MOST_RISE * way + _MOST_RISE_DEPTH * depth and tilt_rad <= _MOST_TILT_RAD)


def bridge(frames: list[LocalFrame], found: LocalFrame) -> None:
    """Lead the frames that coasted evenly from the last that was tracked to one found again.

    Args:
        frames: All frames before it; those that coasted last are moved.
        found: The frame that was found.
    """
    tracked = [k for k, f in enumerate(frames) if f.status == "tracked"]
    if not tracked:
        return
    before = frames[tracked[-1]]
    reference = next((f for f in frames[tracked[-1] :: -1] if f.is_keyframe), before)
    for f in frames[tracked[-1] + 1 :]:
        share = (f.stamp_ns - before.stamp_ns) / (found.stamp_ns - before.stamp_ns)
        f.T_local_base = transforms.interpolate(before.T_local_base, found.T_local_base, share)
        reference = f if f.is_keyframe else reference
        f.T_ref_base = transforms.invert(reference.T_local_base) @ f.T_local_base
