import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg2d3d_ros.mapping.attraction import attracted
from seg2d3d_ros.mapping.packed_rows import PackedRows
from seg2d3d_ros.mapping.partition import greedy_partition
from seg2d3d_ros.mapping.votes import PictureVotes, VoteGraph


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), max_size=40),
    st.sets(st.integers(0, 6)),
)
def test_packed_rows_hold_what_a_dict_of_dicts_holds(steps, keep):
    rows, plain = PackedRows(), {}
    for a, b, pack in steps:
        for table in (rows, plain):
            row = table.setdefault(a, {})
            row[b] = row.get(b, 0.0) + 1.0
        if pack:
            rows.pack(keep)
            assert rows.num_open <= len(keep)
        assert rows.peek(a) == plain[a]
    assert rows == plain
    assert len(rows) == len(plain)


def test_packed_row_that_is_read_may_be_changed_in_place():
    rows = PackedRows()
    rows[3] = {4: 1.0}
    rows.pack(set())
    rows[3][4] = 7.0
    rows.pack(set())
    assert rows.peek(3) == {4: 7.0}


def test_packed_rows_unknown_are_empty_to_look_at_and_missing_otherwise():
    rows = PackedRows()
    assert rows.peek(5) == {}
    assert [len(a) for a in rows.arrays(5)] == [0, 0]
    assert len(rows) == 0
    with pytest.raises(KeyError):
        rows[5]
    with pytest.raises(KeyError):
        del rows[5]


def test_vote_graph_keeps_only_what_was_touched_last_open():
    graph = VoteGraph()
    for k in range(0, 100, 2):
        graph.add([PictureVotes(np.array([[k, k + 1]]), np.ones(1))])
    assert graph.edges.num_open == 2
    graph.add([PictureVotes(np.array([[0, 1]]), np.ones(1))])
    assert graph.edges.peek(0) == {1: 2.0}


def graph_of(edges):
    rows = PackedRows()
    for (a, b), w in edges.items():
        rows.setdefault(a, {})[b] = w
        rows.setdefault(b, {})[a] = w
    rows.pack(set())
    return rows


def test_attracted_places_stay_together_and_repelled_ones_part():
    rows = graph_of({(1, 2): 3.0, (2, 3): 1.0, (3, 4): -5.0, (4, 5): 1.0, (6, 1): 0.0})
    assert attracted({1, 2, 3, 4, 5, 6}, rows, {}) == [{1, 2, 3}, {4, 5}, {6}]


def test_attracted_by_the_same_instance_beyond_stays_together():
    rows = graph_of({(1, 10): 2.0, (2, 11): 2.0, (3, 12): 2.0, (4, 13): -2.0})
    owners = {10: 7, 11: 7, 12: 8, 13: 7}
    assert attracted({1, 2, 3, 4}, rows, owners) == [{1, 2}, {3}, {4}]


def test_attracted_nothing_gives_no_part():
    assert attracted(set(), PackedRows(), {}) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_attracted_parts_decided_one_by_one_give_the_partition_of_the_whole(seed):
    rng = np.random.default_rng(seed)
    pairs = {tuple(sorted(p)) for p in rng.integers(1, 30, (40, 2)).tolist() if p[0] != p[1]}
    # weights without ties: between equal ones the order of contraction is arbitrary
    edges = {p: float(w) for p, w in zip(sorted(pairs), rng.normal(size=len(pairs)), strict=True)}
    nodes = set(range(1, 30))

    def partition(part):
        inside = {n: {} for n in sorted(part)}
        for (a, b), w in edges.items():
            if a in part and b in part:
                inside[a][b] = inside[b][a] = w
        return greedy_partition(inside, sorted(part), 0.1)

    parts = attracted(nodes, graph_of(edges), {})
    assert sorted(g for p in parts for g in partition(p)) == sorted(partition(nodes))
