import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seg2d3d_ros.clusters.landmarks import LandmarkTable


def filled(ids):
    """Positions that tell which id they belong to."""
    return np.stack([ids, -ids, 2 * ids], axis=1).astype(float)


def test_create_new_landmarks_have_no_position_yet():
    table = LandmarkTable()
    ids = table.create(5)
    np.testing.assert_array_equal(ids, [1, 2, 3, 4, 5])
    assert np.isnan(table.points(ids)).all()
    assert np.isinf(table.sigma(ids)).all()
    assert table.next_id == 6


def test_create_beyond_the_first_block_keeps_what_was_stored():
    table = LandmarkTable()
    first = table.create(1000)
    table.set_points(first, filled(first), np.full(1000, 0.25))
    table.set_colors(first, np.tile([1, 2, 3], (1000, 1)))
    more = table.create(9000)
    np.testing.assert_array_equal(table.points(first), filled(first))
    np.testing.assert_array_equal(table.sigma(first), np.float32(0.25))
    np.testing.assert_array_equal(table.colors(first)[-1], [1, 2, 3])
    assert np.isnan(table.points(more)).all()


def test_forget_takes_the_position_but_not_the_id():
    table = LandmarkTable()
    ids = table.create(3)
    table.set_points(ids, filled(ids))
    table.forget(ids[1:2])
    np.testing.assert_array_equal(np.isnan(table.points(ids)[:, 0]), [False, True, False])
    assert table.create(1)[0] == 4


def test_set_points_without_sigma_leaves_it():
    table = LandmarkTable()
    ids = table.create(2)
    table.set_points(ids, filled(ids), np.array([0.1, 0.2]))
    table.set_points(ids, filled(ids) + 1)
    np.testing.assert_allclose(table.sigma(ids), [0.1, 0.2])


def test_drop_before_few_rows_changes_nothing():
    table = LandmarkTable()
    ids = table.create(100)
    table.set_points(ids, filled(ids))
    table.drop_before(90)
    np.testing.assert_array_equal(table.points(ids), filled(ids))


def test_drop_before_the_future_empties_the_table():
    table = LandmarkTable()
    table.create(5000)
    table.drop_before(10**9)
    np.testing.assert_array_equal(table.create(2), [5001, 5002])


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 4000)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_table_any_use_never_reuses_an_id_nor_mixes_rows(steps):
    table, alive, made = LandmarkTable(), np.zeros(0, dtype=np.int64), 0
    for num, back in steps:
        ids = table.create(num)
        assert (ids == np.arange(made + 1, made + 1 + num)).all()
        made += num
        table.set_points(ids, filled(ids))
        alive = np.concatenate([alive, ids])
        first = max(1, made - back)
        table.drop_before(first)
        alive = alive[alive >= first]
        np.testing.assert_array_equal(table.points(alive), filled(alive))
    assert table.next_id == made + 1


def test_table_long_drive_does_not_grow():
    table = LandmarkTable()
    for _ in range(300):
        table.create(200)
        table.drop_before(table.next_id - 2000)
    assert len(table._points) < 10_000
