"""How far instances are from each other: a gap keeps them apart, one place makes them one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from seg2d3d_ros.mapping.partition import Edges
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, IntArray

_SEARCH_M = 30.0
_ONE_PLACE_M = 1.0
# Of the standard deviations of both: pairs of one building have up to 0.35, others 0.57 and more.
_ONE_PLACE_SIGMAS = 0.4
_ONE_PLACE_VOTES = 10.0


class Nearness:
    """Landmarks of instances in space."""

    def __init__(
        self, state: MapState, instances: IntArray, ids: IntArray, owner: IntArray
    ) -> None:
        """Sort landmarks (n,) with their owners (n,) by instance (m,), these ascending."""
        order = np.argsort(owner, kind="stable")
        low, high = (np.searchsorted(owner[order], instances, side) for side in ("left", "right"))
        own = [ids[order[a:b]] for a, b in zip(low, high, strict=True)]
        self._unit = state.unit
        self._points = [state.points(i) for i in own]
        self._trees = [cKDTree(p) for p in self._points]
        self._sigma = np.array([np.median(state.sigma(i)) if len(i) else np.inf for i in own])

    def without_gaps(self, votes: Edges, max_gap_m: float) -> Edges:
        """Turn votes for joining instances with a gap between them into votes against."""
        weight = votes.weight.copy()
        for k in np.flatnonzero(weight > 0.0).tolist():
            gaps = self._gaps(votes.first[k], votes.second[k])
            if len(gaps) and float(np.quantile(gaps, 0.1)) > max_gap_m * self._unit:
                weight[k] = -weight[k]
        return replace(votes, weight=weight)

    def at_one_place(self, together: sparse.csr_array) -> Edges:
        """Vote for joining instances that stand at one place and were never seen together.

        So a building far away is known again on another lap, though its landmarks are too
        uncertain to meet places of the first.

        Args:
            together: (m, m) in how many pictures both were followed.
        """
        middle = np.array(
            [np.median(p, axis=0) if len(p) else np.full(3, np.nan) for p in self._points]
        ).reshape(-1, 3)
        known = np.flatnonzero(np.isfinite(middle[:, 0]))
        pairs = cKDTree(middle[known]).query_pairs(_SEARCH_M * self._unit, output_type="ndarray")
        first, second = known[np.sort(pairs, axis=1)].T
        size = len(self._points)
        row, column = together.nonzero()
        is_open = ~np.isin(first * size + second, row.astype(np.int64) * size + column)
        found = np.array(
            [
                (a, b)
                for a, b in zip(first[is_open].tolist(), second[is_open].tolist(), strict=True)
                if float(np.median(self._gaps(a, b))) <= self._reach(a, b)
            ],
            dtype=np.int64,
        ).reshape(-1, 2)
        found = found[np.lexsort(found.T[::-1])]
        votes = np.full(len(found), _ONE_PLACE_VOTES)
        return Edges(size, found[:, 0], found[:, 1], votes)

    def _reach(self, a: int, b: int) -> float:
        sigma = float(np.hypot(self._sigma[a], self._sigma[b]))
        return max(_ONE_PLACE_M * self._unit, _ONE_PLACE_SIGMAS * sigma)

    def _gaps(self, a: int, b: int) -> FloatArray:
        """Return how far the landmarks (n,) of the smaller instance are from the other."""
        few, many = sorted((a, b), key=lambda i: len(self._points[i]))
        return np.asarray(self._trees[many].query(self._points[few])[0])
