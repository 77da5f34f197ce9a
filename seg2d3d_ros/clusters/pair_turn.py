"""How far two cameras that see the same things are turned against each other from what is stated.

Matches across cameras are looked for near where the stated mounting puts them. A camera that sits
a degree off leaves few of them, or wrong ones, and these tell the metres. What lies around those
places, found by flow whatever the epipolar line says, tells the turn.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Camera, FloatArray, Rig

_KEYFRAMES = 5
_MIN_MATCHES = 50
# Some matches that miss by less show that nothing is turned as much as that.
_FEW_MATCHES = 12
_MOST_MISSED = 0.7
# After so many keyframes with too little to tell, or so many answers that explain nothing, the
# stated mounting is taken as it is.
_MOST_KEYFRAMES = 25
_MOST_ANSWERS = 4
_MIN_TURN_RAD = np.deg2rad(0.4)
_LEAST_GAIN = 0.5
_SIGMA_TURN_RAD = np.deg2rad(2.0)
_SIGMA_SCALE = 0.05
# Without odometry the metres are those of the matches: they may be wrong by any factor.
_SIGMA_METRES = 1.0
_MIN_SIGMAS, _MIN_LEFT_PX, _LEAST_GAIN_WITH_METRES = 8.0, 0.1, 0.75
# Cameras that fire apart look turned, too, but no turn explains what they see.
_MOST_LEFT_PX = 1.0
_FIRST_LOSS_PX, _LAST_LOSS_PX, _NARROWING = 8.0, 1.0, 0.7
_ROUNDS = 10


class PairTurn:
    """Gathers matches of some keyframes and says by what turn they fit best.

    Attributes:
        is_right: The cameras were found to sit as stated. Where odometry and the map part later,
            it is the wheels: then no turn is asked for any more.
    """

    def __init__(self, focal_px: float) -> None:
        """Start without matches; `focal_px` is that of the camera they are found in."""
        self._focal_px = focal_px
        self._num_keyframes = self._num_answers = 0
        self.is_right = False
        self.clear()

    @property
    def is_settled(self) -> bool:
        """Return whether matches may be used: the cameras are right, or nothing will tell."""
        is_in_vain = self._num_keyframes > _MOST_KEYFRAMES or self._num_answers >= _MOST_ANSWERS
        return self.is_right or is_in_vain

    def hear(self, other: PairTurn) -> None:
        """Take over what was found the other way round."""
        self.is_right |= other.is_right
        self._num_keyframes = max(self._num_keyframes, other._num_keyframes)
        self._num_answers = max(self._num_answers, other._num_answers)

    def clear(self) -> None:
        """Forget all matches."""
        self._parts: list[tuple[FloatArray, FloatArray, FloatArray]] = []

    def add(self, xy_infinity: FloatArray, xy_stated: FloatArray, xy_found: FloatArray) -> None:
        """Take the matches of a keyframe, image coordinates (n, 2) of the second camera.

        Args:
            xy_infinity: Where the corners were if they lay infinitely far away.
            xy_stated: Where they should be by their depth and the stated mounting.
            xy_found: Where they are.
        """
        self._parts.append((xy_infinity, xy_stated, xy_found))
        self._num_keyframes += 1

    def find(self, scale: float | None = 1.0) -> FloatArray | None:
        """Return the turn (3,) once it is known, and begin anew.

        Args:
            scale: Way on the map per way the odometry tells. Wrong matches make the map larger or
                smaller until they fit the stated mounting; by the odometry's metres they do not.
                None without odometry: then turn and metres are told together, and the cameras are
                never known to be right.

        Returns:
            The rotation vector w with R_b_a(true) = exp(w) @ R_b_a(stated), rad; None while there
            are too few matches, or where it is too small or explains too little, and once the
            cameras are known to be right.
        """
        if self.is_right:
            self.clear()
            return None
        if len(self._parts) < _KEYFRAMES or sum(len(p[0]) for p in self._parts) < _FEW_MATCHES:
            return None
        infinity, stated, found = (np.concatenate(p) for p in zip(*self._parts, strict=True))
        J = np.concatenate([_turning(stated), (stated - infinity)[:, :, None]], axis=2)
        J = self._focal_px * J
        e = self._focal_px * (found - stated)
        if scale is None:
            return self._find_with_metres(J, e)
        e -= (scale - 1.0) * J[:, :, 3]
        missed_px = float(np.median(np.linalg.norm(e, axis=1)))
        is_near = missed_px < float(_MOST_MISSED * _MIN_TURN_RAD * self._focal_px)
        if len(e) < _MIN_MATCHES:
            self.is_right = is_near
            return None
        self.clear()
        x, _ = _fit(J, e, _SIGMA_SCALE)
        left_px = float(np.median(np.linalg.norm(e - J @ x, axis=1)))
        is_small = bool(np.linalg.norm(x[:3]) < _MIN_TURN_RAD)
        if not is_small and left_px <= _LEAST_GAIN * missed_px:
            return x[:3]
        self._num_answers += 1
        self.is_right = is_near or is_small
        return None

    def _find_with_metres(self, J: FloatArray, e: FloatArray) -> FloatArray | None:
        """Return the turn (3,) that residuals e (n, 2) px tell whatever the metres are."""
        if len(e) < _MIN_MATCHES:
            return None
        self.clear()
        x, A = _fit(J, e, _SIGMA_METRES)
        missed_px = float(np.median(np.linalg.norm(e, axis=1)))
        left_px = max(float(np.median(np.linalg.norm(e - J @ x, axis=1))), _MIN_LEFT_PX)
        size = float(np.linalg.norm(x[:3]))
        most_left_px = min(_LEAST_GAIN_WITH_METRES * missed_px, _MOST_LEFT_PX)
        if size < _MIN_TURN_RAD or left_px > most_left_px:
            return None
        axis = np.r_[x[:3] / size, 0.0]
        sigma = left_px * float(np.sqrt(axis @ np.linalg.solve(A, axis)))
        return x[:3] if size >= _MIN_SIGMAS * sigma else None


def _fit(J: FloatArray, e: FloatArray, sigma_scale: float) -> tuple[FloatArray, FloatArray]:
    """Return turn and relative error of the scale (4,) that explain residuals e (n, 2) px.

    Beside them what is known of these (4, 4) if residuals scatter by a pixel.
    """
    prior = np.diag([_SIGMA_TURN_RAD**-2.0] * 3 + [sigma_scale**-2.0])
    x, A = np.zeros(4), prior
    for k in range(_ROUNDS):
        loss_px = max(_LAST_LOSS_PX, _FIRST_LOSS_PX * _NARROWING**k)
        squared = np.square(e - J @ x).sum(axis=1)
        weight = 1.0 / (1.0 + squared / loss_px**2)
        A = np.einsum("n,nij,nik->jk", weight, J, J) + prior
        x = np.linalg.solve(A, np.einsum("n,nij,ni->j", weight, J, e))
    return x, A


def _turning(xy: FloatArray) -> FloatArray:
    """Return how image coordinates (n, 2) move when what is seen turns by w: (n, 2, 3)."""
    x, y = xy.T
    one = np.ones(len(xy))
    return np.stack(
        [np.stack([-x * y, one + x * x, -y], 1), np.stack([-one - y * y, x * y, x], 1)], axis=1
    )


def turned_apart(rig: Rig, a: int, b: int, turn: FloatArray) -> Rig:
    """Return a rig of which two cameras share a turn (3,) with R_b_a = exp(turn) @ R_b_a(rig)."""
    half = 0.5 * rig.cameras[b].T_base_cam[:3, :3] @ turn
    cameras = list(rig.cameras)
    cameras[a] = _turned(cameras[a], half)
    cameras[b] = _turned(cameras[b], -half)
    return replace(rig, cameras=tuple(cameras))


def _turned(camera: Camera, rotvec_base: FloatArray) -> Camera:
    R = transforms.exp(np.r_[rotvec_base, np.zeros(3)])[:3, :3]
    T = camera.T_base_cam
    return replace(camera, T_base_cam=transforms.rigid(R @ T[:3, :3], T[:3, 3]))
