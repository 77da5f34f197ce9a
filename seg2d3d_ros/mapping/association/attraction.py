"""Parts of the map that can be decided about one after another."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from seg2d3d_ros.mapping.association.owners import PlaceOwners
from seg2d3d_ros.mapping.association.votes import VoteGraph
from seg2d3d_ros.types import IntArray


def attracted(
    places: IntArray, graph: VoteGraph, owners: PlaceOwners, num_at_a_time: int
) -> list[IntArray]:
    """Part places so that no vote for joining two of them crosses from one part to another.

    Contraction follows votes for joining only, so each part can be decided about by itself: what
    speaks against joining places of two parts says nothing new.

    Args:
        places: (n,) places to be decided about, sorted.
        graph: Sums of votes.
        owners: Instances beyond these places hold together what they attract.
        num_at_a_time: Parts are as small as that, as far as the votes allow.

    Returns:
        The parts, each sorted.
    """
    rows, columns, size = [], [], len(places)
    for low in range(0, size, num_at_a_time):
        some = places[low : low + num_at_a_time]
        votes, beyond = graph.around(some)
        at = np.minimum(np.searchsorted(places, beyond), size - 1)
        owner = owners.of(beyond)
        other = np.where(places[at] == beyond, at, np.where(owner > 0, size + owner, -1))
        node = np.concatenate([low + np.arange(len(some)), other])
        found = votes.tocoo()
        joins = (found.data > 0.0) & (node[found.col] >= 0)
        rows.append((low + found.row[joins]).astype(np.int32))
        columns.append(node[found.col[joins]].astype(np.int32))
    if not rows:
        return []
    row, column = np.concatenate(rows), np.concatenate(columns)
    num_nodes = max(size, int(column.max(initial=0)) + 1)
    joined = sparse.coo_array((np.ones(len(row), np.int8), (row, column)), (num_nodes, num_nodes))
    _, component = connected_components(joined, directed=False)
    return _batches(places, component[:size].astype(np.int64), num_at_a_time)


def _batches(places: IntArray, component: IntArray, num_at_a_time: int) -> list[IntArray]:
    """Put whole components (n,) of places (n,) together until there are enough of them."""
    order = np.argsort(component, kind="stable")
    starts = np.flatnonzero(np.diff(component[order], prepend=-1))
    bounds, last = [0], 0
    for start in starts.tolist()[1:]:
        if start - bounds[-1] > num_at_a_time and last > bounds[-1]:
            bounds.append(last)
        last = start
    if len(places) - bounds[-1] > num_at_a_time and last > bounds[-1]:
        bounds.append(last)
    return [np.sort(part) for part in np.split(places[order], bounds[1:])]
