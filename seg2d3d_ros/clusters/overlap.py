"""Find corners of one camera in another: stereo pairs and rigs that overlap a little."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from seg2d3d_ros.clusters.ground_match import GroundMatcher
from seg2d3d_ros.clusters.pair_turn import PairTurn
from seg2d3d_ros.clusters.patches import dissimilarity, windows
from seg2d3d_ros.clusters.tracker import Reach, flow
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Camera, FloatArray, IntArray, Rig

_DEPTHS_M = (5.0, 9.0, 18.0, 45.0)
_MIN_DISPARITY_PX = 2.0
# A narrow strip of common view has no room for deep pyramids; several depths are tried instead.
_REACH = Reach(2, 2)
_MIN_SHARE = 0.04
# 1 - correlation of patches that show the same.
_ALIKE = 0.35
_FULL_SHARE = 0.5
# What looks alike in pictures of one moment lies on the epipolar line, mostly nine times in ten.
# Where a vehicle turns about 0.55 was seen; cameras that fire 100 ms apart had 0.3 at most.
_LEAST_AGREED = 0.4
_MIN_ALIKE = 60
_KEYFRAMES_ASKED = 12
_MAX_ASIDE_PX = 1.0
# Cameras are calibrated about as well as that; what is turned by more is found (`pair_turn.py`).
_SIGMA_TURN_RAD, _MAX_TURN_RAD = np.deg2rad(0.3), np.deg2rad(0.5)
_ROUNDS = 4


@dataclass(frozen=True)
class OverlapMatches:
    """Rows (k,) of the corners found again and where in the other camera, uv_px (k, 2)."""

    rows: IntArray
    uv_px: FloatArray


class CameraPair:
    """Two cameras with common field of view: `a` is turned into `b`'s orientation before matching.

    Turning removes the rotation between the two, so that only the displacement by depth is left
    for the flow.

    Attributes:
        is_in_step: What looks alike in both lies where cameras that sit as stated, and fire at one
            moment, see it. Else their matches tell no metres, until they are mounted otherwise.
    """

    def __init__(self, rig: Rig, a: int, b: int, shared: float = 1.0) -> None:
        """Prepare the map that turns pictures of camera index `a` into the orientation of `b`."""
        self.a, self.b, self.shared = a, b, shared
        self._turn = PairTurn(models.focal_px(rig.cameras[b]))
        self._T_b_a = np.eye(4)
        self.mount(rig)

    def mount(self, rig: Rig) -> None:
        """Take the cameras as they sit on a rig; what was matched on another one is forgotten."""
        self._turn.clear()
        self._is_asked = rig.has_odometry
        self._cam_a, self._cam_b = rig.cameras[self.a], rig.cameras[self.b]
        T_b_a = transforms.invert(self._cam_b.T_base_cam) @ self._cam_a.T_base_cam
        if not np.array_equal(T_b_a, self._T_b_a):
            self._turn.is_right = False
            self.is_in_step = True
            self._alike: deque[tuple[FloatArray, FloatArray]] = deque(maxlen=_KEYFRAMES_ASKED)
        self._T_b_a = T_b_a
        self._ground = GroundMatcher(self._cam_a, self._cam_b)
        grid = np.stack(
            np.meshgrid(np.arange(self._cam_b.width_px), np.arange(self._cam_b.height_px)), axis=-1
        )
        rays_a = models.rays(self._cam_b, grid.reshape(-1, 2)) @ self._T_b_a[:3, :3]
        uv, _ = models.project(self._cam_a, rays_a)
        self._map = np.nan_to_num(uv, nan=-1e4).reshape(grid.shape).astype(np.float32)
        self.common_a = self._common_view()

    @property
    def is_narrow(self) -> bool:
        """Return True if only a small part of a's picture is seen by b too."""
        return self.shared < _FULL_SHARE

    @property
    def is_believed(self) -> bool:
        """Return whether matches may found the map: not before odometry was asked about them.

        Wrong ones shrink or stretch the map until they fit, and then nothing tells that they are.
        """
        return not self._is_asked or self._turn.is_settled

    def hear(self, other: CameraPair) -> None:
        """Take over what another pair found out about the mounting, if of the same cameras."""
        if {self.a, self.b} == {other.a, other.b}:
            self._turn.hear(other._turn)
            self.is_in_step &= other.is_in_step

    def find_turn(self, scale: float | None = 1.0) -> FloatArray | None:
        """Return by what w (3,) R_b_a is otherwise than on the rig: R_b_a = exp(w) @ R_b_a(rig).

        None while matches do not tell, or tell that it is right. `scale` is way on the map per way
        the odometry tells, None without odometry.
        """
        return self._turn.find(scale)

    def match(
        self,
        image_a: np.ndarray,
        image_b: np.ndarray,
        uv_a: FloatArray,
        depth_m: FloatArray,
        T_b_a: FloatArray | None = None,
    ) -> OverlapMatches:
        """Find corners uv_a (n, 2) of grey picture a in b.

        Args:
            image_a: (h, w) uint8 of camera a.
            image_b: (h, w) uint8 of camera b.
            uv_a: (n, 2) pixels in a.
            depth_m: (n,) distance along the ray if known, else NaN: then several are tried.
            T_b_a: (4, 4) where a was when its picture was taken, seen from b; as they are mounted
                if None.

        Returns:
            The corners that were found, on the epipolar line and at a positive depth.
        """
        turned = cv2.remap(image_a, self._map, None, cv2.INTER_LINEAR)
        rays_a = models.rays(self._cam_a, uv_a)
        rays_a /= np.linalg.norm(rays_a, axis=1, keepdims=True)
        in_turned, visible = models.project(self._cam_b, rays_a @ self._T_b_a[:3, :3].T)
        T_b_a = self._T_b_a if T_b_a is None else T_b_a
        at_infinity, _ = models.project(self._cam_b, rays_a @ T_b_a[:3, :3].T)
        rows, guess = self._guesses(rays_a, visible, depth_m, T_b_a)
        uv, good = flow(turned, image_b, in_turned[rows], guess, _REACH)
        rows, uv = rows[good], uv[good]
        error = dissimilarity(windows(turned, in_turned[rows]), windows(image_b, uv))
        self._learn(
            at_infinity[rows], guess[good], uv, np.isfinite(depth_m[rows]) & (error < _ALIKE)
        )
        num = len(rows)
        ground = self._ground.match((image_a, image_b), uv_a, rays_a, depth_m, T_b_a)
        rows, uv = np.concatenate([rows, ground.rows]), np.concatenate([uv, ground.uv_px])
        error = np.concatenate([error, ground.error])
        aside_px, by_turn = self._epipolar_px(rays_a[rows], uv, T_b_a)
        if T_b_a is self._T_b_a:
            away_px = np.linalg.norm(uv - at_infinity[rows], axis=1)
            telling = np.flatnonzero((error < _ALIKE) & (away_px > 1.5 * _MIN_DISPARITY_PX))
            telling = telling[telling < num]
            self._agree(aside_px[telling], by_turn[telling])
        error[np.abs(aside_px) > _MAX_ASIDE_PX] = np.inf
        order = np.lexsort((error, rows))
        first = order[np.flatnonzero(np.diff(rows[order], prepend=-1))]
        best = np.full((len(uv_a), 2), np.nan)
        best_error = np.full(len(uv_a), np.inf)
        best[rows[first]], best_error[rows[first]] = uv[first], error[first]
        found = np.flatnonzero((best_error < _ALIKE) & self._is_near(at_infinity, best, depth_m))
        return OverlapMatches(found, best[found])

    def _learn(
        self, infinity_px: FloatArray, guess_px: FloatArray, uv_px: FloatArray, rows: np.ndarray
    ) -> None:
        """Remember some matches (n, 2), whether they lie on the epipolar line or not."""
        self._turn.add(
            *(models.normalize(self._cam_b, p[rows]) for p in (infinity_px, guess_px, uv_px))
        )

    def _agree(self, aside_px: FloatArray, by_turn: FloatArray) -> None:
        """Hear how far the newest corners that look alike lie off the epipolar line (n,).

        Cameras may sit a little otherwise than stated, so what counts is how far they lie off the
        lines of cameras turned by what explains most of the last keyframes.

        Args:
            aside_px: (n,) distances with their sign, infinite behind a camera.
            by_turn: (n, 3) their derivatives by a turn of camera b, per radian.
        """
        self._alike.append((aside_px, by_turn))
        e, J = (np.concatenate(part) for part in zip(*self._alike, strict=True))
        is_finite = np.isfinite(e)
        num, e, J = len(e), e[is_finite], J[is_finite]
        if num < _MIN_ALIKE:
            return
        turn = np.zeros(3)
        for _ in range(_ROUNDS):
            weighted = J / (1.0 + np.square((e + J @ turn) / _MAX_ASIDE_PX))[:, None]
            A = weighted.T @ J + np.eye(3) / _SIGMA_TURN_RAD**2
            turn = -np.linalg.solve(A, weighted.T @ e)
            turn *= min(1.0, _MAX_TURN_RAD / max(float(np.linalg.norm(turn)), 1e-12))
        num_agreed = int((np.abs(e + J @ turn) < _MAX_ASIDE_PX).sum())
        if num_agreed < _LEAST_AGREED * num:
            self.is_in_step = False

    def _guesses(
        self, rays_a: FloatArray, visible: np.ndarray, depth_m: FloatArray, T_b_a: FloatArray
    ) -> tuple[IntArray, FloatArray]:
        """Return where to look (k, 2) for which corners (k,): several times without a depth."""
        unknown = np.flatnonzero(visible & ~np.isfinite(depth_m))
        rows = np.concatenate([np.flatnonzero(visible), *[unknown] * (len(_DEPTHS_M) - 1)])
        further = np.repeat(_DEPTHS_M[1:], len(unknown))
        depth = np.concatenate([depth_m[visible], further])
        depth[~np.isfinite(depth)] = _DEPTHS_M[0]
        guess, inside = models.project(
            self._cam_b, transforms.apply(T_b_a, rays_a[rows] * depth[:, None])
        )
        return rows[inside], guess[inside]

    def _is_near(
        self, at_infinity: FloatArray, matched: FloatArray, depth_m: FloatArray
    ) -> np.ndarray:
        """Return which points lie near enough for their disparity to tell the scale.

        Many far points, each with a depth of its own to be estimated, would bend it. Where the
        depth is known it decides, so that the noise of the match does not choose.
        """
        baseline_m = float(np.linalg.norm(self._T_b_a[:3, 3]))
        expected = models.focal_px(self._cam_b) * baseline_m / depth_m
        measured = np.linalg.norm(np.nan_to_num(matched) - at_infinity, axis=1)
        return np.where(
            np.isfinite(expected),
            expected >= _MIN_DISPARITY_PX,
            measured >= 1.5 * _MIN_DISPARITY_PX,
        )

    def _common_view(self) -> np.ndarray:
        """Return (h, w) uint8, one where a's picture shows far things that b sees too."""
        size = (self._cam_a.width_px, self._cam_a.height_px)
        u, v = np.meshgrid(np.arange(0, size[0], 4), np.arange(0, size[1], 4))
        rays_a = models.rays(self._cam_a, np.stack([u.ravel(), v.ravel()], axis=1))
        rays = rays_a @ self._T_b_a[:3, :3].T
        inside = models.project(self._cam_b, rays)[1].reshape(u.shape).astype(np.uint8)
        return cv2.resize(inside, size, interpolation=cv2.INTER_NEAREST)

    def _epipolar_px(
        self, rays_a: FloatArray, uv_b: FloatArray, T_b_a: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return how far pixels of b lie off the epipolar lines of rays of a.

        Returns:
            Distances (n,) in pixels, with their sign; infinite where the rays meet behind a
            camera. And their derivatives (n, 3) by a turn of camera b, per radian.
        """
        if len(uv_b) == 0:
            return np.zeros(0), np.zeros((0, 3))
        t, focal = T_b_a[:3, 3], models.focal_px(self._cam_b)
        rays_b = models.rays(self._cam_b, uv_b)
        turned = rays_a @ T_b_a[:3, :3].T
        normal = np.cross(t, turned)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        distance = np.einsum("ni,ni->n", normal, rays_b) * focal
        # Depths of both rays at their closest approach must be positive: cross products tell.
        behind = np.einsum("ni,ni->n", np.cross(t, rays_b), np.cross(turned, rays_b)) > 0
        distance[behind & (np.linalg.norm(np.cross(turned, rays_b), axis=1) > 2e-3)] = np.inf
        return distance, np.cross(rays_b, normal) * focal


def overlapping_pairs(rig: Rig) -> list[CameraPair]:
    """Return the pairs of cameras that share enough view at 15 m, both ways where it is little."""
    pairs = []
    for a in range(len(rig.cameras)):
        for b in range(a + 1, len(rig.cameras)):
            shared = _shared_view(rig.cameras[a], rig.cameras[b])
            if shared >= _MIN_SHARE:
                pairs.append(CameraPair(rig, a, b, shared))
            if _MIN_SHARE <= shared < _FULL_SHARE:
                pairs.append(CameraPair(rig, b, a, shared))
    return pairs


def _shared_view(a: Camera, b: Camera, distance_m: float = 15.0) -> float:
    u, v = np.meshgrid(np.linspace(0, a.width_px - 1, 24), np.linspace(0, a.height_px - 1, 16))
    points_a = models.rays(a, np.stack([u.ravel(), v.ravel()], axis=1)) * distance_m
    T_b_a = transforms.invert(b.T_base_cam) @ a.T_base_cam
    return float(models.project(b, transforms.apply(T_b_a, points_a))[1].mean())
