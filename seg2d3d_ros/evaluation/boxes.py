"""Boxes of buildings against those of the true surface that was seen.

A box is judged by its corners: a facade that was seen from the road is a box of a few decimetres,
whose intersection over union says little, and what stands behind it nobody saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from shapely.geometry import Polygon

from seg2d3d_ros.geometry.transforms import apply
from seg2d3d_ros.types import FloatArray

OVERLAP_SHARE = 0.3
CLOSE_M = 1.0
_TRIMMED = 0.005


@dataclass(frozen=True)
class Box:
    """An upright box: corners (4, 2) of its footprint in order, z of its bottom and top."""

    footprint: FloatArray
    bottom_m: float
    top_m: float


def enclose(points: FloatArray, heading_rad: float) -> Box:
    """Return the box around points (n, 3), but for half a hundredth at each end, at an angle."""
    along = np.array([np.cos(heading_rad), np.sin(heading_rad)])
    turn = np.stack([along, [-along[1], along[0]]])
    turned = np.c_[points[:, :2] @ turn.T, points[:, 2]]
    low, high = np.quantile(turned, [_TRIMMED, 1.0 - _TRIMMED], axis=0)
    corners = [low[:2], [high[0], low[1]], high[:2], [low[0], high[1]]]
    return Box(np.array(corners) @ turn, float(low[2]), float(high[2]))


def transform_box(S: FloatArray, box: Box) -> Box:
    """Carry a box by a similarity S (4, 4) that leaves the vertical nearly upright."""
    bottom, top = (
        apply(S, np.c_[box.footprint, np.full(4, z)]) for z in (box.bottom_m, box.top_m)
    )
    return Box(bottom[:, :2], float(bottom[:, 2].mean()), float(top[:, 2].mean()))


def corner_error(est: Box, gt: Box) -> float:
    """Return the mean distance of the corners of footprints, in the order that suits best."""
    orders = (
        np.roll(f, k, axis=0) for f in (est.footprint, est.footprint[::-1]) for k in range(4)
    )
    return min(float(np.linalg.norm(f - gt.footprint, axis=1).mean()) for f in orders)


def yaw_error_deg(est: Box, gt: Box) -> float:
    """Return the angle between the sides of footprints, up to right angles."""
    sides = [b.footprint[1] - b.footprint[0] for b in (est, gt)]
    angle = np.subtract(*(np.arctan2(s[1], s[0]) for s in sides))
    return float(np.rad2deg(abs((angle + np.pi / 4) % (np.pi / 2) - np.pi / 4)))


def score_boxes(pairs: Sequence[tuple[Box, Box]], every: Mapping[int, Box]) -> dict[str, Any]:
    """Score boxes of instances.

    Args:
        pairs: Boxes of instances with those of the true buildings that they were found to be.
        every: Boxes of all instances.

    Returns:
        `num`, pairs; medians over these, None without any: `corner_error_m` of the footprints,
        `height_error_m` of bottom and top, `yaw_error_deg`; `within_1m`, the share with corners
        that lie off by less; `num_overlapping`, pairs of instances whose footprints share more
        than 0.3 of the smaller one.
    """
    error = [corner_error(*pair) for pair in pairs]
    height = [(abs(e.bottom_m - g.bottom_m) + abs(e.top_m - g.top_m)) / 2.0 for e, g in pairs]
    yaw = [yaw_error_deg(*pair) for pair in pairs]
    return {
        "num": len(pairs),
        "corner_error_m": float(np.median(error)) if pairs else None,
        "within_1m": float(np.mean(np.array(error) < CLOSE_M)) if pairs else None,
        "height_error_m": float(np.median(height)) if pairs else None,
        "yaw_error_deg": float(np.median(yaw)) if pairs else None,
        "num_overlapping": count_overlaps([box.footprint for box in every.values()]),
    }


def count_overlaps(footprints: Sequence[FloatArray]) -> int:
    """Count the pairs of footprints that share more than 0.3 of the smaller one."""
    polygons = [Polygon(f) for f in footprints]
    return sum(
        a.intersection(b).area > OVERLAP_SHARE * min(a.area, b.area)
        for k, a in enumerate(polygons)
        for b in polygons[:k]
        if a.intersects(b)
    )
