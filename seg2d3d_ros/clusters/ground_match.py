"""Finds corners on level ground in another camera: near as it is, it tells the metres best.

Seen from 1.6 m above by two cameras 0.8 m apart, each row of ground lies half a pixel farther
aside than the row above. Flow, which takes patches as they are, misses it by 0.8 px; drawn as the
other camera should see level ground at the height of the corner, patches are found to 0.2 px.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.clusters.patches import (
    dissimilarity,
    draw_patches,
    find_patches,
    height_of,
    is_low,
    level_steps,
    windows,
)
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Camera, FloatArray, IntArray

_FARTHEST_M = 20.0
_MOST_CORNERS = 40
# The second round draws patches at the height that the first one found.
_ROUNDS = 2
_MAX_CHANGE = 2.0
# The ground lies where the last corners that matched this well did.
_SURE = 0.2
_FEWEST_HEIGHTS, _MOST_HEIGHTS = 10, 50


@dataclass(frozen=True)
class GroundMatches:
    """Rows (k,) of the corners, pixels in the other camera (k, 2), how unlike patches are (k,)."""

    rows: IntArray
    uv_px: FloatArray
    error: FloatArray


class GroundMatcher:
    """Two cameras, and how high the ground under them lay so far."""

    def __init__(self, cam_a: Camera, cam_b: Camera) -> None:
        """Find corners of camera a in camera b."""
        self._cam_a, self._cam_b = cam_a, cam_b
        self._heights_m = np.zeros(0)

    def match(
        self,
        images: tuple[np.ndarray, np.ndarray],
        uv_a: FloatArray,
        rays_a: FloatArray,
        distance_m: FloatArray,
        T_b_a: FloatArray,
    ) -> GroundMatches:
        """Find the nearest corners that are low enough.

        Args:
            images: (h, w) uint8 of both cameras.
            uv_a: (n, 2) corners in a.
            rays_a: (n, 3) unit, towards them.
            distance_m: (n,) along these, NaN where unknown: then the ground tells it.
            T_b_a: (4, 4) where a was when its picture was taken, seen from b.
        """
        is_known = np.isfinite(distance_m)
        distance = np.where(is_known, distance_m, self._to_ground(rays_a))
        points = rays_a * distance[:, None]
        is_near = is_low(self._cam_a, points) & (distance < _FARTHEST_M)
        guess, inside = models.project(self._cam_b, transforms.apply(T_b_a, points))
        rows = np.flatnonzero(is_near & inside)
        rows = np.sort(rows[np.argsort(distance[rows], kind="stable")[:_MOST_CORNERS]])
        found = self._fit(images, uv_a[rows], points[rows], guess[rows], T_b_a)
        sure = (found.error < _SURE) & is_known[rows[found.rows]]
        self._learn(height_of(self._cam_a, points[rows[found.rows[sure]]]))
        return GroundMatches(rows[found.rows], found.uv_px, found.error)

    def _to_ground(self, rays_a: FloatArray) -> FloatArray:
        """Return how far along rays (n, 3) the ground lies, NaN where nothing told yet."""
        if len(self._heights_m) < _FEWEST_HEIGHTS:
            return np.full(len(rays_a), np.nan)
        slope = height_of(self._cam_a, rays_a)
        return np.where(slope < 0.0, float(np.median(self._heights_m)) / slope, np.nan)

    def _learn(self, heights_m: FloatArray) -> None:
        self._heights_m = np.concatenate([self._heights_m, heights_m])[-_MOST_HEIGHTS:]

    def _fit(
        self,
        images: tuple[np.ndarray, np.ndarray],
        uv_a: FloatArray,
        points_a: FloatArray,
        guess_b: FloatArray,
        T_b_a: FloatArray,
    ) -> GroundMatches:
        """Fit level patches around corners (n, 2) of a, at points (n, 3) of a, into b."""
        T_a_b = transforms.invert(T_b_a)
        rows, uv = np.arange(len(uv_a)), guess_b
        error, last_px = np.zeros(0), np.array(images[1].shape[::-1]) - 1
        for _ in range(_ROUNDS):
            height = height_of(self._cam_b, transforms.apply(T_b_a, points_a))
            steps = level_steps(self._cam_b, uv, height[rows], self._cam_a, T_a_b)
            seen = np.isfinite(steps).all(axis=(1, 2))
            rows, uv, steps = rows[seen], uv[seen], steps[seen]
            if not len(rows):
                break
            drawn = draw_patches(images[0], uv_a[rows], steps)
            uv, misfit = find_patches(drawn, images[1], uv)
            inner = drawn[:, 1:-1, 1:-1].reshape(len(rows), -1).astype(np.float64)
            found = np.isfinite(misfit) & ((uv >= 0.0) & (uv <= last_px)).all(axis=1)
            error = np.where(found, dissimilarity(inner, windows(images[1], uv)), np.inf)
            points_a = points_a.copy()
            points_a[rows] = self._moved(points_a[rows], uv, T_b_a)
        return GroundMatches(rows, uv, error)

    def _moved(self, points_a: FloatArray, uv_b: FloatArray, T_b_a: FloatArray) -> FloatArray:
        """Return points (n, 3) of a, moved along their rays to where b sees them (n, 2).

        With p_b = R p + t and b's rays r: p k where (t + k R p) x r = 0.
        """
        turned, t = points_a @ T_b_a[:3, :3].T, T_b_a[:3, 3]
        rays = models.rays(self._cam_b, uv_b)
        across = np.cross(rays, turned)
        square = np.maximum(np.einsum("ni,ni->n", across, across), 1e-12)
        ratio = np.einsum("ni,ni->n", np.cross(t, rays), across) / square
        good = (ratio > 1.0 / _MAX_CHANGE) & (ratio < _MAX_CHANGE)
        moved: FloatArray = points_a * np.where(good, ratio, 1.0)[:, None]
        return moved
