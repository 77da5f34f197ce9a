"""Groups of places with a gap that no vote crosses, joined by uncertain landmarks in between."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from seg2d3d_ros.mapping.association.votes import cells_of
from seg2d3d_ros.types import IntArray

_COARSE = 4
_FEWEST_PLACES = 10


def parted_by_gaps(
    rows: IntArray, places: IntArray, votes: sparse.csr_array, gap_voxels: float
) -> list[IntArray]:
    """Part a group of places where those that are well known leave a gap.

    A landmark that may be anywhere between two buildings is tracked in the mask of the one, then
    of the other; its votes are no reason to take them for one.

    Args:
        rows: (k,) which places are the group.
        places: (n,) keys.
        votes: (n, n or more) sums of votes between them.
        gap_voxels: Well-known places further apart never voted about each other.

    Returns:
        The rows of each part; uncertain places, and few beside all others, go where most of their
        votes are.
    """
    if len(rows) < 2 * _FEWEST_PLACES:
        return [rows]
    cells, is_sure = cells_of(places[rows])
    part = np.full(len(rows), -1, dtype=np.int64)
    part[is_sure] = _connected(cells[is_sure], gap_voxels)
    large = np.flatnonzero(np.bincount(part[is_sure]) >= _FEWEST_PLACES)
    if len(large) < 2:
        return [rows]
    known = np.isin(part, large)
    part[known] = np.searchsorted(large, part[known])
    of_part = (np.ones(int(known.sum())), (rows[known], part[known]))
    belongs = sparse.csr_array(of_part, shape=(votes.shape[1], len(large)))
    part[~known] = (votes[rows[~known]] @ belongs).toarray().argmax(axis=1)
    return [rows[part == k] for k in range(len(large))]


def _connected(cells: IntArray, gap_voxels: float) -> IntArray:
    """Return of each voxel (n, 3) the number of those it hangs together with."""
    if not len(cells):
        return np.zeros(0, dtype=np.int64)
    # Of two coarse cells the contents are nearer than their corners by up to a diagonal.
    coarse, index = np.unique(cells // _COARSE, axis=0, return_inverse=True)
    reach = gap_voxels / _COARSE + np.sqrt(3.0)
    first, second = cKDTree(coarse).query_pairs(reach, output_type="ndarray").T
    near = sparse.coo_array((np.ones(len(first)), (first, second)), shape=(len(coarse),) * 2)
    found: IntArray = connected_components(near, directed=False)[1].astype(np.int64)
    return found[index]
