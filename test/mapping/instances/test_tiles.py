import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seg2d3d_ros.mapping.instances.tiles import TileIndex


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(1.0, 250.0))
def test_near_misses_nothing_within_range_and_tells_nothing_far_beyond(seed, range_m):
    rng = np.random.default_rng(seed)
    index, things = TileIndex(), {}
    for number in rng.integers(0, 12, 20).tolist():
        # things move; the last word counts
        things[number] = rng.uniform(-600, 600, 3) + rng.uniform(-30, 30, (rng.integers(0, 5), 3))
        index.put(number, things[number])
    centers = rng.uniform(-600, 600, (2, 3))
    found = index.near(centers, range_m)
    assert found == sorted(found)

    def distance(points):
        between = points[:, None, :2] - centers[None, :, :2]
        return np.linalg.norm(between, axis=2).min(initial=np.inf)

    within = {n for n, points in things.items() if distance(points) <= range_m}
    assert within <= set(found)
    # a square of 50 m beyond the range on each side, and its diagonal
    assert all(distance(things[n]) < np.sqrt(2) * (range_m + 150.0) for n in found)


def test_thing_without_points_is_nowhere():
    index = TileIndex()
    index.put(3, np.array([[1.0, 1.0, 0.0]]))
    assert index.near(np.zeros((1, 3)), 10.0) == [3]
    index.put(3, np.zeros((0, 3)))
    assert index.near(np.zeros((1, 3)), 10.0) == []
