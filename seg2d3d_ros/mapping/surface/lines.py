"""Straight lines through scattered points of a plan or a profile, by RANSAC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.types import FloatArray

_LEAST_REACH_M = 0.3
_NUM_TRIALS = 200
_LEAST_PAIR_M = 1.0
_MAX_SUPPORT = 1500


@dataclass(frozen=True)
class Scatter:
    """Points of a plane, n of them.

    Attributes:
        xy: (n, 2) metres.
        reach_m: (n,) how far each may lie off its line.
        area_m2: (n,) surface that each stands for.
    """

    xy: FloatArray
    reach_m: FloatArray
    area_m2: FloatArray


@dataclass(frozen=True)
class Line:
    """Points with n . p = d: n (2,) unit, d in metres, and the area of the points near it."""

    normal: FloatArray
    offset_m: float
    area_m2: float


def find_line(
    scatter: Scatter,
    least_m2: float,
    rng: np.random.Generator,
    slopes: tuple[float, float] | None = None,
) -> Line | None:
    """Find the line with most area near it: best of many drawn through two points, then refitted.

    Args:
        scatter: The points.
        least_m2: Smallest area.
        rng: Chooses the pairs of points.
        slopes: Least and largest rise of the line, where it is limited.

    Returns:
        None where too little lies near any line, or the slope of the best is another.
    """
    if not len(scatter.xy) or scatter.area_m2.sum() < least_m2:
        return None
    xy, reach, area = scatter.xy, scatter.reach_m, scatter.area_m2
    normal, offset = _best_trial(scatter, rng, slopes)
    for _ in range(2):
        near = np.abs(xy @ normal - offset) < reach
        if area[near].sum() < least_m2:
            return None
        weight = area[near] / reach[near] ** 2
        center = np.average(xy[near], axis=0, weights=weight)
        centered = xy[near] - center
        normal = np.linalg.eigh((weight[:, None] * centered).T @ centered)[1][:, 0]
        offset = float(center @ normal)
    if slopes is not None and not slopes[0] <= _slope(normal) <= slopes[1]:
        return None
    near = np.abs(xy @ normal - offset) < reach
    found = float(area[near].sum())
    return Line(normal, offset, found) if found >= least_m2 else None


def find_headed_line(
    scatter: Scatter, toward: FloatArray, heading_rad: float, least_m2: float
) -> Line | None:
    """Find the line of known direction with most area near it; only its place is open.

    Depths err along their rays, so points reach less far off a line that was seen at an angle.
    Else those that are known best, at the ends of walls, would outweigh all others.

    Args:
        scatter: The points.
        toward: (n, 2) directions to those who measured them, as far as they lie in the plan.
        heading_rad: Angle of the line's normal, up to right angles.
        least_m2: Smallest area.

    Returns:
        None where too little lies near any such line.
    """
    if not len(scatter.xy):
        return None
    lines = []
    for angle in (heading_rad, heading_rad + np.pi / 2.0):
        normal = np.array([np.cos(angle), np.sin(angle)])
        at = scatter.xy @ normal
        reach = np.maximum(_LEAST_REACH_M, np.abs(toward @ normal) * scatter.reach_m)
        trials = np.quantile(at, np.linspace(0.0, 1.0, _NUM_TRIALS), method="nearest")
        support = scatter.area_m2 @ (np.abs(at[:, None] - trials) < reach[:, None])
        near = np.abs(at - trials[np.argmax(support)]) < reach
        weight = scatter.area_m2[near] / reach[near] ** 2
        offset = float(np.average(at[near], weights=weight))
        lines.append(Line(normal, offset, float(support.max())))
    best = max(lines, key=lambda line: line.area_m2)
    return best if best.area_m2 >= least_m2 else None


def _slope(normal: FloatArray) -> float:
    return float(-normal[0] / normal[1]) if normal[1] else np.inf


def _best_trial(
    scatter: Scatter,
    rng: np.random.Generator,
    slopes: tuple[float, float] | None,
) -> tuple[FloatArray, float]:
    xy, reach, area = scatter.xy, scatter.reach_m, scatter.area_m2
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
    allowed = length > _LEAST_PAIR_M
    if slopes is not None:
        rise = along[:, 1] / np.where(along[:, 0] == 0.0, 1e-9, along[:, 0])
        allowed &= (rise >= slopes[0]) & (rise <= slopes[1])
    best = int(np.argmax(np.where(allowed, support, -1.0)))
    return normal[best], float(offset[best])
