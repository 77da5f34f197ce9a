"""Partition of a graph with attractive and repulsive edges (greedy correlation clustering)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from seg2d3d_ros.types import FloatArray, IntArray

_FEW = 200
_SHARE = 0.5
_MIN_SHRINKAGE = 0.02
_MOVES = 3
_MIXER = 0x9E3779B1


@dataclass(frozen=True)
class Edges:
    """Weighted edges between nodes 0 .. size - 1; parallel ones add up, loops say nothing.

    Attributes:
        size: Number of nodes.
        first: (n,) node at one end.
        second: (n,) node at the other end.
        weight: (n,) positive where they attract, negative where they repel.
    """

    size: int
    first: IntArray
    second: IntArray
    weight: FloatArray


def united(a: Edges, b: Edges) -> Edges:
    """Return the edges of two graphs of the same nodes."""
    first, second = np.concatenate([a.first, b.first]), np.concatenate([a.second, b.second])
    return Edges(a.size, first, second, np.concatenate([a.weight, b.weight]))


def greedy_partition(edges: Edges, min_weight: float = 0.0) -> IntArray:
    """Contract the most attractive edges until none exceeds `min_weight`; parallel edges add up.

    Greedy additive edge contraction (Keuper et al. 2015, "Efficient decomposition of image and
    mesh graphs by lifted multicuts"): repulsive edges keep apart what a chain of attractive ones
    would join. As long as there are many nodes, all edges are contracted at once that are the
    strongest around (after Abbas and Swoboda 2022, "RAMA: a rapid multicut algorithm on GPU");
    the last few hundred nodes follow one edge at a time, in the order of their weights. What was
    joined too early is mended in the end: nodes go where most of their weight is.

    Args:
        edges: Their order does not matter; that of the nodes breaks ties.
        min_weight: Weight, at least 0, that an edge must exceed to be contracted.

    Returns:
        (size,) group of each node, numbered from 0 in the order of their first nodes.
    """
    edges = _summed(edges)
    group = _moved(edges, _contract(edges, min_weight), min_weight)
    between, number = _contracted(edges, group)
    group = _one_by_one(between, min_weight)[number]
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _contract(edges: Edges, min_weight: float) -> IntArray:
    """Return the group of each node (n,) after contraction, many edges at a time at first."""
    group = np.arange(edges.size)
    while edges.size > _FEW:
        shorter, number = _contracted(edges, _stars(edges, min_weight))
        group = number[group]
        is_stuck = shorter.size > (1.0 - _MIN_SHRINKAGE) * edges.size
        edges = shorter
        if is_stuck:
            break
    return _one_by_one(edges, min_weight)[group]


def _summed(edges: Edges) -> Edges:
    """Return the edges with first < second, sorted by their ends, parallel ones added up."""
    low, high = np.minimum(edges.first, edges.second), np.maximum(edges.first, edges.second)
    proper = low != high
    key = low[proper].astype(np.int64) * edges.size + high[proper]
    order = np.argsort(key)
    key, weight = key[order], edges.weight[proper][order].astype(np.float64)
    if len(key):
        start = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        key, weight = key[start], np.add.reduceat(weight, start)
    return Edges(edges.size, key // max(edges.size, 1), key % max(edges.size, 1), weight)


def _contracted(edges: Edges, group: IntArray) -> tuple[Edges, IntArray]:
    """Make nodes of one group (n,) one; return the edges left, and the new number of each node."""
    is_there = np.zeros(edges.size, dtype=bool)
    is_there[group] = True
    number = (np.cumsum(is_there) - 1)[group]
    size = int(is_there.sum())
    return _summed(Edges(size, number[edges.first], number[edges.second], edges.weight)), number


def _stars(edges: Edges, min_weight: float) -> IntArray:
    """Return for each node (n,) the one it may join at once, itself if it stays.

    Two nodes that attract each other more than all others are a pair. A node whose strongest edge
    leads to one of a pair joins it, unless what else joins repels it. Where a neighbour is
    attracted more than twice as much by another, it is not yet the turn of a node.
    """
    attracts = edges.weight > min_weight
    ends = edges.first[attracts], edges.second[attracts]
    weight = edges.weight[attracts]
    rank = _ranks(weight)
    best, pull = np.zeros(edges.size, dtype=np.int64), np.zeros(edges.size)
    for end in ends:
        np.maximum.at(best, end, rank)
        np.maximum.at(pull, end, weight)
    around = pull.copy()
    for end, other in (ends, ends[::-1]):
        np.maximum.at(around, end, pull[other])
    in_turn = weight >= _SHARE * np.maximum(*(around[end] for end in ends))
    a, b = (end[in_turn] for end in ends)
    from_a, from_b = best[a] == rank[in_turn], best[b] == rank[in_turn]
    is_pair = np.zeros(edges.size, dtype=bool)
    target = np.arange(edges.size)
    is_pair[a[from_a & from_b]] = is_pair[b[from_a & from_b]] = True
    target[b[from_a & from_b]] = a[from_a & from_b]
    leaf = np.concatenate([a[from_a & ~from_b], b[from_b & ~from_a]])
    to = np.concatenate([b[from_a & ~from_b], a[from_b & ~from_a]])
    target[leaf[is_pair[to]]] = target[to[is_pair[to]]]
    repelled = leaf[pull[leaf] - _push(edges, target)[leaf] <= min_weight]
    target[repelled] = repelled
    return target


def _push(edges: Edges, target: IntArray) -> FloatArray:
    """Return how much each node (n,) is repelled by others with the same target (n,)."""
    inside = (edges.weight < 0.0) & (target[edges.first] == target[edges.second])
    push = np.zeros(edges.size)
    for end in (edges.first, edges.second):
        push -= np.bincount(end[inside], edges.weight[inside], minlength=edges.size)
    return push


def _moved(edges: Edges, group: IntArray, min_weight: float) -> IntArray:
    """Move nodes out of their groups (n,) into those that attract them more.

    A local search (Keuper et al. 2015, section 4.1, moves one node after another): here all move
    at once that gain more than their neighbours would, so that each gains what it was promised.
    """
    size, nodes = edges.size, np.arange(edges.size)
    row = np.concatenate([edges.first, edges.second])
    other = np.concatenate([edges.second, edges.first])
    weight = np.tile(edges.weight, 2)
    for _ in range(_MOVES):
        sums = sparse.coo_array((weight, (row, group[other])), shape=(size, size)).tocsr()
        node = np.repeat(nodes, np.diff(sums.indptr))
        own, best, to = np.zeros(size), np.zeros(size), group.copy()
        is_own = sums.indices == group[node]
        own[node[is_own]] = sums.data[is_own]
        np.maximum.at(best, node, sums.data)
        is_best = sums.data == best[node]
        to[node[is_best]] = sums.indices[is_best]
        gain = np.where((best > own) & (best > min_weight), best - own, 0.0)
        rank = np.where(gain > 0.0, _ranks(gain), 0)
        around = np.zeros(size, dtype=np.int64)
        np.maximum.at(around, row, rank[other])
        moves = rank > around
        if not moves.any():
            break
        group = np.where(moves, to, group)
    return group


def _ranks(weight: FloatArray) -> IntArray:
    """Return a positive number for each positive weight (n,), in their order, all different.

    Among equal ones it is as good as random: a chain of equal edges falls into pairs at once.
    """
    # Positive floats are in the order of their bits.
    bits = weight.astype(np.float32).view(np.uint32).astype(np.int64)
    return (bits << 32) | ((np.arange(len(weight)) * _MIXER) & 0xFFFFFFFF)


def _one_by_one(edges: Edges, min_weight: float) -> IntArray:
    """Contract the strongest edge there is, again and again; return a node (n,) of each group."""
    rows: list[dict[int, float]] = [{} for _ in range(edges.size)]
    heap = []
    ends = zip(edges.first.tolist(), edges.second.tolist(), edges.weight.tolist(), strict=True)
    for a, b, w in ends:
        rows[a][b] = rows[b][a] = w
        if w > min_weight:
            heap.append((-w, a, b))
    heapq.heapify(heap)
    joined = np.arange(edges.size)
    while heap:
        negative, a, b = heapq.heappop(heap)
        if rows[a].get(b) != -negative:
            continue
        if len(rows[a]) < len(rows[b]):
            a, b = b, a
        joined[b] = a
        row = rows[a]
        for c, w in rows[b].items():
            del rows[c][b]
            if c != a:
                row[c] = rows[c][a] = total = row.get(c, 0.0) + w
                if total > min_weight:
                    heapq.heappush(heap, (-total, a, c) if a < c else (-total, c, a))
        rows[b] = {}
    while (joined[joined] != joined).any():
        joined = joined[joined]
    return joined
