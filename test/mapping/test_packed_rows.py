import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from seg2d3d_ros.mapping import packed_rows
from seg2d3d_ros.mapping.packed_rows import PackedRows

STEPS = st.lists(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12),
    max_size=12,
)


def put(rows, plain):
    """Write rows given as {row: {column: value}}."""
    numbers = np.array(sorted(plain))
    entries = [(k, c, v) for k, n in enumerate(numbers.tolist()) for c, v in plain[n].items()]
    k, c, v = np.array(entries, dtype=np.int64).reshape(-1, 3).T
    matrix = sparse.coo_array((v.astype(np.float32), (k, c)), shape=(len(numbers), len(rows)))
    rows.put(numbers, matrix.tocsr())


def dense(rows):
    return rows.take(np.arange(len(rows))).toarray()


@pytest.mark.parametrize("min_gaps", [0, 1 << 16])
@settings(max_examples=50, deadline=None)
@given(steps=STEPS)
def test_packed_rows_written_again_and_again_hold_what_a_matrix_holds(min_gaps, steps):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_rows, "_MIN_GAPS", min_gaps)
        rows, plain = PackedRows(), np.zeros((7, 7))
        rows.grow(7)
        for k, step in enumerate(steps):
            changed = {}
            for a, b in step:
                changed.setdefault(a, {})[b] = k + 1
            for a, row in changed.items():
                plain[a] = 0
                plain[a, list(row)] = list(row.values())
            put(rows, changed)
            np.testing.assert_array_equal(dense(rows), plain)
        assert rows.num_entries == np.count_nonzero(plain)


def test_packed_rows_that_grow_keep_what_they_hold():
    rows = PackedRows()
    rows.grow(2)
    put(rows, {1: {0: 3}})
    rows.grow(5)
    assert len(rows) == 5
    assert rows.take(np.array([4, 1])).toarray().tolist() == [[0] * 5, [3, 0, 0, 0, 0]]


def test_packed_rows_of_negative_number_are_empty():
    assert PackedRows().take(np.array([-1, -1])).shape == (2, 0)
    rows = PackedRows()
    rows.grow(2)
    put(rows, {0: {1: 2}, 1: {0: 2}})
    assert rows.take(np.array([1, -1])).toarray().tolist() == [[2, 0], [0, 0]]


def test_packed_rows_take_memory_for_what_they_hold_however_often_they_are_written():
    rows = PackedRows()
    rows.grow(1000)
    for k in range(400):
        put(rows, {n: dict.fromkeys(range(10), k + 1) for n in range(100 * (k % 10), 1000, 20)})
    assert rows.num_entries <= 10_000
    # gaps: at most 2^16 or half as much again; reserve: half as much again
    assert rows.num_held <= 1.5 * (rows.num_entries + (1 << 16)) + 1000
