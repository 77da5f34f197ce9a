"""Partition of a graph with attractive and repulsive edges (greedy correlation clustering)."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

Edges = dict[int, dict[int, float]]


def greedy_partition(
    edges: Edges, nodes: Iterable[int], min_weight: float = 0.0
) -> list[list[int]]:
    """Contract the most attractive edge until none exceeds `min_weight`; parallel edges add up.

    Greedy additive edge contraction (Keuper et al. 2015, "Efficient decomposition of image and
    mesh graphs by lifted multicuts"): repulsive edges keep apart what a chain of attractive ones
    would join.

    Args:
        edges: Symmetric weights by node; changed in place.
        nodes: All nodes, isolated ones too; their order breaks ties.
        min_weight: Weight that an edge must exceed to be contracted.

    Returns:
        Groups of nodes, each sorted, in the order of their first node.
    """
    members = {n: [n] for n in nodes}
    heap = [
        (-w, a, b) for a, row in edges.items() for b, w in row.items() if a < b and w > min_weight
    ]
    heapq.heapify(heap)
    while heap:
        negative, a, b = heapq.heappop(heap)
        if a not in members or b not in members or edges[a].get(b) != -negative:
            continue
        if len(edges[a]) < len(edges[b]):
            a, b = b, a
        members[a] += members.pop(b)
        for c, w in edges.pop(b).items():
            del edges[c][b]
            if c == a:
                continue
            joined = edges[a].get(c, 0.0) + w
            edges[a][c] = edges[c][a] = joined
            if joined > min_weight:
                heapq.heappush(heap, (-joined, min(a, c), max(a, c)))
    return sorted((sorted(m) for m in members.values()), key=lambda group: group[0])
