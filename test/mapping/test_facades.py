import numpy as np
import pytest

from seg2d3d_ros.mapping.facades import find_facades, meet

EDGE_M = 0.2
NOISE_M = 0.05


def wall(start, end, height, noise=NOISE_M, seed=0):
    """Points of an upright wall between two places of the plan, one per voxel of 0.2 m."""
    rng = np.random.default_rng(seed)
    start, end = np.array(start, dtype=float), np.array(end, dtype=float)
    length = np.linalg.norm(end - start)
    along, up = np.meshgrid(np.arange(0.1, length, EDGE_M), np.arange(0.1, height, EDGE_M))
    xy = start + along.ravel()[:, None] * (end - start) / length
    normal = np.array([start[1] - end[1], end[0] - start[0]]) / length
    xy += normal * noise * rng.standard_normal((len(xy), 1))
    return np.c_[xy, up.ravel()]


def edges(points):
    return np.full(len(points), EDGE_M)


@pytest.fixture(scope="module")
def corner():
    """Two walls at a right angle, 10 and 6 m long, and leaves in front of them."""
    rng = np.random.default_rng(1)
    leaves = rng.uniform([0, -3, 1], [8, -0.5, 4], (150, 3))
    return np.concatenate([wall([0, 0], [10, 0], 6), wall([10, 0], [10, 6], 6, seed=1), leaves])


def test_find_facades_of_a_corner_are_its_two_walls_the_longer_first(corner):
    found = find_facades(corner, edges(corner), 1.0, seed=1)
    assert len(found) == 2
    # 1500 and 900 points with 5 cm of noise; leaves within 0.2 m are none
    for facade, normal, offset in zip(found, ([0, 1], [1, 0]), (0.0, 10.0), strict=True):
        assert abs(facade.normal_xy @ normal) > np.cos(np.deg2rad(0.3))
        assert abs(facade.offset_m) == pytest.approx(offset, abs=0.03)
        assert facade.sigma_m == pytest.approx(NOISE_M, rel=0.2)


def test_find_facades_same_seed_gives_the_same(corner):
    one, two = (find_facades(corner, edges(corner), 1.0, seed=4) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.normal_xy, b.normal_xy)
        np.testing.assert_array_equal(a.cells, b.cells)


def test_find_facades_leaves_alone_have_none():
    leaves = np.random.default_rng(0).uniform(0, 8, (400, 3))
    # a slab of 0.4 m through 8 m holds a twentieth of them: 0.8 of 16 m², 3 are needed
    assert find_facades(leaves, edges(leaves), 1.0, seed=0) == []


@pytest.mark.parametrize("num", [0, 1, 5])
def test_find_facades_too_few_points_have_none(num):
    points = wall([0, 0], [4, 0], 3)[:num]
    assert find_facades(points, edges(points), 1.0, seed=0) == []


def test_find_facades_coarse_voxels_may_lie_farther_off():
    far = wall([0, 0], [12, 0], 6, noise=0.25)[::16]
    coarse = find_facades(far, np.full(len(far), 0.8), 1.0, seed=0)
    assert len(coarse) == 1
    # 0.25 m / sqrt(60): 3 cm in the middle
    middle = np.array([6.0, 0.0]) @ coarse[0].normal_xy - coarse[0].offset_m
    assert abs(middle) < 0.15


def test_covers_ends_where_the_reach_ends():
    points = wall([0, 0], [10, 0], 6)
    (facade,) = find_facades(points, edges(points), 2.0, seed=0)
    asked = np.array([[5, 0, 3], [-1.4, 0, 3], [-3, 0, 3], [5, 0, 7.4], [5, 0, 9], [-1.9, 0, 7.9]])
    # the corner of the box is farther off than 2 m
    assert facade.covers(asked).tolist() == [True, True, False, True, False, False]


def test_covers_hole_wider_than_twice_the_reach_stays_open():
    points = wall([0, 0], [20, 0], 4)
    points = points[(points[:, 0] < 5) | (points[:, 0] > 15)]
    (facade,) = find_facades(points, edges(points), 2.0, seed=0)
    assert facade.covers(np.array([[6.0, 0, 2], [10.0, 0, 2], [14, 0, 2]])).tolist() == [
        True,
        False,
        True,
    ]


def test_meet_ray_takes_the_facade_it_meets_first(corner):
    facades = find_facades(corner, edges(corner), 1.0, seed=1)
    center = np.array([5.0, -8.0, 2.0])
    rays = np.array([[0.0, 1, 0], [1, 0.2, 0], [0, -1, 0], [1, 0, 0], [0.7, 1, 0]])
    depth, which = meet(facades, center, rays)
    assert depth[0] == pytest.approx(8.0, abs=0.05)  # the long wall, straight ahead
    assert np.isinf(depth[2:4]).all()  # away from both; along the long one and past the short one
    assert abs(facades[which[0]].normal_xy[1]) > 0.99
    assert np.isinf(depth[1])  # it meets the plane of the short wall 7 m before its corner
    # diagonally it meets the plane of the long wall at x = 10.6, still within reach
    assert depth[4] == pytest.approx(8.0, abs=0.05)
    assert which[4] == which[0]


def test_meet_grazing_ray_meets_nothing():
    points = wall([0, 0], [40, 0], 4)
    facades = find_facades(points, edges(points), 1.0, seed=0)
    center = np.array([0.0, -1.0, 2.0])
    depth, _ = meet(facades, center, np.array([[1.0, 0.05, 0.0], [1.0, 0.2, 0.0]]))
    assert np.isinf(depth[0])
    assert depth[1] == pytest.approx(5.0, abs=0.3)
