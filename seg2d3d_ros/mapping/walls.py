"""Walls and roofs of all buildings: planes found, and what the pictures say about their cells."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from seg2d3d_ros.mapping.boxes import SurfaceCells
from seg2d3d_ros.mapping.facades import MeasuredSurface, find_all_facades
from seg2d3d_ros.mapping.filling import FacadeFiller
from seg2d3d_ros.mapping.fusion import FusedPoints
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.mapping.tracks import Names, TrackFinder
from seg2d3d_ros.types import PointCloud

# Landmarks that scatter more tell nothing; no more than this counts of what they do. Their sigma
# is that of rays which miss by a pixel, and they miss by less than half of one.
_MAX_LANDMARK_SIGMA_M = 12.0
_EDGES_PER_SIGMA = 0.8
_LANDMARK_EDGES_M = (0.2, 1.6)
_LANDMARK_AREA_M2 = 0.16


def raise_walls(
    state: MapState,
    measured: FusedPoints,
    landmarks: PointCloud,
    names: Names,
    reach_m: float,
) -> tuple[FusedPoints, SurfaceCells]:
    """Find what buildings are made of beyond what was measured.

    Args:
        state: The map.
        measured: Points fused from depths.
        landmarks: Those of the map with their instances, for where no depth was measured.
        names: What the masks of each picture are called, by (frame, camera).
        reach_m: How far beyond its points a plane may still go on.

    Returns:
        Points where nothing was measured, and the cells of all walls and roofs.
    """
    finder = TrackFinder(state, landmarks, names)
    facades = find_all_facades(surfaces_of(state, measured, landmarks), reach_m, finder)
    filler = FacadeFiller(state, measured, facades)
    filler.look([k for k, f in enumerate(state.frames) if f.is_keyframe], names)
    return filler.filled(), filler.cells()


def surfaces_of(
    state: MapState, measured: FusedPoints, landmarks: PointCloud
) -> dict[int, MeasuredSurface]:
    """Return all points of each instance; landmarks face the keyframe nearest to them.

    Args:
        state: The map.
        measured: Points fused from depths.
        landmarks: Those of the map with their instances.
    """
    usable = (landmarks.instances > 0) & (landmarks.sigma_m < _MAX_LANDMARK_SIGMA_M)
    points = landmarks.points_map[usable]
    path = np.stack([f.T_world_base[:3, 3] for f in state.frames if f.is_keyframe])
    toward = path[cKDTree(path).query(points)[1]] - points
    toward /= np.maximum(np.linalg.norm(toward, axis=1, keepdims=True), 1e-9)
    scatter = _EDGES_PER_SIGMA * landmarks.sigma_m[usable].astype(np.float64)
    edge = np.clip(scatter, *_LANDMARK_EDGES_M)
    surface = MeasuredSurface(
        points=np.concatenate([measured.points, points]),
        edge_m=np.concatenate([measured.edge_m, edge]),
        area_m2=np.concatenate([measured.edge_m**2, np.full(len(points), _LANDMARK_AREA_M2)]),
        toward=np.concatenate([measured.toward, toward]),
    )
    owner = np.concatenate([measured.instances, landmarks.instances[usable].astype(np.int64)])
    order = np.argsort(owner, kind="stable")
    ids, first = np.unique(owner[order], return_index=True)
    groups = np.split(order, first[1:])
    return {int(i): surface.take(r) for i, r in zip(ids, groups, strict=True) if i > 0}
