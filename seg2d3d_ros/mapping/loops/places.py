"""Keyframes as places that can be found again: by what they look like and by where they may be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.mapping.loops.vocabulary import Vocabulary
from seg2d3d_ros.mapping.reserve import enlarged
from seg2d3d_ros.types import FloatArray, IntArray

_MIN_WAY_M = 30.0
_GATE_M = 8.0
_DRIFT = 0.06
_MIN_SIMILARITY = 0.08
_APART = 5


class PlaceIndex:
    """Vectors, positions and ways of places as arrays; a query is one product with all of them.

    Attributes:
        frame: Frame in the map of each place.
        ids: Described landmarks seen at each place.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.frame: list[int] = []
        self.ids: list[IntArray] = []
        self._vectors = np.zeros((256, Vocabulary.vector_size), dtype=np.float16)
        self._centers = np.zeros((256, 3))
        self._way_m = np.zeros(256)
        self._group = np.zeros(256, dtype=np.int64)

    def __len__(self) -> int:
        """Return how many places there are."""
        return len(self.frame)

    def add(self, frame: int, ids: IntArray, vector: NDArray[np.float16]) -> int:
        """Add the place where a frame saw landmarks (n,); return its number."""
        for name in ("_vectors", "_centers", "_way_m", "_group"):
            setattr(self, name, enlarged(getattr(self, name), len(self) + 1))
        self._vectors[len(self)] = vector
        self.frame.append(frame)
        self.ids.append(ids)
        return len(self) - 1

    def locate(self, first: int, centers_world: FloatArray, groups: IntArray) -> None:
        """Say where the places from `first` on are, (n, 3), and which of them hang together."""
        end = len(self)
        self._centers[first:end], self._group[first:end] = centers_world, groups
        for k in range(first, end):
            step = np.linalg.norm(self._centers[k] - self._centers[k - 1]) if k else 0.0
            self._way_m[k] = (self._way_m[k - 1] if k else 0.0) + step

    def candidates(self, place: int, limit: int, reach_m: float | None = None) -> list[int]:
        """Return earlier places that may be the same, most similar first.

        Dead reckoning drifts by a share of the way: what lies further off than that is no
        candidate, however similar it looks. Of parts of the map without relation to each other
        the position says nothing.

        Args:
            place: Number of the place that asks.
            limit: Return at most so many.
            reach_m: How far off they may be, instead of what the drift allows.
        """
        way = self._way_m[place] - self._way_m[:place]
        reach = _GATE_M + _DRIFT * way if reach_m is None else reach_m
        offset = self._centers[:place, :2] - self._centers[place, :2]
        is_near = (np.hypot(offset[:, 0], offset[:, 1]) < reach) & (way > _MIN_WAY_M)
        is_apart = self._group[:place] != self._group[place]
        rows = np.flatnonzero(is_apart | is_near)
        similarity = self._vectors[rows].astype(np.float32) @ self._vectors[place].astype(
            np.float32
        )
        chosen: list[int] = []
        for row in np.argsort(-similarity, kind="stable"):
            if len(chosen) >= limit:
                break
            if similarity[row] < _MIN_SIMILARITY and not is_apart[rows[row]]:
                continue
            if all(abs(int(rows[row]) - other) >= _APART for other in chosen):
                chosen.append(int(rows[row]))
        return chosen
