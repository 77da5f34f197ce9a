"""What masks say about a loop: landmarks that are the same must lie in the same houses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from seg2d3d_ros.mapping.incidence import incidence
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, IntArray

_MIN_LANDMARKS = 12
_MIN_SAME_CLASS = 0.6
_NO_MASK = -1


class MaskWitness:
    """Facades look alike, but what looks alike is seldom cut into houses at the same places."""

    def __init__(self, state: MapState, building_classes: frozenset[int]) -> None:
        """Look into the masks of a map; those of `building_classes` show houses."""
        self._state, self._buildings = state, building_classes

    def agreement(
        self,
        old_frames: Sequence[int],
        new_frame: int,
        landmarks_old: IntArray,
        landmarks_new: IntArray,
    ) -> float:
        """Hold the masks of the earlier pass against those of the later.

        Args:
            old_frames: Frames of the map that saw the landmarks of the earlier pass.
            new_frame: The frame that is to show the same.
            landmarks_old: (n,) landmarks of the earlier pass.
            landmarks_new: (n,) the same ones, as the later pass calls them.

        Returns:
            The share of landmarks whose houses are the same (`one_to_one`), the mean over the
            earlier frames; 0 where most lie in masks of another class, NaN where too few lie in
            masks to tell.
        """
        house_new, class_new = self._shown(new_frame, landmarks_new)
        shares, num, num_told, num_same = [], [], 0, 0
        for frame in old_frames:
            house_old, class_old = self._shown(frame, landmarks_old)
            told = (class_old != _NO_MASK) & (class_new != _NO_MASK)
            num_told += int(told.sum())
            num_same += int((class_old == class_new)[told].sum())
            both = (house_old != _NO_MASK) & (house_new != _NO_MASK)
            share = one_to_one(house_old[both], house_new[both])
            if share is not None:
                shares.append(share)
                num.append(float(both.sum()))
        if num_told >= _MIN_LANDMARKS and num_same < _MIN_SAME_CLASS * num_told:
            return 0.0
        return float(np.average(shares, weights=num)) if shares else float("nan")

    def _shown(self, frame: int, ids: IntArray) -> tuple[IntArray, IntArray]:
        """Return the mask of a house and the class (n,) that landmarks lie in, or -1."""
        content = self._state.frames[frame].content
        seen = self._state.canonical(content.ids)
        house, class_id = np.full(len(ids), _NO_MASK), np.full(len(ids), _NO_MASK)
        first = 0
        for c, masks in sorted(content.masks.items()):
            rows = np.flatnonzero((content.camera == c) & np.isin(seen, ids))
            lies = incidence(seen[rows], content.uv_px[rows], masks, self._buildings)
            _copy(ids, lies.all_ids, lies.class_id, class_id)
            _copy(ids, lies.ids, lies.mask + first, house)
            first += len(masks)
        return house, class_id


def one_to_one(old: IntArray, new: IntArray) -> float | None:
    """Return the share of landmarks whose houses are each other's, best case.

    Houses of one pass are assigned to houses of the other, each to one at most, so that as many
    landmarks as possible agree (Kuhn 1955).

    Args:
        old: (n,) house of each landmark in a picture of the earlier pass.
        new: (n,) in one of the later pass.

    Returns:
        The share; None where there are too few, or both show a single house, which says nothing.
    """
    a, row = np.unique(old, return_inverse=True)
    b, column = np.unique(new, return_inverse=True)
    if len(old) < _MIN_LANDMARKS or len(a) == len(b) == 1:
        return None
    table: FloatArray = np.zeros((len(a), len(b)))
    np.add.at(table, (row, column), 1.0)
    # It knows no empty cells: one more in each changes nothing, as all assign equally many.
    chosen = min_weight_full_bipartite_matching(sparse.csr_array(table + 1.0), maximize=True)
    return float(table[chosen].sum() / len(old))


def _copy(ids: IntArray, known: IntArray, values: IntArray, out: IntArray) -> None:
    """Write the values of known landmarks into the rows of `out` that ids (n,) give them."""
    order = np.argsort(known, kind="stable")
    if not len(order):
        return
    at = np.minimum(np.searchsorted(known[order], ids), len(order) - 1)
    hit = known[order][at] == ids
    out[hit] = values[order][at[hit]]
