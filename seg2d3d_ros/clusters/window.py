"""The sliding window of keyframes: triangulation, bundle adjustment and culling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from seg2d3d_ros.clusters.landmarks import LandmarkTable, is_among
from seg2d3d_ros.clusters.motion import Motion
from seg2d3d_ros.config import ClustersConfig
from seg2d3d_ros.geometry import bundle, local_bundle, transforms
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry.triangulation import triangulate
from seg2d3d_ros.types import FloatArray, IntArray, Rig

_MAX_RELATIVE_SIGMA = 0.2
_MIN_OBSERVATIONS = 20
MIN_TOLD_M = 2.0
_FIRST_STEPS, _MIN_ACROSS = 10, 30


@dataclass
class Seen:
    """What was seen at one rig frame: tracks (n,), cameras (n,), pixels (n, 2) raw and ideal."""

    ids: IntArray
    camera: IntArray
    uv_px: FloatArray
    uv_ideal_px: FloatArray

    @staticmethod
    def joined(parts: list[Seen]) -> Seen:
        """Return the rows of all parts, of which there must be one."""
        return Seen(
            np.concatenate([p.ids for p in parts]),
            np.concatenate([p.camera for p in parts]),
            np.concatenate([p.uv_px for p in parts]),
            np.concatenate([p.uv_ideal_px for p in parts]),
        )

    def rows(self, mask: np.ndarray) -> Seen:
        """Return the rows where the mask (n,) is True, or those of an index (k,)."""
        return Seen(self.ids[mask], self.camera[mask], self.uv_px[mask], self.uv_ideal_px[mask])

    def keep(self, mask: np.ndarray) -> None:
        """Drop the rows where the mask (n,) is False."""
        self.ids, self.camera = self.ids[mask], self.camera[mask]
        self.uv_px, self.uv_ideal_px = self.uv_px[mask], self.uv_ideal_px[mask]


@dataclass
class LocalFrame:
    """A rig frame of the local map: a keyframe, or a frame hung onto one by `T_ref_base`.

    Attributes:
        since_prev: Of a keyframe: the motion since the one before it, told by anything but common
            landmarks: odometry, a turn on the spot, or velocity where cameras fire in turn.
        in_doubt: Of a keyframe: by camera, tracks (n,), ascending, that did not look as at first
            there and ended right after. What is about to be covered by something nearer is
            dragged along by it, so the map is not told where they were.
    """

    stamp_ns: int
    T_local_base: FloatArray
    is_keyframe: bool
    cameras: tuple[int, ...]
    picture_stamps_ns: tuple[int, ...]
    seen: Seen
    status: str = "tracked"
    since_prev: Motion | None = None
    T_ref_base: FloatArray = field(default_factory=lambda: np.eye(4))
    in_doubt: Sequence[IntArray] = ()

    @property
    def told(self) -> Seen:
        """Return what was seen but that which is in doubt."""
        is_told = np.ones(len(self.seen.ids), dtype=bool)
        for c, ids in enumerate(self.in_doubt):
            is_told &= (self.seen.camera != c) | ~is_among(ids, self.seen.ids)
        return self.seen.rows(is_told)


class LocalMap:
    """Keyframes of the window with their landmarks, in one continuous local frame."""

    def __init__(self, config: ClustersConfig, rig: Rig, landmarks: LandmarkTable) -> None:
        """Start without keyframes."""
        self._config = config
        self.rig = rig
        self._focal = np.array([models.focal_px(c) for c in rig.cameras])
        self._principal = np.array([c.K[:2, 2] for c in rig.cameras])
        self._focal_xy = np.array([(c.K[0, 0], c.K[1, 1]) for c in rig.cameras])
        self.landmarks = landmarks
        self.keyframes: list[LocalFrame] = []

    def rays_base(self, seen: Seen) -> tuple[FloatArray, FloatArray]:
        """Return origins (n, 3) and unit directions (n, 3) of what was seen, in base_link."""
        xy = (seen.uv_ideal_px - self._principal[seen.camera]) / self._focal_xy[seen.camera]
        T = np.stack([c.T_base_cam for c in self.rig.cameras])[seen.camera]
        rays = np.einsum("nij,nj->ni", T[:, :3, :3], np.c_[xy, np.ones(len(xy))])
        return T[:, :3, 3], rays / np.linalg.norm(rays, axis=1, keepdims=True)

    def normalized(self, seen: Seen) -> FloatArray:
        """Return ideal image coordinates (n, 2) of what was seen."""
        return (seen.uv_ideal_px - self._principal[seen.camera]) / self._focal_xy[seen.camera]

    def window(self) -> list[LocalFrame]:
        """Return the newest keyframes that are adjusted together.

        Where cameras fire in turn, each keyframe holds one of them: then there are more.
        """
        newest = self.keyframes[-self._config.window_keyframes :]
        pictures = sum(len(f.cameras) for f in newest)
        turns = len(self.rig.cameras) * len(newest) // max(pictures, 1)
        return self.keyframes[-self._config.window_keyframes * max(turns, 1) :]

    def triangulate(self) -> int:
        """Triangulate tracks of the newest keyframe without position; return how many succeeded.

        All keyframes that are kept take part, not only the window: far points need a long way.
        """
        newest = self.keyframes[-1].seen.ids
        wanted = np.unique(newest[~np.isfinite(self.landmarks.points(newest)[:, 0])])
        if len(wanted) == 0:
            return 0
        ids, centers, rays, camera = self._rays_world(wanted)
        unique, track, count = np.unique(ids, return_inverse=True, return_counts=True)
        found = triangulate(track, centers, rays, len(unique), 1.0 / float(self._focal.mean()))
        span = np.zeros(len(unique))
        offset = found.points[track] - centers
        np.maximum.at(span, track, np.nan_to_num(np.linalg.norm(offset, axis=1)))
        good = (count >= 2) & found.is_front & np.isfinite(found.points[:, 0])
        good &= found.parallax_rad >= np.deg2rad(self._config.min_parallax_deg) * 0.5
        good &= found.sigma_m < _MAX_RELATIVE_SIGMA * np.maximum(span, 1e-9)
        error = self._angle(offset, rays) * self._focal[camera]
        worst = np.zeros(len(unique))
        np.maximum.at(worst, track, np.nan_to_num(error, nan=1e9))
        good &= worst < 1.5 * self._config.max_reprojection_px
        self.landmarks.set_points(unique[good], found.points[good], found.sigma_m[good])
        return int(good.sum())

    def _rays_world(self, wanted: IntArray) -> tuple[IntArray, FloatArray, FloatArray, IntArray]:
        """Return ids, origins, rays and cameras (n,) of what all keyframes saw of sorted ids."""
        first = int(wanted[0])
        is_wanted = np.zeros(int(wanted[-1]) + 1 - first, dtype=bool)
        is_wanted[wanted - first] = True
        seen = Seen.joined([kept.seen for kept in self.keyframes])
        num = [len(kept.seen.ids) for kept in self.keyframes]
        at = seen.ids - first
        rows = np.flatnonzero((at >= 0) & (at < len(is_wanted)))
        rows = rows[is_wanted[at[rows]]]
        seen, keyframe = seen.rows(rows), np.repeat(np.arange(len(num)), num)[rows]
        T = np.stack([kept.T_local_base for kept in self.keyframes])[keyframe]
        centers, rays = self.rays_base(seen)
        centers = np.einsum("nij,nj->ni", T[:, :3, :3], centers) + T[:, :3, 3]
        return seen.ids, centers, np.einsum("nij,nj->ni", T[:, :3, :3], rays), seen.camera

    @staticmethod
    def _angle(a: FloatArray, b: FloatArray) -> FloatArray:
        return np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), np.einsum("ni,ni->n", a, b))

    def stretch(self, ratio: float) -> None:
        """Make the map so many times as large, about its first keyframe."""
        center = self.keyframes[0].T_local_base[:3, 3].copy()
        for f in self.keyframes:
            t = center + ratio * (f.T_local_base[:3, 3] - center)
            f.T_local_base = transforms.rigid(f.T_local_base[:3, :3], t)
        self.landmarks.stretch(ratio, center)

    def adjust(self, max_iterations: int = 2) -> float:
        """Adjust the window with the motions told between its keyframes; the two oldest stay.

        Keyframes that saw nothing are carried by the odometry on both their sides. Where no
        odometry tells the metres, but cameras that overlap do, too few of their matches founded
        the map: while the window holds all of it, only the first keyframe stays, and it is
        adjusted until they agree.

        Returns:
            How many times as large the map is since; 1 where it did not ask for its metres.
        """
        frames = self.window()
        if len(frames) < 2:
            return 1.0
        seen = Seen.joined([f.seen for f in frames])
        frame = np.repeat(np.arange(len(frames)), [len(f.seen.ids) for f in frames])
        known = np.isfinite(self.landmarks.points(seen.ids)[:, 0])
        if known.sum() < _MIN_OBSERVATIONS:
            return 1.0
        unique, point = np.unique(seen.ids[known], return_inverse=True)
        is_whole = len(frames) == len(self.keyframes)
        finds_scale = is_whole and self._is_scale_seen(seen.ids[known], frame[known])
        constant = np.arange(len(frames)) < (2 if len(frames) > 2 and not finds_scale else 1)
        problem = bundle.BundleProblem(
            cameras=self.rig.cameras,
            T_world_base=np.stack([f.T_local_base for f in frames]),
            is_constant=constant,
            points_world=self.landmarks.points(unique),
            frame=frame[known],
            camera=seen.camera[known],
            point=point,
            uv_ideal_px=seen.uv_ideal_px[known],
            relative=tuple(
                bundle.RelativePrior(k - 1, k, f.since_prev.T_i_j, f.since_prev.covariance, True)
                for k, f in enumerate(frames)
                if f.since_prev is not None and not constant[k]
            ),
        )
        steps = max(max_iterations, _FIRST_STEPS) if finds_scale else max_iterations
        result = local_bundle.adjust(problem, bundle.BundleOptions(1.0, steps, 1e-3))
        before = _length(frames)
        for f, T in zip(frames, result.T_world_base, strict=True):
            f.T_local_base = T
        self.landmarks.set_points(unique, result.points_world)
        self._cull(frames)
        return _length(frames) / before if finds_scale and before > 0.0 else 1.0

    def _is_scale_seen(self, ids: IntArray, frame: IntArray) -> bool:
        """Return whether matches across cameras (n,) tell the metres, and odometry does not."""
        if self.rig.has_odometry:
            return False
        once = np.unique(ids * (int(frame.max()) + 1) + frame)
        return len(ids) - len(once) >= _MIN_ACROSS

    def _cull(self, frames: list[LocalFrame]) -> None:
        """Drop observations that disagree, and landmarks that are left with fewer than two."""
        seen = Seen.joined([f.seen for f in frames])
        num = [len(f.seen.ids) for f in frames]
        T = np.repeat(transforms.invert(np.stack([f.T_local_base for f in frames])), num, axis=0)
        p_base = np.einsum("nij,nj->ni", T[:, :3, :3], self.landmarks.points(seen.ids))
        centers, rays = self.rays_base(seen)
        error = self._angle(p_base + T[:, :3, 3] - centers, rays) * self._focal[seen.camera]
        good = ~(error > self._config.max_reprojection_px)
        for f, rows in zip(frames, np.split(good, np.cumsum(num)[:-1]), strict=True):
            f.seen.keep(rows)
        ids = np.concatenate([f.seen.ids for f in frames])
        unique, count = np.unique(ids, return_counts=True)
        single = unique[count < 2]
        lonely = single[np.isfinite(self.landmarks.points(single)[:, 0])]
        older = [
            f.seen.ids for f in self.keyframes[: -len(frames)][-self._config.window_keyframes :]
        ]
        if older:
            lonely = lonely[~np.isin(lonely, np.concatenate(older))]
        self.landmarks.forget(lonely)


def _length(keyframes: list[LocalFrame]) -> float:
    positions = np.stack([k.T_local_base[:3, 3] for k in keyframes])
    return float(transforms.path_distances(positions)[-1])


def way_by_odometry(keyframes: list[LocalFrame]) -> float:
    """Return the way between keyframes per way that odometry tells; 1 on less than two metres."""
    way = told = 0.0
    for before, after in pairwise(keyframes):
        if after.since_prev is not None:
            step = after.T_local_base[:3, 3] - before.T_local_base[:3, 3]
            way += float(np.linalg.norm(step))
            told += float(np.linalg.norm(after.since_prev.T_i_j[:3, 3]))
    return way / told if told > MIN_TOLD_M else 1.0
