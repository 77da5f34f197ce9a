"""A single camera that turns on the spot: nothing tells depth, but the turn itself is seen."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.clusters.motion import Motion
from seg2d3d_ros.clusters.window import LocalFrame, LocalMap
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import FloatArray

_MIN_MATCHES = 30
_NOISE_PX = 0.7
_MIN_AGREEING = 0.75
_MOST_PX = 2.5
_ROUNDS = 8
_MIN_TURN_RAD = np.deg2rad(0.5)
_SIGMA_RAD = np.deg2rad(0.1)
_SIGMA_UNIT = 0.005
_MIN_KNOWN = 12


def rotation_between(xy_i: FloatArray, xy_j: FloatArray, focal_px: float) -> FloatArray | None:
    """Find the turn that alone explains how the matches of two pictures moved.

    Directions are aligned (Kabsch 1976) under Cauchy weights.

    Args:
        xy_i: (n, 2) ideal image coordinates in the first picture.
        xy_j: (n, 2) in the second.
        focal_px: Focal length.

    Returns:
        R_i_j (3, 3); None where too few match, or the matches show that the camera moved: half of
        them miss by more than 0.7 px, or a quarter by more than 2.5 px.
    """
    if len(xy_i) < _MIN_MATCHES:
        return None
    rays_i, rays_j = (_unit(np.c_[xy, np.ones(len(xy))]) for xy in (xy_i, xy_j))
    weight, R, miss = np.ones(len(rays_i)), np.eye(3), np.zeros(len(rays_i))
    for _ in range(_ROUNDS):
        U, _, Vt = np.linalg.svd((rays_i * weight[:, None]).T @ rays_j)
        R = (U * np.array([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])) @ Vt
        miss = focal_px * np.linalg.norm(rays_i - rays_j @ R.T, axis=1)
        weight = 1.0 / (1.0 + (miss / _NOISE_PX) ** 2)
    if np.median(miss) > _NOISE_PX or (miss < _MOST_PX).mean() < _MIN_AGREEING:
        return None
    return np.asarray(R)


def _unit(rays: FloatArray) -> FloatArray:
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


class Turning:
    """Holds the place of a lone camera while it turns, and knows when its map is out of sight.

    Landmarks cannot be placed from one point, so what comes into sight has no depth, and poses
    from it would be invented. The turn is what all tracks say; the place is that of the keyframe
    before. When the vehicle moves on and sees nothing it knows the scale is lost: another map must
    begin, to be joined to this one by a loop.

    Attributes:
        is_active: The newest frame turned on the spot.
        is_lost: It moved on after a turn, and sees too little it knows.
    """

    def __init__(self) -> None:
        """Begin at rest."""
        self.is_active = False
        self.is_lost = False
        self._has_turned = False

    def hold(self, frame: LocalFrame, known: LocalMap) -> None:
        """Take a frame that was located; change its pose if it only turned since the keyframe."""
        keyframe = known.keyframes[-1]
        _, i, j = np.intersect1d(keyframe.seen.ids, frame.seen.ids, return_indices=True)
        xy_i, xy_j = known.normalized(keyframe.seen)[i], known.normalized(frame.seen)[j]
        R = rotation_between(xy_i, xy_j, float(models.focal_px(known.rig.cameras[0])))
        turn = np.eye(4) if R is None else transforms.rigid(R, np.zeros(3))
        self.is_active = R is not None and bool(transforms.angle_rad(turn) > _MIN_TURN_RAD)
        if self.is_active:
            T_base_cam = known.rig.cameras[0].T_base_cam
            T_turn = T_base_cam @ turn @ transforms.invert(T_base_cam)
            frame.T_local_base, frame.status = keyframe.T_local_base @ T_turn, "tracked"
        num_known = int(np.isfinite(known.landmarks.points(frame.seen.ids)[:, 0]).sum())
        is_blind = num_known < _MIN_KNOWN
        self._has_turned = self.is_active or (self._has_turned and is_blind)
        # with too few matches to see a turn nothing is known: that is not moving on
        self.is_lost = self._has_turned and is_blind and R is None and len(i) >= _MIN_MATCHES

    def motion(self, last: LocalFrame, frame: LocalFrame) -> Motion:
        """Return the turn since the last keyframe, to hold the place in adjustments, too."""
        T_i_j = transforms.invert(last.T_local_base) @ frame.T_local_base
        return Motion(T_i_j, np.diag([_SIGMA_RAD**2] * 3 + [_SIGMA_UNIT**2] * 3))
