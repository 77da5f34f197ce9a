import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seg2d3d_ros.mapping.partition import greedy_partition


def graph(*edges):
    """Symmetric weights from (a, b, weight)."""
    out = {}
    for a, b, w in edges:
        out.setdefault(a, {})[b] = w
        out.setdefault(b, {})[a] = w
    return out


def test_partition_attractive_chain_is_one_group():
    edges = graph((1, 2, 3.0), (2, 3, 2.0), (3, 4, 1.0))
    assert greedy_partition(edges, [1, 2, 3, 4]) == [[1, 2, 3, 4]]


def test_partition_repulsive_edge_keeps_the_ends_of_a_chain_apart():
    # 1-2 and 3-4 are joined first; then 2-3 pulls with 1 and 1-4 pushes with 2
    edges = graph((1, 2, 3.0), (2, 3, 1.0), (3, 4, 3.0), (1, 4, -2.0))
    assert greedy_partition(edges, [1, 2, 3, 4]) == [[1, 2], [3, 4]]


def test_partition_weaker_repulsion_is_overruled_by_the_sum_of_parallel_edges():
    # two edges of 1 between the joined pairs outweigh -1.5
    edges = graph((1, 2, 3.0), (3, 4, 3.0), (2, 3, 1.0), (2, 4, 1.0), (1, 4, -1.5))
    assert greedy_partition(edges, [1, 2, 3, 4]) == [[1, 2, 3, 4]]


def test_partition_node_between_two_rivals_goes_to_the_stronger():
    edges = graph((1, 2, 5.0), (2, 3, 4.0), (1, 3, -9.0))
    assert greedy_partition(edges, [1, 2, 3]) == [[1, 2], [3]]


def test_partition_isolated_nodes_are_groups_of_their_own():
    assert greedy_partition(graph((5, 7, 1.0)), [9, 7, 5, 3]) == [[3], [5, 7], [9]]
    assert greedy_partition({}, []) == []


def test_partition_weight_equal_to_the_minimum_is_not_enough():
    for weight, expected in ((1.5, [[1], [2]]), (1.6, [[1, 2]])):
        assert greedy_partition(graph((1, 2, weight)), [1, 2], min_weight=1.5) == expected


def test_partition_sum_below_the_minimum_is_not_contracted_afterwards():
    # once 1 and 2 are one node its edge to 3 is 2 - 1 = 1
    edges = graph((1, 2, 4.0), (2, 3, 2.0), (1, 3, -1.0))
    assert greedy_partition(edges, [1, 2, 3], min_weight=1.5) == [[1, 2], [3]]


def test_partition_negative_nodes_lead_their_group():
    assert greedy_partition(graph((-4, 10, 2.0), (10, 11, 2.0)), [11, 10, -4]) == [[-4, 10, 11]]


WEIGHTED = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(-4, 4)).filter(
        lambda e: e[0] != e[1]
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(edges=WEIGHTED, seed=st.integers(0, 1000))
def test_partition_order_of_nodes_and_edges_does_not_matter(edges, seed):
    unique = list({(min(a, b), max(a, b)): (a, b, float(w)) for a, b, w in edges}.values())
    rng = np.random.default_rng(seed)
    nodes = list(range(9))
    expected = greedy_partition(graph(*unique), nodes)
    shuffled = [unique[k] for k in rng.permutation(len(unique))]
    shuffled = [(b, a, w) if rng.random() < 0.5 else (a, b, w) for a, b, w in shuffled]
    assert greedy_partition(graph(*shuffled), rng.permutation(nodes).tolist()) == expected
    assert sorted(n for group in expected for n in group) == nodes


@settings(deadline=None, max_examples=60)
@given(edges=WEIGHTED)
def test_partition_no_two_groups_attract_each_other_any_more(edges):
    weights = graph(*{(min(a, b), max(a, b)): (a, b, float(w)) for a, b, w in edges}.values())
    before = {a: dict(row) for a, row in weights.items()}
    groups = greedy_partition(weights, range(9), min_weight=0.5)
    for i, first in enumerate(groups):
        for second in groups[:i]:
            assert sum(before.get(a, {}).get(b, 0.0) for a in first for b in second) <= 0.5
