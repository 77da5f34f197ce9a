import numpy as np

from seg2d3d_ros.mapping.reserve import enlarged


def test_enlarged_keeps_rows_and_fills_new_ones():
    a = enlarged(np.array([[1.0, 2.0], [3.0, 4.0]]), 5, np.nan)
    assert a[:2].tolist() == [[1, 2], [3, 4]]
    assert a.shape == (5, 2) and np.isnan(a[2:]).all()
    b = enlarged(np.array([7, 8], dtype=np.uint32), 3)
    assert b.tolist() == [7, 8, 0] and b.dtype == np.uint32


def test_enlarged_that_is_large_enough_stays_the_same_array():
    a = np.zeros(8)
    assert enlarged(a, 8) is a


def test_enlarged_one_by_one_is_copied_seldom_and_takes_an_eighth_too_much_at_most():
    a, num_copies = np.zeros(4096, dtype=np.int32), 0
    for size in range(1, 200_000, 50):
        grown = enlarged(a, size)
        num_copies += grown is not a
        a = grown
        assert size <= len(a) <= max(4096, 1.125 * size)
    assert num_copies < 40
