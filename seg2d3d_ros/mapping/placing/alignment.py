"""Where a cluster lies in the map, by the landmarks they share, and what it knows of length."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.alignment import align_points
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Cluster, FloatArray

_MAX_RESIDUAL_M = 0.5
_LOSS_M = 0.3
_MIN_SHARED = 30
_TYPICAL_DISTANCE_M = 15.0


def align(
    state: MapState, cluster: Cluster, T_world_local: FloatArray, has_other_unit: bool = False
) -> tuple[FloatArray, float | None]:
    """Hold a cluster against what it shares with the map; realign it where it lies off.

    Args:
        state: The map.
        cluster: The cluster, not yet part of it.
        T_world_local: (4, 4) where its local frame was so far.
        has_other_unit: Lengths in it are others than in the cluster before.

    Returns:
        Where it is, a similarity where the scale is unknown, and the median distance of shared
        landmarks; None where too few are shared to tell.
    """
    known = state.points(cluster.landmarks.ids)
    shared = np.isfinite(known[:, 0])
    if shared.sum() < _MIN_SHARED:
        return T_world_local, None
    local = cluster.landmarks.points_local[shared]
    off = transforms.apply(T_world_local, local) - known[shared]
    residual = float(np.median(np.linalg.norm(off, axis=1)))
    if has_other_unit or residual > _MAX_RESIDUAL_M * state.unit:
        has_free_scale = has_other_unit or cluster.scale == "unknown"
        found = align_points(known[shared], local, has_free_scale, delta_m=_LOSS_M * state.unit)
        if not found.is_degenerate and found.residual_m < residual:
            return found.S_a_b, found.residual_m
    return T_world_local, residual


def unit_of(cluster: Cluster) -> float:
    """Return a length that may count as a metre: half of what is seen lies within fifteen."""
    seen = cluster.observations
    if not len(seen.frame):
        return 1.0
    centers = np.stack([f.T_local_base[:3, 3] for f in cluster.frames])[seen.frame]
    away = np.linalg.norm(cluster.landmarks.points_local[seen.landmark] - centers, axis=1)
    return float(np.nanmedian(away)) / _TYPICAL_DISTANCE_M if np.isfinite(away).any() else 1.0
