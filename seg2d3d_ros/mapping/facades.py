"""Facades are planes: upright planes through the fused points of a building, and their extent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation

from seg2d3d_ros.types import FloatArray, IntArray

_INLIER_M = 0.2
_CELL_M = 0.5
_NUM_TRIALS = 200
_LEAST_PAIR_M = 1.0
_MAX_SUPPORT = 1500
_MAX_PLANES = 4
_MIN_AREA_M2 = 3.0
_MIN_SHARE = 0.08
_MIN_COSINE = 0.1


@dataclass(frozen=True)
class Facade:
    """An upright plane n . (x, y) = d with the part of it that is known, or near to what is.

    Attributes:
        normal_xy: (2,) unit.
        offset_m: d.
        sigma_m: Root mean square distance of the points it was found in.
        start_m: (2,) first cell along the plane and upwards.
        cells: (a, h) bool, cells of 0.5 m that belong to it.
    """

    normal_xy: FloatArray
    offset_m: float
    sigma_m: float
    start_m: FloatArray
    cells: np.ndarray

    def covers(self, points: FloatArray) -> np.ndarray:
        """Return which points (n, 3) of the plane lie in its cells."""
        at = np.floor((_on_plane(self.normal_xy, points) - self.start_m) / _CELL_M)
        inside = np.all((at >= 0) & (at < self.cells.shape), axis=1)
        row, column = np.where(inside[:, None], at, 0).astype(np.int64).T
        return inside & self.cells[row, column]


def find_facades(
    points: FloatArray, edge_m: FloatArray, reach_m: float, seed: int
) -> list[Facade]:
    """Find the upright planes that points (n, 3) of one building lie on, largest first.

    Each is the best of lines drawn through two points in the plan (RANSAC), refitted to all that
    lie near it: within 0.2 m or half the edge of their voxel. The best has most area.

    Args:
        points: Metres, z up.
        edge_m: (n,) edges of the voxels they stand for.
        reach_m: How far beyond its points a facade may still go on.
        seed: Of the random choice.
    """
    rng = np.random.default_rng(seed)
    area, reach = edge_m**2, np.maximum(_INLIER_M, edge_m / 2.0)
    least = max(_MIN_AREA_M2, _MIN_SHARE * float(area.sum()))
    rest = np.arange(len(points))
    found: list[Facade] = []
    while len(found) < _MAX_PLANES and area[rest].sum() >= least:
        normal, offset = _best_line(points[rest, :2], area[rest], reach[rest], rng)
        for _ in range(2):
            near = rest[np.abs(points[rest, :2] @ normal - offset) < reach[rest]]
            if area[near].sum() < least:
                return found
            normal, offset = _fit_line(points[near, :2], area[near] / reach[near] ** 2)
        distance = np.abs(points[rest, :2] @ normal - offset)
        near = rest[distance < reach[rest]]
        sigma = float(np.sqrt(np.mean((points[near, :2] @ normal - offset) ** 2)))
        found.append(Facade(normal, offset, sigma, *_extent(normal, points[near], reach_m)))
        rest = rest[distance >= 2.0 * reach[rest]]
    return found


def meet(
    facades: list[Facade], center: FloatArray, rays: FloatArray
) -> tuple[FloatArray, IntArray]:
    """Return where rays (n, 3) from a centre (3,) first meet a facade, by depth along the ray.

    Returns:
        Depths (n,) as multiples of the rays, infinite where there is none, and which facade (n,).
    """
    best, which = np.full(len(rays), np.inf), np.zeros(len(rays), dtype=np.int64)
    length = np.linalg.norm(rays, axis=1)
    for k, facade in enumerate(facades):
        along = rays[:, :2] @ facade.normal_xy
        is_steep = np.abs(along) > _MIN_COSINE * length
        missing = facade.offset_m - float(center[:2] @ facade.normal_xy)
        depth = missing / np.where(is_steep, along, np.inf)
        ahead = np.flatnonzero((depth > 0) & (depth < best))
        ahead = ahead[facade.covers(center + rays[ahead] * depth[ahead, None])]
        best[ahead], which[ahead] = depth[ahead], k
    return best, which


def _best_line(
    xy: FloatArray, area: FloatArray, reach: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, float]:
    if len(xy) > _MAX_SUPPORT:
        rows = rng.choice(len(xy), _MAX_SUPPORT, replace=False)
        xy, area, reach = xy[rows], area[rows], reach[rows]
    i, j = rng.integers(0, len(xy), (2, _NUM_TRIALS))
    along = xy[j] - xy[i]
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    length = np.linalg.norm(normal, axis=1)
    normal /= np.maximum(length, 1e-9)[:, None]
    offset = np.einsum("ni,ni->n", normal, xy[i])
    support = area @ (np.abs(xy @ normal.T - offset) < reach[:, None])
    best = int(np.argmax(np.where(length > _LEAST_PAIR_M, support, -1.0)))
    return normal[best], float(offset[best])


def _fit_line(xy: FloatArray, weight: FloatArray) -> tuple[FloatArray, float]:
    center = np.average(xy, axis=0, weights=weight)
    _, axes = np.linalg.eigh((weight[:, None] * (xy - center)).T @ (xy - center))
    normal: FloatArray = axes[:, 0]
    return normal, float(center @ normal)


def _on_plane(normal_xy: FloatArray, points: FloatArray) -> FloatArray:
    """Return coordinates (n, 2) along the plane and upwards."""
    return np.stack([points[:, :2] @ [-normal_xy[1], normal_xy[0]], points[:, 2]], axis=1)


def _extent(
    normal_xy: FloatArray, points: FloatArray, reach_m: float
) -> tuple[FloatArray, np.ndarray]:
    at = _on_plane(normal_xy, points)
    margin = int(np.ceil(reach_m / _CELL_M))
    start = at.min(axis=0) - margin * _CELL_M
    cell = np.floor((at - start) / _CELL_M).astype(np.int64)
    cells = np.zeros(cell.max(axis=0) + 1 + margin, dtype=bool)
    cells[cell[:, 0], cell[:, 1]] = True
    disk = np.hypot(*np.mgrid[-margin : margin + 1, -margin : margin + 1]) <= margin
    return start, binary_dilation(cells, disk)
