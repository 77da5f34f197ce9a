"""What odometry tells of the scale of the map, and the map of that of odometry."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.geometry import bundle, transforms
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray

_ROTATION_WEIGHT = 0.04
_REST_M = 0.02


def take_odometry_scale(state: MapState) -> None:
    """Give the map the scale of its odometry: adjusting lets it drift, wrong mounts bend it."""
    rescale(state, 1.0 / odometry_scale(state))


def rescale(state: MapState, scale: float) -> None:
    """Make the map so many times as large; its first frame stays."""
    origin = state.frames[0].T_world_base[:3, 3].copy()
    S = np.eye(4)
    S[:3, :3] *= scale
    S[:3, 3] = (1.0 - scale) * origin
    state.transform(S, scale)


def odometry_scale(state: MapState) -> float:
    """Return true way per way the odometry tells, robustly; 1.0 without enough way.

    Increments count by their covariance, so that those of wheels that slipped say nothing.
    """
    told, true, variance = [], [], []
    for (i, j), r in sorted(state.odometry.items()):
        T = transforms.invert(state.frames[i].T_world_base) @ state.frames[j].T_world_base
        length = float(np.linalg.norm(r.T_i_j[:3, 3]))
        if length > 0.2:
            told.append(length)
            true.append(float(T[:3, 3] @ r.T_i_j[:3, 3]) / length)
            variance.append(float(np.trace(r.covariance[3:, 3:])))
    if sum(told) < 20.0:
        return 1.0
    ratio = np.array(true) / np.array(told)
    good = np.abs(ratio - np.median(ratio)) < 0.2
    weight = np.array(told)[good] / np.array(variance)[good]
    scale = float(weight @ np.array(true)[good] / (weight @ np.array(told)[good]))
    return scale if 0.8 < scale < 1.25 else 1.0


def odometry_factors(
    state: MapState, scale: float, weight: float, hears_sideways: bool = False
) -> tuple[bundle.RelativePrior, ...]:
    """Return the odometry with its way multiplied by `scale`, heard as much as `weight` says.

    With `hears_sideways` only along the way. Between pictures of cameras that fire in turn it
    alone says how far aside of each other they sit, and that tells the scale.
    """
    out = []
    for (i, j), r in sorted(state.odometry.items()):
        T = r.T_i_j.copy()
        T[:3, 3] *= scale
        covariance = r.covariance.copy()
        if hears_sideways:
            covariance[3:, 3:] += (1.0 / weight - 1.0) * _along(T[:3, 3], covariance[3:, 3:])
        else:
            covariance[3:, 3:] /= weight
        covariance[:3, :3] /= min(weight, _ROTATION_WEIGHT)
        out.append(bundle.RelativePrior(i, j, T, covariance, True))
    return tuple(out)


def _along(way: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return the part of a covariance (3, 3) that lies along a way (3,); all of it at rest."""
    length = float(np.linalg.norm(way))
    if length < _REST_M:
        return covariance
    direction = way / length
    return float(direction @ covariance @ direction) * np.outer(direction, direction)
