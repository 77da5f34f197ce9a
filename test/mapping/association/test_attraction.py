import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg2d3d_ros.mapping.association.attraction import attracted
from seg2d3d_ros.mapping.association.owners import PlaceOwners
from seg2d3d_ros.mapping.association.votes import PictureVotes, VoteGraph
from seg2d3d_ros.mapping.partition import Edges, greedy_partition


def graph_of(edges):
    """Votes between places, given as {(a, b): weight}."""
    graph = VoteGraph()
    places = np.unique(list(edges))
    pairs = np.searchsorted(places, list(edges)).reshape(-1, 2)
    graph.add([PictureVotes(places, pairs, np.array(list(edges.values())))])
    return graph


def parts(places, edges, owners=(), num_at_a_time=1):
    found = attracted(
        np.array(sorted(places)), graph_of(edges), PlaceOwners(owners), num_at_a_time
    )
    return sorted(p.tolist() for p in found)


def test_attracted_places_stay_together_and_repelled_ones_part():
    edges = {(1, 2): 3.0, (2, 3): 1.0, (3, 4): -5.0, (4, 5): 1.0, (1, 6): -1.0}
    assert parts([1, 2, 3, 4, 5, 6], edges) == [[1, 2, 3], [4, 5], [6]]


def test_attracted_by_the_same_instance_beyond_stays_together():
    edges = {(1, 10): 2.0, (2, 11): 2.0, (3, 12): 2.0, (4, 13): -2.0}
    assert parts([1, 2, 3, 4], edges, {10: 7, 11: 7, 12: 8, 13: 7}) == [[1, 2], [3], [4]]


def test_attracted_nothing_gives_no_part():
    assert attracted(np.zeros(0, np.int64), VoteGraph(), PlaceOwners(), 1) == []


@pytest.mark.parametrize("num_at_a_time", [1, 3, 6, 100])
def test_attracted_parts_are_put_together_as_far_as_they_are_small(num_at_a_time):
    edges = {(a, a + 1): 1.0 for a in range(1, 40, 2)}  # twenty pairs
    found = parts(range(1, 41), edges, num_at_a_time=num_at_a_time)
    assert sorted(p for part in found for p in part) == list(range(1, 41))
    assert all((p % 2 == 1) == (p + 1 in part) for part in found for p in part if p % 2 == 1)
    assert max(len(p) for p in found) == min(max(2, num_at_a_time // 2 * 2), 40)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 10]))
def test_attracted_parts_decided_one_by_one_give_the_partition_of_the_whole(seed, num_at_a_time):
    rng = np.random.default_rng(seed)
    pairs = {tuple(sorted(p)) for p in rng.integers(1, 30, (40, 2)).tolist() if p[0] != p[1]}
    # weights without ties: between equal ones the order of contraction is arbitrary
    edges = {p: float(np.float32(rng.normal())) for p in sorted(pairs)}

    def partition(part):
        at = {n: k for k, n in enumerate(part)}
        rows = [(at[a], at[b], w) for (a, b), w in edges.items() if a in at and b in at]
        a, b, w = np.array(rows, dtype=float).reshape(-1, 3).T
        group = greedy_partition(Edges(len(part), a.astype(int), b.astype(int), w), 0.1)
        return [[n for n, g in zip(part, group, strict=True) if g == k] for k in set(group)]

    nodes = sorted(set(range(1, 30)))
    found = parts(nodes, edges, num_at_a_time=num_at_a_time)
    assert sorted(g for part in found for g in partition(part)) == sorted(partition(nodes))
