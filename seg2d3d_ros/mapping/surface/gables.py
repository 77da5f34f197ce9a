"""Side walls that nothing was measured on: where a well known front ends, a house has a corner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from seg2d3d_ros.mapping.surface.facades import CELL_M, Facade, MeasuredSurface
from seg2d3d_ros.types import FloatArray

# A front ends where all but so few of its measured cells do: half of the corners lie within 0.2 m.
_INSIDE = 0.97
# What draws no direction by itself is known well enough if it holds points in so many cells.
_MANY_CELLS = 100
_DEPTH_M, _LEAST_DEPTH_M = 12.0, 3.0
_ABOVE_EAVES_M = 4.0
_MOST_SHOWN = 0.75
_PARALLEL = 0.7
# Points of the side wall itself say better where it stands, if there are a few.
_BEHIND_M, _NEAR_M, _FEW_POINTS = 0.5, 1.5, 5
# A corner is looked round where so many of the front's points were measured from beyond it.
_LEAST_COSINE, _LEAST_SHARE = 0.3, 0.1


def guess_gables(walls: Sequence[Facade], surface: MeasuredSurface) -> list[Facade]:
    """Return the walls that may stand at the ends of a building's first wall; masks tell.

    Args:
        walls: Planes of the building, largest first, if any.
        surface: Its measured points.
    """
    if not (walls and walls[0].is_wall):
        return []
    front = walls[0]
    if not front.is_fine and front.dense.sum() < _MANY_CELLS:
        return []
    toward = surface.take(surface.near(front.normal, front.offset_m)).toward @ front.axes[0]
    columns, rows = np.nonzero(front.dense)
    if not (len(columns) and len(toward)):
        return []
    low, high = front.start_m[1] + np.quantile(rows, [1.0 - _INSIDE, _INSIDE]) * CELL_M
    found = []
    for sign in (-1.0, 1.0):
        normal = sign * front.axes[0]
        is_known = any(w.is_wall and w.normal @ normal > _PARALLEL for w in walls)
        if is_known or np.mean(sign * toward > _LEAST_COSINE) < _LEAST_SHARE:
            continue
        share = _INSIDE if sign > 0.0 else 1.0 - _INSIDE
        end = front.start_m[0] + (np.quantile(columns, share) + 0.5) * CELL_M + sign * CELL_M / 2
        offset = _at_points(front, normal, sign * end, surface.points)
        found.append(_make(front, normal, offset, (low, high + CELL_M + _ABOVE_EAVES_M)))
    return found


def _at_points(front: Facade, normal: FloatArray, end_m: float, points: FloatArray) -> float:
    """Return where the wall stands: amid points (n, 3) near the end of the front, behind it."""
    behind, at = front.offset_m - points @ front.normal, points @ normal
    near = (behind > _BEHIND_M) & (behind < _DEPTH_M) & (np.abs(at - end_m) < _NEAR_M)
    return float(np.median(at[near])) if near.sum() >= _FEW_POINTS else end_m


def is_gable(cells: np.ndarray, num_told: int) -> bool:
    """Return whether cells (a, h) that masks show are a wall that goes back from a corner.

    Where the front goes on in truth, masks show a strip behind its supposed end, or, if that was
    seen from nearby alone, all that pictures tell of.

    Args:
        cells: Those of the guessed wall that are shown.
        num_told: How many of all its cells pictures tell of.
    """
    depth_m = cells.any(axis=1).sum() * CELL_M
    return bool(depth_m >= _LEAST_DEPTH_M and cells.sum() < _MOST_SHOWN * num_told)


def _make(
    front: Facade, normal: FloatArray, offset_m: float, heights_m: tuple[float, float]
) -> Facade:
    """Make the wall that goes back from a front, with cells at all heights (2,)."""
    along = np.array([-normal[1], normal[0], 0.0])
    at = front.offset_m * float(front.normal @ along)
    start = at if float(front.normal @ along) < 0.0 else at - _DEPTH_M
    size_m = np.array([_DEPTH_M, heights_m[1] - heights_m[0]])
    start_m = np.array([start, heights_m[0]])
    wall = Facade.unmeasured(normal[:2], offset_m, CELL_M, start_m, size_m)
    return replace(wall, is_guess=True)
