"""A loop: two keyframes that show the same place, and which loops say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import FloatArray, IntArray

_AGREE_M = 1.0
_AGREE_RAD = np.deg2rad(2.5)
_NEAR_FRAMES = 120


@dataclass(frozen=True)
class Loop:
    """A verified loop between frames of the map.

    Attributes:
        old: The earlier frame.
        new: The later one.
        S_old_new: (4, 4) with p_old = S_old_new @ p_new; rigid where both are in metres.
        landmarks_old: (n,) landmarks that agree.
        landmarks_new: (n,) the same ones, as the later pass called them.
        error_px: Median reprojection error.
    """

    old: int
    new: int
    S_old_new: FloatArray
    landmarks_old: IntArray
    landmarks_new: IntArray
    error_px: float

    def motion(self, poses: FloatArray) -> FloatArray:
        """Return (4, 4) how the later frame must move in the world, by poses (n, 4, 4)."""
        return poses[self.old] @ self.S_old_new @ transforms.invert(poses[self.new])

    def rescaled(self, scale: float) -> Loop:
        """Return the loop after the part of the map around the earlier frame grew by a factor."""
        S = self.S_old_new.copy()
        S[:3, 3] *= scale
        return replace(self, S_old_new=S)


def support(loop: Loop, others: Sequence[Loop], poses: FloatArray) -> int:
    """Return how many other loops, seen close to it, ask for the same motion of the map."""
    motion, agreeing = loop.motion(poses), 0
    for other in others:
        if other is loop or abs(other.new - loop.new) > _NEAR_FRAMES or other.new == loop.new:
            continue
        place = poses[other.new][:3, 3]
        theirs = other.motion(poses)
        gap = (transforms.apply(motion, place[None]) - transforms.apply(theirs, place[None]))[0]
        turned = _rotation(motion).T @ _rotation(theirs)
        angle = transforms.angle_rad(transforms.rigid(turned, np.zeros(3)))
        agreeing += float(np.linalg.norm(gap)) < _AGREE_M and angle < _AGREE_RAD
    return agreeing


def _rotation(S: FloatArray) -> FloatArray:
    return S[:3, :3] / np.cbrt(np.linalg.det(S[:3, :3]))
