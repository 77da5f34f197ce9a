import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg2d3d_ros.mapping import partition
from seg2d3d_ros.mapping.partition import Edges, greedy_partition


def graph(size, *edges):
    """Edges from (a, b, weight)."""
    a, b, w = np.array(edges, dtype=float).reshape(-1, 3).T
    return Edges(size, a.astype(np.int64), b.astype(np.int64), w)


def test_partition_attractive_chain_is_one_group():
    edges = graph(4, (0, 1, 3.0), (1, 2, 2.0), (2, 3, 1.0))
    assert greedy_partition(edges).tolist() == [0, 0, 0, 0]


def test_partition_repulsive_edge_keeps_the_ends_of_a_chain_apart():
    # 0-1 and 2-3 are joined first; then 1-2 pulls with 1 and 0-3 pushes with 2
    edges = graph(4, (0, 1, 3.0), (1, 2, 1.0), (2, 3, 3.0), (0, 3, -2.0))
    assert greedy_partition(edges).tolist() == [0, 0, 1, 1]


def test_partition_weaker_repulsion_is_overruled_by_the_sum_of_parallel_edges():
    # two edges of 1 between the joined pairs outweigh -1.5
    edges = graph(4, (0, 1, 3.0), (2, 3, 3.0), (1, 2, 1.0), (1, 3, 1.0), (0, 3, -1.5))
    assert greedy_partition(edges).tolist() == [0, 0, 0, 0]


def test_partition_node_between_two_rivals_goes_to_the_stronger():
    edges = graph(3, (0, 1, 5.0), (1, 2, 4.0), (0, 2, -9.0))
    assert greedy_partition(edges).tolist() == [0, 0, 1]


def test_partition_isolated_nodes_are_groups_of_their_own_in_order():
    assert greedy_partition(graph(4, (3, 1, 1.0))).tolist() == [0, 1, 2, 1]
    assert greedy_partition(graph(0)).tolist() == []


def test_partition_weight_equal_to_the_minimum_is_not_enough():
    for weight, expected in ((1.5, [0, 1]), (1.6, [0, 0])):
        assert greedy_partition(graph(2, (0, 1, weight)), min_weight=1.5).tolist() == expected


def test_partition_sum_below_the_minimum_is_not_contracted_afterwards():
    # once 0 and 1 are one node its edge to 2 is 2 - 1 = 1
    edges = graph(3, (0, 1, 4.0), (1, 2, 2.0), (0, 2, -1.0))
    assert greedy_partition(edges, min_weight=1.5).tolist() == [0, 0, 1]


def test_partition_parallel_edges_add_up_and_loops_say_nothing():
    edges = graph(3, (0, 1, 1.0), (1, 0, 1.0), (2, 2, 9.0), (1, 2, 1.0))
    assert greedy_partition(edges, min_weight=1.5).tolist() == [0, 0, 1]


WEIGHTED = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(-4, 4)).filter(
        lambda e: e[0] != e[1]
    ),
    max_size=30,
)
# from so many nodes on, many edges are contracted at once; else one by one
FEW = pytest.mark.parametrize("few", [0, 200])


@FEW
@settings(deadline=None, max_examples=60)
@given(edges=WEIGHTED, seed=st.integers(0, 1000))
def test_partition_order_and_direction_of_edges_do_not_matter(few, edges, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition, "_FEW", few)
        rng = np.random.default_rng(seed)
        expected = greedy_partition(graph(9, *edges)).tolist()
        shuffled = [edges[k] for k in rng.permutation(len(edges))]
        shuffled = [(b, a, w) if rng.random() < 0.5 else (a, b, w) for a, b, w in shuffled]
        assert greedy_partition(graph(9, *shuffled)).tolist() == expected


@FEW
@settings(deadline=None, max_examples=60)
@given(edges=WEIGHTED)
def test_partition_no_two_groups_attract_each_other_any_more(few, edges):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition, "_FEW", few)
        group = greedy_partition(graph(9, *edges), min_weight=0.5)
    between = np.zeros((9, 9))
    for a, b, w in edges:
        between[group[a], group[b]] += w
        between[group[b], group[a]] += w
    np.fill_diagonal(between, 0.0)
    assert between.max() <= 0.5
    assert group[np.sort(np.unique(group, return_index=True)[1])].tolist() == sorted(set(group))


def street(seed, num_houses=12, places=60, wrong=0.1):
    """Votes between places of houses in a row, `wrong` of them with the wrong sign."""
    rng = np.random.default_rng(seed)
    size = num_houses * places
    a = rng.integers(0, size, 30 * size)
    b = np.clip(a + rng.integers(-places, places + 1, len(a)), 0, size - 1)
    house = np.arange(size) // places
    sign = np.where(house[a] == house[b], 1.0, -1.0) * np.where(rng.random(len(a)) < wrong, -1, 1)
    return Edges(size, a, b, sign), house


@pytest.mark.parametrize("seed", range(3))
def test_partition_of_many_nodes_with_a_tenth_of_wrong_votes_is_exact(seed):
    edges, house = street(seed)
    np.testing.assert_array_equal(greedy_partition(edges, min_weight=1.5), house)


def test_partition_mends_what_was_joined_too_early():
    # 1 and 2 are a pair at first; in the end four weaker edges draw 1 to the others of its house
    rows = [(1, 2, 5.0)]
    rows += [(1, n, 2.0) for n in (3, 4, 5, 6)] + [(2, n, -2.0) for n in (3, 4, 5, 6)]
    rows += [(a, b, 4.0) for a in (3, 4, 5, 6) for b in range(a + 1, 7)]
    assert greedy_partition(graph(7, *rows)).tolist() == [0, 1, 2, 1, 1, 1, 1]


def within(edges, group):
    """Sum of the weights inside groups, which is to be large."""
    return edges.weight[group[edges.first] == group[edges.second]].sum()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("wrong", [0.2, 0.3])
def test_partition_many_at_once_is_as_good_as_one_by_one(seed, wrong, monkeypatch):
    edges, _ = street(seed, wrong=wrong)
    at_once = within(edges, greedy_partition(edges, 1.5))
    monkeypatch.setattr(partition, "_FEW", 1 << 40)
    assert at_once >= 0.98 * within(edges, greedy_partition(edges, 1.5))


def test_partition_rounds_grow_with_the_logarithm_of_the_nodes(monkeypatch):
    """Edges that are looked at, over all rounds, per edge there is: not more on a long street."""
    looked_at = []
    summed = partition._summed
    monkeypatch.setattr(
        partition, "_summed", lambda e: (looked_at.append(len(e.weight)), summed(e))[1]
    )
    shares = []
    for num_houses in (12, 96):
        edges, _ = street(0, num_houses)
        looked_at.clear()
        greedy_partition(edges, 1.5)
        shares.append(sum(looked_at) / len(edges.weight))
    assert shares[1] <= 1.25 * shares[0]
