"""Registers lidar scans onto each other, so that walls stand in one place.

Positions and headings of GNSS and IMU wander by decimetres and a degree within seconds: enough to
move a facade by a window. What they say about the next few metres is good, and all there is where
a street looks the same from one metre to the next: so it stays in as a prior.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import FloatArray

_VOXEL_M = 0.15
_NORMAL_RADIUS_M, _NORMAL_POINTS = 0.6, 30
_MAX_FLATNESS = 0.04
_NEAR_M = 60.0
_REACHES_M = (1.0, 0.4)
_ROUNDS, _STEP_M = 15, 1e-4
_SIGMA_M, _HUBER_M = 0.05, 0.1
# Errors of neighbouring points go together: a scan says no more than so many that did not.
_NUM_INDEPENDENT = 500
_PRIOR_SIGMA = np.array([0.005, 0.005, 0.005, 0.02, 0.02, 0.02])  # rad and metres, scan to scan


@dataclass(frozen=True)
class _Planes:
    """Points (n, 3) that lie on planes, with the normals (n, 3) of these."""

    points: FloatArray
    normals: FloatArray


def register_scans(
    scans_map: list[NDArray[np.float32]],
    origins_map: FloatArray,
    on_scan: Callable[[int], None] | None = None,
) -> FloatArray:
    """Return corrections (n, 4, 4) that bring scans, placed by rough poses, onto each other.

    Point-to-plane ICP (Chen and Medioni 1992) of each scan onto those before it that are within
    60 m, with the correction of the scan before as start and prior; the first scan stays.

    Args:
        scans_map: Points (m, 3) of every scan in the map by its rough pose.
        origins_map: (n, 3) where each was taken from.
        on_scan: Called with 1 after each scan.
    """
    corrections = [np.eye(4)]
    target = _thin(scans_map[0])
    for points, origin in zip(scans_map[1:], origins_map[1:], strict=True):
        source = _thin(points)
        place = transforms.apply(corrections[-1], origin[None])[0]
        target = target[np.linalg.norm(target - place, axis=1) < _NEAR_M]
        planes = _planes(target)
        correction = corrections[-1]
        for reach_m in _REACHES_M:
            correction = _align(source, planes, corrections[-1], correction, (reach_m, place))
        corrections.append(correction)
        target = _thin(np.concatenate([target, transforms.apply(correction, source)]))
        if on_scan is not None:
            on_scan(1)
    return np.stack(corrections)


def _thin(points: FloatArray | NDArray[np.float32]) -> FloatArray:
    """Return one point per occupied voxel, the first, in a fixed order."""
    voxel = np.floor(points / _VOXEL_M).astype(np.int64)
    _, first = np.unique(voxel, axis=0, return_index=True)
    return points[np.sort(first)].astype(np.float64)


def _planes(points: FloatArray) -> _Planes:
    """Return the points whose neighbourhood is flat; edges and leaves have no normal."""
    distance, index = KDTree(points).query(
        points, _NORMAL_POINTS, distance_upper_bound=_NORMAL_RADIUS_M
    )
    is_near = np.isfinite(distance)
    near = points[np.where(is_near, index, 0)]
    count = is_near.sum(axis=1, keepdims=True)
    mean = (near * is_near[..., None]).sum(axis=1) / count
    off = (near - mean[:, None]) * is_near[..., None]
    values, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", off, off))
    is_plane = (values[:, 0] < _MAX_FLATNESS * values[:, 1]) & (count[:, 0] >= 6)
    return _Planes(points[is_plane], vectors[is_plane, :, 0])


def _align(
    source: FloatArray,
    planes: _Planes,
    T_prior: FloatArray,
    T_start: FloatArray,
    reach: tuple[float, FloatArray],
) -> FloatArray:
    """Return the correction of a scan by Gauss-Newton on distances to planes and on the prior.

    Args:
        source: (m, 3) its points.
        planes: What it is laid on.
        T_prior: (4, 4) the correction expected.
        T_start: (4, 4) where to begin.
        reach: How far a point looks for its plane, and the point (3,) turns are about.
    """
    reach_m, place = reach
    tree = KDTree(planes.points)
    prior = np.diag(1.0 / _PRIOR_SIGMA**2)
    about = transforms.rigid(np.eye(3), place)
    T = T_start
    for _ in range(_ROUNDS):
        moved = transforms.apply(T, source)
        distance, index = tree.query(moved, distance_upper_bound=reach_m)
        is_found = np.isfinite(distance)
        found = np.asarray(index)[is_found]
        p, normal = moved[is_found], planes.normals[found]
        residual = np.einsum("ij,ij->i", normal, p - planes.points[found])
        J = np.column_stack([np.cross(p - place, normal), normal])
        weight = _huber(residual) * min(1.0, _NUM_INDEPENDENT / max(len(p), 1)) / _SIGMA_M**2
        ahead = _log(transforms.invert(about) @ T @ transforms.invert(T_prior) @ about)
        A = J.T @ (weight[:, None] * J) + prior
        step = -np.linalg.solve(A, J.T @ (weight * residual) + prior @ ahead)
        T = about @ transforms.exp(step) @ transforms.invert(about) @ T
        if np.linalg.norm(step[3:]) < _STEP_M:
            break
    return T


def _huber(residual: FloatArray) -> NDArray[np.float64]:
    return np.minimum(1.0, _HUBER_M / np.maximum(np.abs(residual), 1e-12))


def _log(T: FloatArray) -> FloatArray:
    """Return rotation vector and translation (6,) of a transform."""
    return np.concatenate([Rotation.from_matrix(T[:3, :3]).as_rotvec(), T[:3, 3]])


def anchor(corrections: FloatArray, T_map_base: FloatArray) -> FloatArray:
    """Turn and shift corrections (n, 4, 4) together so that positions fit those given best.

    The corrected way starts where the first scan was; what the rough poses (n, 4, 4) know is the
    mean place and heading, so the whole is moved onto them by a level rigid transform.
    """
    moved = (corrections @ T_map_base)[:, :3, 3]
    given = T_map_base[:, :3, 3]
    a, b = moved[:, :2] - moved[:, :2].mean(axis=0), given[:, :2] - given[:, :2].mean(axis=0)
    turn = np.arctan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum())
    R = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    fit = transforms.rigid(R, given.mean(axis=0) - R @ moved.mean(axis=0))
    return np.asarray(fit @ corrections)
