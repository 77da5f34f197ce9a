import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seg2d3d_ros.mapping.visibility import LabelledPoints


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 300.0))
def test_near_finds_the_rows_that_asking_every_point_finds(seed, range_m):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-200, 200, (rng.integers(0, 300), 3))
    labelled = LabelledPoints.of(points, np.ones(len(points)), np.arange(len(points)))
    center = rng.uniform(-250, 250, 2)
    expected = np.flatnonzero(np.linalg.norm(points[:, :2] - center, axis=1) <= range_m)
    np.testing.assert_array_equal(labelled.near(center, range_m), expected)


def test_near_height_does_not_matter_and_the_border_counts():
    points = np.array([[30.0, 40.0, 900.0], [30.0, 40.001, 0.0]])
    labelled = LabelledPoints.of(points, np.ones(2), np.ones(2, dtype=np.int64))
    assert labelled.near(np.zeros(2), 50.0).tolist() == [0]
