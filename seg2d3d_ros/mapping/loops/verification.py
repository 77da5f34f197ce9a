"""Whether two keyframes really show the same place: descriptors, then the pose of the rig."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry.pose import RigObservations, find_rig_pose, refine_rig_pose
from seg2d3d_ros.types import Camera, FloatArray, IntArray

_RATIO = 0.9
_MIN_MATCHES = 20
_MIN_INLIERS = 15
_MIN_SHARE = 0.08
_MAX_ERROR_PX = 3.0
_MIN_SPREAD = 0.04
_MAX_SCALE_ERROR = 0.15


@dataclass(frozen=True)
class Sight:
    """Described landmarks that one keyframe sees, or that several near each other see.

    Attributes:
        ids: (n,) landmarks.
        points_world: (n, 3) where the map has them.
        descriptors: (n, 128) uint8.
        camera: (n,) by which camera of the keyframe; empty for several keyframes.
        uv_px: (n, 2) where; empty for several keyframes.
    """

    ids: IntArray
    points_world: FloatArray
    descriptors: NDArray[np.uint8]
    camera: IntArray
    uv_px: NDArray[np.float32]


@dataclass(frozen=True)
class Recognition:
    """A keyframe found among older landmarks.

    Attributes:
        S_world_base: (4, 4) pose of the keyframe by the older landmarks; its scale is that of the
            older part of the map over that of the keyframe's own, 1 where both are in metres.
        old: (n,) landmarks of the older part that agree.
        new: (n,) the keyframe's landmarks that are the same.
    """

    S_world_base: FloatArray
    old: IntArray
    new: IntArray


def match(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[IntArray, IntArray]:
    """Return rows of a (n, 128) and b (m, 128) that are each other's nearest by a margin.

    All sums are whole numbers below 2^24, so that single precision is exact.
    """
    if len(a) < 2 or len(b) < 2:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    x, y = a.astype(np.float32), b.astype(np.float32)
    length_x, length_y = (np.einsum("ij,ij->i", v, v) for v in (x, y))
    # The squared distance but for the length of x, which says nothing along a row.
    distance = x @ y.T
    distance *= -2.0
    distance += length_y
    rows, j = np.arange(len(a)), distance.argmin(axis=1)
    mutual = (distance[:, j] + length_x[:, None]).argmin(axis=0) == rows
    nearest = distance[rows, j] + length_x
    distance[rows, j] = np.inf
    i = np.flatnonzero(mutual & (nearest < _RATIO**2 * (distance.min(axis=1) + length_x)))
    return i, j[i]


def recognise(
    cameras: tuple[Camera, ...],
    T_world_base: FloatArray,
    new: Sight,
    old: Sight,
    is_metric: bool,
) -> Recognition | None:
    """Find the pose of a keyframe among older landmarks.

    Args:
        cameras: The rig.
        T_world_base: (4, 4) where the map has the keyframe; only depths are taken from it.
        new: What the keyframe sees.
        old: What keyframes of another pass, close to each other, saw.
        is_metric: Both parts of the map are in metres.

    Returns:
        The pose and the landmarks that agree; None where too few do, where they lie in one spot,
        where most of what is seen found no counterpart, or where metres disagree.
    """
    i, j = match(new.descriptors, old.descriptors)
    num_needed = max(_MIN_INLIERS, _MIN_SHARE * len(new.ids))
    if len(i) < max(_MIN_MATCHES, num_needed):
        return None
    xy = np.empty((len(i), 2))
    for c in range(len(cameras)):
        rows = new.camera[i] == c
        xy[rows] = models.normalize(cameras[c], new.uv_px[i][rows])
    obs = RigObservations(cameras, new.camera[i], old.points_world[j], xy)
    guess = find_rig_pose(obs, _MAX_ERROR_PX, num_needed)
    if guess is None:
        return None
    found = refine_rig_pose(obs, guess, _MAX_ERROR_PX)
    good = found.is_inlier
    if good.sum() < num_needed:
        return None
    if not _is_spread(cameras, new.camera[i[good]], new.uv_px[i[good]]):
        return None
    T = found.T_world_base
    depth_old = np.linalg.norm(obs.points_world[good] - T[:3, 3], axis=1)
    depth_new = np.linalg.norm(new.points_world[i[good]] - T_world_base[:3, 3], axis=1)
    scale = float(np.median(depth_old / np.maximum(depth_new, 1e-9)))
    if is_metric and abs(np.log(max(scale, 1e-9))) > _MAX_SCALE_ERROR:
        return None
    S = T.copy()
    S[:3, :3] *= 1.0 if is_metric else scale
    return Recognition(S, old.ids[j[good]], new.ids[i[good]])


def _is_spread(cameras: tuple[Camera, ...], camera: IntArray, uv_px: np.ndarray) -> bool:
    """Return whether pixels cover more than a spot: their ellipse against the picture."""
    for c in np.unique(camera):
        uv = uv_px[camera == c]
        if len(uv) >= 6:
            size = np.array([cameras[c].width_px, cameras[c].height_px])
            spread = np.sqrt(max(float(np.linalg.det(np.cov((uv / size).T))), 0.0))
            if spread > _MIN_SPREAD**2:
                return True
    return False
