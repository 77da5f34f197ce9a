"""The loops that were found, by number, and what is thought of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.loops.loop import CONTRADICTED, Loop, supports
from seg2d3d_ros.types import FloatArray, IntArray


class Ledger:
    """Verified loops; a loop bears its place in the list as number.

    Attributes:
        loops: All of them.
        kept: Numbers of those that the map believes.
        refused: Those that would have stretched it beyond belief.
        contradicted: Those that others support, but masks do not.
    """

    def __init__(self) -> None:
        """Start without loops."""
        self.loops: list[Loop] = []
        self.kept: set[int] = set()
        self.refused: set[int] = set()
        self.contradicted: set[int] = set()

    def of(self, numbers: Sequence[int]) -> list[Loop]:
        """Return some loops."""
        return [self.loops[k] for k in numbers]

    def supports(self, among: Sequence[int], asking: Sequence[int], poses: FloatArray) -> IntArray:
        """Return how many loops back each of some (m,); note those that masks contradict.

        Args:
            among: Numbers of the loops that may back them, these included.
            asking: Numbers of the loops that are asked about, m of them.
            poses: (f, 4, 4) frames in the world.
        """
        place = {k: n for n, k in enumerate(among)}
        votes = supports(self.of(among), poses, [place[k] for k in asking])
        self.contradicted.difference_update(asking)
        self.contradicted |= {k for k, v in zip(asking, votes, strict=True) if v == CONTRADICTED}
        return votes

    def rescale(self, scale: FloatArray) -> None:
        """Follow a map that grew by factors (f,) around its frames."""
        self.loops = [e.rescaled(float(scale[e.old]), float(scale[e.new])) for e in self.loops]

    def restate(self, poses: FloatArray, is_adjusted: NDArray[np.bool_]) -> None:
        """Let kept loops between adjusted frames (f,) tell what the adjustment found.

        What they told before would pull against it, and count as strain when others are closed.

        Args:
            poses: (f, 4, 4) frames in the world.
            is_adjusted: (f,) which of them were adjusted.
        """
        for k in self.kept:
            loop = self.loops[k]
            if is_adjusted[loop.old] and is_adjusted[loop.new]:
                S = transforms.invert(poses[loop.old]) @ poses[loop.new]
                self.loops[k] = replace(loop, S_old_new=S)
