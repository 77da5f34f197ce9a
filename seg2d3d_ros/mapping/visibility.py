"""What of the labelled map a picture should show: projection with occlusion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, IntArray

LAYER_RATIO = 1.35
_CELL_PX = 12
_MAX_RELATIVE_SIGMA = 0.03


@dataclass(frozen=True)
class LabelledPoints:
    """Landmarks that carry an instance: points_world (n, 3), sigma_m (n,), instances (n,)."""

    points_world: FloatArray
    sigma_m: FloatArray
    instances: IntArray
    tree: cKDTree | None

    @staticmethod
    def of(points_world: FloatArray, sigma_m: FloatArray, instances: IntArray) -> LabelledPoints:
        """Index the points by their place on the ground."""
        tree = cKDTree(points_world[:, :2]) if len(points_world) else None
        return LabelledPoints(points_world, sigma_m, instances, tree)


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
    if labelled.tree is None or state.rig is None:
        return nothing
    model = state.rig.cameras[camera]
    T_world_cam = state.frames[frame].T_world_base @ model.T_base_cam
    near = np.array(labelled.tree.query_ball_point(T_world_cam[:2, 3], range_m), dtype=np.int64)
    if not len(near):
        return nothing
    near.sort()
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
