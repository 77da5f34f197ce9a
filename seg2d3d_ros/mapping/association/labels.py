"""Class of each landmark, by the votes of the masks it was seen in."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.mapping.incidence import Incidence
from seg2d3d_ros.mapping.reserve import enlarged
from seg2d3d_ros.types import IntArray


def may_join(a: IntArray | int, b: IntArray | int) -> np.ndarray:
    """Return where things of classes a (n,) and b (n,) may be one; 0, unknown, goes with all."""
    return np.equal(a, b) | np.equal(a, 0) | np.equal(b, 0)


class LabelVotes:
    """Counts per class and landmark; rows are found by the landmark's id."""

    def __init__(self) -> None:
        """Start without votes."""
        self._votes: dict[int, np.ndarray] = {}

    def add(self, seen: Incidence) -> None:
        """Count the classes of one picture."""
        for class_id in np.unique(seen.class_id):
            if class_id >= 0:
                np.add.at(
                    self._row(int(class_id), seen.all_ids),
                    seen.all_ids[seen.class_id == class_id],
                    1,
                )

    def of(self, ids: IntArray) -> IntArray:
        """Return the class (n,) with most votes; 0, unknown, without any."""
        return self._winner(ids)[0]

    def is_building(self, ids: IntArray, classes: frozenset[int]) -> np.ndarray:
        """Return which landmarks (n,) were seen in such classes more often than in any other."""
        winner, votes = self._winner(ids)
        return np.isin(winner, sorted(classes)) & (votes > 0)

    def _winner(self, ids: IntArray) -> tuple[IntArray, IntArray]:
        best, most = np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids), dtype=np.int64)
        for class_id in sorted(self._votes):
            row = self._votes[class_id]
            count = np.where(ids < len(row), row[np.minimum(ids, len(row) - 1)], 0)
            better = count > most
            best[better], most[better] = class_id, count[better]
        return best, most

    def _row(self, class_id: int, ids: IntArray) -> np.ndarray:
        size = int(ids.max()) + 1 if len(ids) else 1
        row = self._votes.get(class_id, np.zeros(0, dtype=np.int32))
        self._votes[class_id] = enlarged(row, size)
        return self._votes[class_id]
