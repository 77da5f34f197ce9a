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
# Mean over loops that agree. Simulated streets with masks that are split, merged and missing:
# 0.8 and more; streets that look alike and are cut into other houses: about 0.6.
_MIN_AGREEMENT = 0.7
CONTRADICTED = -1
# Loops that miss by less need no correction.
CLOSED_M = 0.2


@dataclass(frozen=True)
class Loop:
    """A verified loop between frames of the map.

    Attributes:
        old: The earlier frame.
        new: The later one.
        S_old_new: (4, 4) with p_old = S_old_new @ p_new; rigid where both are in metres.
        landmarks_old: (n,) landmarks that agree.
        landmarks_new: (n,) the same ones, as the later pass called them.
        agreement: Share of the landmarks that masks put into the same houses; NaN: they are mute.
    """

    old: int
    new: int
    S_old_new: FloatArray
    landmarks_old: IntArray
    landmarks_new: IntArray
    agreement: float = float("nan")

    def motion(self, poses: FloatArray) -> FloatArray:
        """Return (4, 4) how the later frame must move in the world, by poses (n, 4, 4)."""
        return poses[self.old] @ self.S_old_new @ transforms.invert(poses[self.new])

    def misfit_m(self, T_world_old: FloatArray, T_world_new: FloatArray) -> float:
        """Return how far the later frame lies from where the loop wants it, by poses (4, 4)."""
        wanted = T_world_old @ self.S_old_new
        return float(np.linalg.norm(wanted[:3, 3] - T_world_new[:3, 3]))

    def rescaled(self, old: float, new: float) -> Loop:
        """Return the loop after the map grew by factors around the earlier and later frame."""
        S = self.S_old_new.copy()
        S[:3, 3] *= old
        S[:3, :3] *= old / new
        return replace(self, S_old_new=S)


class Wishes:
    """How each of some loops wants its later frame to move, to see which of them agree."""

    def __init__(self, loops: Sequence[Loop], poses: FloatArray) -> None:
        """Take loops (n) and the poses (f, 4, 4) of all frames in the world."""
        old, self._new = (
            np.array([getattr(loop, k) for loop in loops], dtype=np.int64) for k in ("old", "new")
        )
        motion = poses[old] @ np.reshape([loop.S_old_new for loop in loops], (-1, 4, 4))
        self._motion = motion @ transforms.invert(poses[self._new])
        self._place = poses[self._new][:, :3, 3]
        R = self._motion[:, :3, :3]
        self._moved = np.einsum("nij,nj->ni", R, self._place) + self._motion[:, :3, 3]
        self._R = R / np.cbrt(np.linalg.det(R))[:, None, None]

    def agree(self, k: int) -> np.ndarray:
        """Return which loops (n,) ask for the same motion as the k-th within some degrees, a m."""
        gap = np.linalg.norm(transforms.apply(self._motion[k], self._place) - self._moved, axis=1)
        # trace(A^T B) of rotations is 1 + 2 cos of the angle between them.
        cosine = (np.einsum("ij,nij->n", self._R[k], self._R) - 1.0) / 2.0
        agree = (gap < _AGREE_M) & (cosine > np.cos(_AGREE_RAD))
        return np.asarray(agree & (np.abs(self._new - self._new[k]) <= _NEAR_FRAMES))


def supports(loops: Sequence[Loop], poses: FloatArray, asking: Sequence[int]) -> IntArray:
    """Count for some loops how many others, seen close to them, ask for the same motion.

    Args:
        loops: All loops (n).
        poses: (f, 4, 4) frames in the world.
        asking: (m,) which loops are asked about.

    Returns:
        (m,) numbers of loops of other keyframes that agree within a metre and some degrees;
        CONTRADICTED where the masks around all these say that the places are not the same.
    """
    if not len(loops):
        return np.zeros(len(asking), dtype=np.int64)
    wishes, new = Wishes(loops, poses), np.array([loop.new for loop in loops])
    agreement = np.array([loop.agreement for loop in loops])
    counts = []
    for k in asking:
        agree = wishes.agree(k)
        said = agreement[agree & np.isfinite(agreement)]
        is_contradicted = len(said) > 0 and said.mean() < _MIN_AGREEMENT
        counts.append(CONTRADICTED if is_contradicted else int((agree & (new != new[k])).sum()))
    return np.array(counts, dtype=np.int64)
