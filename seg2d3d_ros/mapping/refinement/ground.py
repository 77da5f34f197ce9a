"""How high a camera stands above the road, in the map's own unit: a fallback for its scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray

_MIN_DEPRESSION_RAD = np.deg2rad(4.0)
_MAX_SIDEWAYS = 2.5
_MIN_POINTS = 30
_MIN_VIEWS = 3
_BIN = 0.05
_BAND = 0.2
_MAX_SCATTER = 0.1


@dataclass(frozen=True)
class GroundHeight:
    """Height of a camera above the road ahead of it.

    Attributes:
        height: In the map's unit.
        num_points: Landmarks on the road.
        scatter: Their median distance from the road, relative to the height.
    """

    height: float
    num_points: int
    scatter: float


def measure_ground(state: MapState, camera: int = 0) -> GroundHeight | None:
    """Fit the road to the landmarks below a camera's horizon and close beside its track.

    The road is a plane that moves with the vehicle: free in pitch and roll, so that neither a
    nod of the mounting nor a cambered road passes for height. The commonest drop below the camera
    starts the fit, so kerbs, cars and walls do not.

    Returns:
        The height, or None where too little of a road was seen.
    """
    ids, p = _below(state, camera)
    unique, index, count = np.unique(ids, return_inverse=True, return_counts=True)
    p = p[count[index] >= _MIN_VIEWS]
    num = int((count >= _MIN_VIEWS).sum())
    if num < _MIN_POINTS:
        return None
    drop = np.log(-p[:, 2])
    votes, edges = np.histogram(drop, np.arange(drop.min(), drop.max() + 2 * _BIN, _BIN))
    height = float(np.exp(edges[int(np.argmax(votes))] + 0.5 * _BIN))
    plane = np.array([0.0, 0.0, -height])
    A = np.c_[p[:, :2], np.ones(len(p))]
    for width in np.r_[np.geomspace(_BAND, 0.02, 8), [0.02] * 4] * height:
        weight = 1.0 / (1.0 + ((p[:, 2] - A @ plane) / width) ** 2) ** 2
        plane = np.linalg.lstsq(A * np.sqrt(weight)[:, None], p[:, 2] * np.sqrt(weight), None)[0]
    height = float(-plane[2] / np.sqrt(1.0 + plane[0] ** 2 + plane[1] ** 2))
    if height <= 0.0:
        return None
    scatter = float(np.median(np.abs(p[:, 2] - A @ plane))) / height
    return GroundHeight(height, num, scatter) if scatter < _MAX_SCATTER else None


def _below(state: MapState, camera: int) -> tuple[np.ndarray, FloatArray]:
    """Return landmarks seen below the horizon near the track, relative to the camera (n, 3)."""
    ids, seen = [np.zeros(0, dtype=np.int64)], [np.zeros((0, 3))]
    for f in state.frames:
        if not f.is_keyframe:
            continue
        rows = f.ids[f.camera == camera]
        points = state.points(rows)
        p = transforms.apply(transforms.invert(f.T_world_base), points)
        p = p - state.cameras[camera].T_base_cam[:3, 3]
        way = np.linalg.norm(p[:, :2], axis=1)
        low = -p[:, 2] > way * np.tan(_MIN_DEPRESSION_RAD)
        low &= np.abs(p[:, 1]) < -_MAX_SIDEWAYS * p[:, 2]
        ids.append(rows[low])
        seen.append(p[low])
    return np.concatenate(ids), np.concatenate(seen)
