"""What of the labelled map a picture should show: projection with occlusion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, IntArray

LAYER_RATIO = 1.35
_CELL_PX = 12
_TILE_M = 25.0
_MAX_RELATIVE_SIGMA = 0.03


@dataclass(frozen=True)
class LabelledPoints:
    """Landmarks that carry an instance, found by where they are.

    Attributes:
        points_world: (n, 3).
        sigma_m: (n,) their uncertainty.
        instances: (n,) their instance.
        tiles: Rows by square of the ground.
    """

    points_world: FloatArray
    sigma_m: FloatArray
    instances: IntArray
    tiles: dict[tuple[int, int], IntArray]

    @staticmethod
    def of(points_world: FloatArray, sigma_m: FloatArray, instances: IntArray) -> LabelledPoints:
        """Index the points by their place on the ground."""
        x, y = np.floor(points_world[:, :2].T / _TILE_M).astype(np.int64)
        order = np.lexsort((y, x))
        ends = np.flatnonzero((np.diff(x[order]) != 0) | (np.diff(y[order]) != 0)) + 1
        groups = np.split(order, ends) if len(order) else []
        tiles = {(int(x[rows[0]]), int(y[rows[0]])): rows for rows in groups}
        return LabelledPoints(points_world, sigma_m, instances, tiles)

    def near(self, center_xy: FloatArray, range_m: float) -> IntArray:
        """Return the rows, ascending, of points within a range of a place on the ground (2,)."""
        x0, y0 = np.floor((center_xy - range_m) / _TILE_M).astype(int).tolist()
        x1, y1 = np.floor((center_xy + range_m) / _TILE_M).astype(int).tolist()
        squares = ((x, y) for x in range(x0, x1 + 1) for y in range(y0, y1 + 1))
        found = [self.tiles[s] for s in squares if s in self.tiles]
        rows = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *found]))
        away = self.points_world[rows, :2] - center_xy
        return rows[np.einsum("ni,ni->n", away, away) <= range_m**2]


@dataclass(frozen=True)
class Shown:
    """Points that nothing nearer hides: pixels (n, 2), depths (n,) and instances (n,)."""

    uv_px: FloatArray
    depth_m: FloatArray
    instances: IntArray


def show(
    state: MapState, frame: int, camera: int, labelled: LabelledPoints, range_m: float
) -> Shown:
    """Project labelled points into a picture, leaving out those that nearer ones hide.

    Points whose uncertainty would show in the picture are left out, too.

    Args:
        state: The map.
        frame: Position of the picture's frame.
        camera: Position of the picture's camera in the rig.
        labelled: The points.
        range_m: Points further from the camera do not count.
    """
    nothing = Shown(np.zeros((0, 2)), np.zeros(0), np.zeros(0, dtype=np.int64))
    if not labelled.tiles:
        return nothing
    model = state.cameras[camera]
    T_world_cam = state.frames[frame].T_world_base @ model.T_base_cam
    near = labelled.near(T_world_cam[:2, 3], range_m)
    if not len(near):
        return nothing
    p_cam = transforms.apply(transforms.invert(T_world_cam), labelled.points_world[near])
    uv, inside = models.project(model, p_cam)
    inside &= labelled.sigma_m[near] <= _MAX_RELATIVE_SIGMA * p_cam[:, 2]
    if not inside.any():
        return nothing
    near, uv, depth = near[inside], uv[inside], p_cam[inside, 2]
    row, column = (uv[:, ::-1].T // _CELL_PX).astype(np.int64)
    _, cell = np.unique(row * 4096 + column, return_inverse=True)
    nearest = np.full(cell.max() + 1, np.inf)
    np.minimum.at(nearest, cell, depth)
    visible = depth <= LAYER_RATIO * nearest[cell]
    return Shown(uv[visible], depth[visible], labelled.instances[near[visible]])
