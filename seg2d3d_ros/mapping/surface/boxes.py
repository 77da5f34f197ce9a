"""Boxes and footprints of buildings from their walls and roofs, where these are known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from seg2d3d_ros.mapping.surface.facades import CELL_M
from seg2d3d_ros.types import FloatArray, Instance, IntArray

# Fewer cells of walls, some 3 m², draw no building.
_MIN_CELLS = 20
_TRIMMED = 0.01


@dataclass(frozen=True)
class SurfaceCells:
    """Cells of 0.4 m on the planes of buildings, n of them.

    Attributes:
        centers: (n, 3) metres.
        normals: (n, 3) of their planes; horizontal for walls.
        sigma_m: (n,) how well they fit their plane.
        instances: (n,) the building.
    """

    centers: FloatArray
    normals: FloatArray
    sigma_m: FloatArray
    instances: IntArray


def draw_boxes(instances: Iterable[Instance], cells: SurfaceCells) -> tuple[Instance, ...]:
    """Give instances the boxes and footprints of their cells; without enough they keep theirs."""
    order = np.argsort(cells.instances, kind="stable")
    ids = cells.instances[order]
    out = []
    for instance in instances:
        first, end = np.searchsorted(ids, [instance.id, instance.id + 1])
        rows = order[first:end]
        is_wall = cells.normals[rows, 2] == 0.0
        out.append(
            _draw(instance, cells, rows, is_wall) if is_wall.sum() >= _MIN_CELLS else instance
        )
    return tuple(out)


def _draw(
    instance: Instance, cells: SurfaceCells, rows: IntArray, is_wall: np.ndarray
) -> Instance:
    """Draw the smallest box along the walls around all cells but the outermost hundredth."""
    yaw = _heading(cells.normals[rows[is_wall]])
    turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    points = np.c_[cells.centers[rows, :2] @ turn.T, cells.centers[rows, 2]]
    low, high = np.quantile(points, [_TRIMMED, 1.0 - _TRIMMED], axis=0)
    size = high - low + CELL_M
    center = (low + high) / 2.0
    if size[0] < size[1]:
        yaw = yaw + np.pi / 2.0
        size = size[[1, 0, 2]]
    yaw = (yaw + np.pi / 2.0) % np.pi - np.pi / 2.0
    center_xy = center[:2] @ turn
    sigma = float(np.median(cells.sigma_m[rows]))
    return replace(
        instance,
        box_center_map=np.array([*center_xy, center[2]]),
        box_size_m=size,
        box_yaw_rad=float(yaw),
        footprint_map=corners(center_xy, size[0], size[1], yaw),
        footprint_sigma_m=float(np.hypot(sigma, CELL_M / np.sqrt(12.0))),
    )


def _heading(normals: FloatArray) -> float:
    """Return the mean direction of normals (n, 3) in the plan, up to right angles."""
    angle = 4.0 * np.arctan2(normals[:, 1], normals[:, 0])
    return float(np.arctan2(np.sin(angle).sum(), np.cos(angle).sum()) / 4.0)


def corners(center_xy: FloatArray, length: float, width: float, yaw: float) -> FloatArray:
    """Return the corners (4, 2) of a rectangle, counter-clockwise."""
    along = np.array([np.cos(yaw), np.sin(yaw)]) * length / 2.0
    across = np.array([-np.sin(yaw), np.cos(yaw)]) * width / 2.0
    return center_xy + np.stack([-along - across, along - across, along + across, across - along])
