"""Parts of the map that can be decided about one after another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from seg2d3d_ros.mapping.packed_rows import PackedRows


def attracted(
    touched: set[int], edges: PackedRows, instance_of_place: Mapping[int, int]
) -> list[set[int]]:
    """Part places so that no vote for joining two of them crosses from one part to another.

    Contraction follows votes for joining only, so each part can be decided about by itself: what
    speaks against joining places of two parts says nothing new.

    Args:
        touched: Places to be decided about, all positive.
        edges: Sums of votes by place.
        instance_of_place: Instances beyond the touched places hold together what they attract.

    Returns:
        The parts, in the order of their smallest place.
    """
    places = np.sort(np.fromiter(touched, dtype=np.int64, count=len(touched)))
    anchors: dict[int, int] = {}
    rows, columns = [], []
    for k, place in enumerate(places.tolist()):
        other, votes = edges.arrays(place)
        other = other[votes > 0]
        at = np.minimum(np.searchsorted(places, other), len(places) - 1)
        is_touched = places[at] == other
        beyond = [instance_of_place.get(m, 0) for m in other[~is_touched].tolist()]
        found = [len(places) + anchors.setdefault(i, len(anchors)) for i in beyond if i]
        rows.append(np.full(int(is_touched.sum()) + len(found), k, dtype=np.int32))
        columns.append(np.concatenate([at[is_touched], found]).astype(np.int32))
    if not rows:
        return []
    row, column = np.concatenate(rows), np.concatenate(columns)
    size = len(places) + len(anchors)
    weight = np.ones(len(row), dtype=np.int8)
    graph = sparse.coo_array((weight, (row, column)), shape=(size, size))
    _, part = connected_components(graph, directed=False)
    order = np.argsort(part[: len(places)], kind="stable")
    ends = np.flatnonzero(np.diff(part[order])) + 1
    return sorted((set(p.tolist()) for p in np.split(places[order], ends)), key=min)
