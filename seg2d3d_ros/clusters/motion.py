"""How the rig moves from one moment to the next where no odometry tells."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Camera, FloatArray

_MAX_RATIO = 3.0
_ACCELERATION_MPS2 = 2.0
_ANGULAR_ACCELERATION_RPS2 = 0.4
_SIGMA_POSE_M = 0.02
_SIGMA_POSE_RAD = np.deg2rad(0.05)
_FALLBACK_DEPTH = 20.0
_MIN_KNOWN = 10
_MOST_WIDTHS = 0.25


@dataclass(frozen=True)
class Motion:
    """A motion of base_link, p_i = T_i_j @ p_j, with covariance (6, 6) [rotation, translation]."""

    T_i_j: FloatArray
    covariance: FloatArray


@dataclass(frozen=True)
class _Moment:
    stamp_ns: int
    T_local_base: FloatArray
    cameras: frozenset[int]


class ConstantVelocity:
    """Extrapolates the last motion, as one and the same camera saw it.

    Cameras that fire in turn see different landmarks. Motion from a pose of one to a pose of
    another would hold the offset between their maps; from one camera to itself it does not. The
    extrapolation to the next camera's moment then ties the two maps to each other.
    """

    def __init__(self, num_cameras: int) -> None:
        """Remember as many moments as cameras may fire in turn."""
        self._moments: deque[_Moment] = deque(maxlen=2 * num_cameras + 1)

    def clear(self) -> None:
        """Forget all motion."""
        self._moments.clear()

    def add(self, stamp_ns: int, T_local_base: FloatArray, cameras: tuple[int, ...]) -> None:
        """Take the pose of a moment and the cameras it was seen by."""
        self._moments.append(_Moment(stamp_ns, T_local_base, frozenset(cameras)))

    def predict(self, stamp_ns: int) -> Motion | None:
        """Return the motion from the newest moment to a stamp; None before there are two.

        The covariance holds what a vehicle's acceleration and the noise of two poses add.
        """
        if len(self._moments) < 2:
            return None
        *before, newest = self._moments
        since = [m for m in before if m.cameras & newest.cameras] or before
        span_ns = newest.stamp_ns - since[-1].stamp_ns
        if span_ns <= 0:
            return None
        ratio = min((stamp_ns - newest.stamp_ns) / span_ns, _MAX_RATIO)
        step = transforms.invert(since[-1].T_local_base) @ newest.T_local_base
        ahead_s, span_s = (stamp_ns - newest.stamp_ns) * 1e-9, span_ns * 1e-9
        spread = 0.5 * ahead_s * (ahead_s + span_s)
        noise = 1.0 + 2.0 * ratio
        turn = np.hypot(_ANGULAR_ACCELERATION_RPS2 * spread, noise * _SIGMA_POSE_RAD)
        shift = np.hypot(_ACCELERATION_MPS2 * spread, noise * _SIGMA_POSE_M)
        return Motion(
            transforms.interpolate(np.eye(4), step, ratio),
            np.diag([turn**2] * 3 + [shift**2] * 3),
        )


def guess_pixels(
    camera: Camera,
    uv_px: FloatArray,
    points_local: FloatArray,
    T_local_before: FloatArray,
    T_local_cam: FloatArray,
) -> FloatArray:
    """Return where tracks should be seen from a predicted pose of their camera.

    Args:
        camera: The camera.
        uv_px: (n, 2) where they were.
        points_local: (n, 3) their landmarks; NaN where unknown, which are taken to be as far as
            the others.
        T_local_before: (4, 4) pose of the camera then.
        T_local_cam: (4, 4) pose of the camera now.

    Returns:
        Pixels (n, 2); the old ones where the guess is behind the camera or a leap.
    """
    unknown = ~np.isfinite(points_local[:, 0])
    if unknown.any():
        known = transforms.apply(transforms.invert(T_local_before), points_local[~unknown])
        depth = float(np.median(known[:, 2])) if len(known) >= _MIN_KNOWN else _FALLBACK_DEPTH
        rays = models.rays(camera, uv_px[unknown])
        points_local = points_local.copy()
        points_local[unknown] = transforms.apply(T_local_before, rays * max(depth, 1.0))
    uv, _ = models.project(camera, transforms.apply(transforms.invert(T_local_cam), points_local))
    lost = ~np.isfinite(uv[:, 0])
    lost |= np.abs(uv - uv_px).max(axis=1) > _MOST_WIDTHS * camera.width_px
    uv[lost] = uv_px[lost]
    return uv
