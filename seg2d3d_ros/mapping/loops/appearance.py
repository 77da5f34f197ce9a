"""Descriptors of landmarks, by their ids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.mapping.reserve import enlarged
from seg2d3d_ros.types import IntArray

SIZE = 128
_NONE = -1


class Appearance:
    """One descriptor per landmark, kept only for those that have one."""

    def __init__(self) -> None:
        """Start empty."""
        self._row = np.full(4096, _NONE, dtype=np.int32)
        self._descriptors = np.zeros((1024, SIZE), dtype=np.uint8)
        self._num = 0

    def add(self, ids: IntArray, descriptors: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Store descriptors (n, 128); zero rows mean none, and the first one of a landmark stays.

        Returns:
            Those that were new, (m, 128).
        """
        if descriptors.shape[1] != SIZE or not len(ids):
            return np.zeros((0, SIZE), dtype=np.uint8)
        self._row = enlarged(self._row, int(ids.max()) + 1, _NONE)
        rows = np.flatnonzero(descriptors.any(axis=1) & ~self.has(ids))
        end = self._num + len(rows)
        self._descriptors = enlarged(self._descriptors, end)
        self._descriptors[self._num : end] = descriptors[rows]
        self._row[ids[rows]] = np.arange(self._num, end)
        self._num = end
        return descriptors[rows]

    def has(self, ids: IntArray) -> np.ndarray:
        """Return which landmarks (n,) have a descriptor."""
        known = ids < len(self._row)
        out = np.zeros(len(ids), dtype=bool)
        out[known] = self._row[ids[known]] != _NONE
        return out

    def of(self, ids: IntArray) -> NDArray[np.uint8]:
        """Return descriptors (n, 128) of landmarks that have one."""
        return self._descriptors[self._row[ids]]
