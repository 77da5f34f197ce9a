import dataclasses

import numpy as np
import pytest

from seg2d3d_ros.mapping.surface.facades import (
    CELL_M,
    Facade,
    Hints,
    MeasuredSurface,
    among_like,
    find_facades,
)

EDGE_M = 0.2
NOISE_M = 0.05
CAMERA = np.array([5.0, -8.0, 2.0])


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


def roof(length, eaves, depth, slope, seed=3):
    """Points of a roof that rises behind a wall along the first axis, one per 0.2 m."""
    rng = np.random.default_rng(seed)
    along, back = np.meshgrid(np.arange(0.1, length, EDGE_M), np.arange(0.1, depth, EDGE_M))
    z = eaves + slope * back.ravel() + NOISE_M * rng.standard_normal(back.size)
    return np.c_[along.ravel(), back.ravel(), z]


def surface(points, edge_m=EDGE_M, camera=CAMERA):
    toward = camera - points
    n = len(points)
    return MeasuredSurface(
        points=points,
        edge_m=np.full(n, edge_m),
        area_m2=np.full(n, edge_m**2),
        toward=toward / np.linalg.norm(toward, axis=1, keepdims=True),
    )


def facing(facade, normal):
    return facade.normal @ normal > np.cos(np.deg2rad(0.5))


@pytest.fixture(scope="module")
def corner():
    """Two walls at a right angle, 10 and 6 m long, and leaves in front of them."""
    rng = np.random.default_rng(1)
    leaves = rng.uniform([0, -3, 1], [8, -0.5, 4], (150, 3))
    return np.concatenate([wall([0, 0], [10, 0], 6), wall([0, 0], [0, 6], 6, seed=1), leaves])


def test_find_facades_of_a_corner_are_its_two_walls_the_longer_first(corner):
    found = find_facades(surface(corner, camera=[-5.0, -8.0, 2.0]), 1.0, seed=1)
    assert len(found) == 2
    # 1500 and 900 points with 5 cm of noise; leaves within 0.2 m are none
    for facade, normal in zip(found, ([0, -1, 0], [-1, 0, 0]), strict=True):
        assert facing(facade, normal)
        assert facade.is_wall
        assert facade.is_fine
        assert facade.offset_m == pytest.approx(0.0, abs=0.03)
        assert facade.sigma_m == pytest.approx(NOISE_M, rel=0.2)


def test_find_facades_same_seed_gives_the_same(corner):
    one, two = (find_facades(surface(corner), 1.0, seed=4) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.normal, b.normal)
        np.testing.assert_array_equal(a.cells, b.cells)


def test_find_facades_leaves_alone_have_none():
    leaves = np.random.default_rng(0).uniform(0, 8, (400, 3))
    # a slab of 0.4 m through 8 m holds a twentieth of them: 0.8 of 16 m², 3 are needed
    assert find_facades(surface(leaves), 1.0, seed=0) == []


@pytest.mark.parametrize("num", [0, 1, 5])
def test_find_facades_too_few_points_have_none(num):
    points = wall([0, 0], [4, 0], 3)[:num]
    assert find_facades(surface(points), 1.0, seed=0) == []


def test_find_facades_coarse_voxels_may_lie_farther_off():
    far = wall([0, 0], [12, 0], 6, noise=0.25)[::16]
    (coarse,) = find_facades(surface(far, 0.8), 1.0, seed=0)
    # 0.25 m / sqrt(60): 3 cm in the middle
    assert abs(np.array([6.0, 0.0, 3.0]) @ coarse.normal - coarse.offset_m) < 0.15
    assert not coarse.is_fine


def test_find_facades_with_a_roof_find_it_behind_the_wall():
    points = np.concatenate([wall([0, 0], [10, 0], 6), roof(10, 6, 4, 0.7)])
    front, top = find_facades(surface(points), 1.0, seed=0)
    assert facing(front, [0, -1, 0])
    assert not top.is_wall
    assert facing(top, np.array([0, -0.7, 1]) / np.hypot(0.7, 1))
    np.testing.assert_allclose(
        np.array([[3.0, 0, 6], [3, 2, 7.4]]) @ top.normal, top.offset_m, atol=0.05
    )


@pytest.mark.parametrize("eaves", [1.0, 3.0])
def test_find_facades_a_slope_that_begins_below_the_top_is_no_roof(eaves):
    points = np.concatenate([wall([0, 0], [10, 0], 6), roof(10, eaves, 3, 0.7)])
    assert all(f.is_wall for f in find_facades(surface(points), 1.0, seed=0))


def test_find_facades_small_wall_askew_is_left_out_a_large_one_is_not():
    front = wall([0, 0], [12, 0], 5)
    small = np.concatenate([front, wall([12, -1], [14.5, -3.5], 4)])
    large = np.concatenate([front, wall([12, -1], [16, -5], 5)])
    assert len(find_facades(surface(small), 1.0, seed=0)) == 1
    assert len(find_facades(surface(large), 1.0, seed=0)) == 2


def test_centers_end_where_the_reach_ends():
    (facade,) = find_facades(surface(wall([0, 0], [10, 0], 6, noise=0.0)), 2.0, seed=0)
    centers = facade.centers()
    np.testing.assert_allclose(centers[:, 1], 0.0, atol=1e-9)
    assert centers[:, 0].min() == pytest.approx(-2.0, abs=CELL_M)
    assert centers[:, 2].max() == pytest.approx(8.0, abs=CELL_M)
    # the corner of the box is farther off than 2 m
    assert not ((centers[:, 0] < -1.7) & (centers[:, 2] > 7.7)).any()
    known = facade.centers()[facade.measured[facade.cells]]
    assert known[:, 0].min() == pytest.approx(0.0, abs=CELL_M)
    assert len(known) == pytest.approx(60 / CELL_M**2, rel=0.15)


def test_find_facades_few_leaves_draw_no_second_wall():
    rng = np.random.default_rng(4)
    leaves = rng.uniform([2, -2.05, 1], [8, -1.95, 4], (7, 3))
    (known,) = find_facades(surface(wall([0, 0], [10, 0], 6)), 1.0, seed=0)
    points = np.concatenate([wall([0, 0], [10, 0], 6), leaves])
    seen = surface(points)
    # so large that their area is that of a wall
    seen = dataclasses.replace(
        seen, area_m2=np.r_[seen.area_m2[: -len(leaves)], np.full(len(leaves), 1.0)]
    )
    found = find_facades(seen, 1.0, seed=0, hints=Hints(known.heading_rad))
    assert [facing(f, known.normal) for f in found] == [True]


def test_among_like_drops_strays_and_keeps_corners():
    cells = np.zeros((8, 8), bool)
    cells[1:4, 1:4] = True
    cells[6, 2:7] = True
    kept = among_like(cells)
    assert kept[1:4, 1:4].all()
    assert kept.sum() == 9


def test_find_facades_plane_that_nobody_looked_at_is_none():
    """Far points scatter along the rays: they lie on a plane, and it is none of the house's."""
    camera = np.array([2.0, -60.0, 2.0])
    points = wall([2, -6], [2, 6], 5, noise=0.1)
    assert find_facades(surface(points, camera=camera), 1.0, seed=0) == []
    assert len(find_facades(surface(points, camera=[-30.0, -60.0, 2.0]), 1.0, seed=0)) == 1


def test_find_facades_end_at_a_corner_that_stands_out():
    points = np.r_[wall([0, 0], [10, 0], 6), wall([0, 0], [0, 6], 6, seed=1)]
    front, side = find_facades(surface(points, camera=[-5.0, -8.0, 2.0]), 3.0, seed=1)
    assert facing(side, [-1, 0, 0])
    # neither goes on in front of the other, but both do behind and above
    assert front.centers()[:, 0].min() > -2 * CELL_M
    assert front.centers()[:, 0].max() > 12.5
    assert side.centers()[:, 1].min() > -2 * CELL_M
    assert side.centers()[:, 2].max() > 8.5


def test_find_facades_wall_on_an_edge_ends_at_the_front_that_was_measured():
    """Masks may go on beyond a corner; the wall on their edge stands behind the front alone."""
    points = wall([0, 0], [10, 0], 6)
    seen = surface(points, camera=[-5.0, -8.0, 2.0])
    size = (30, 10)
    none = np.zeros(size, dtype=bool)
    standing = Facade(
        normal=np.array([-1.0, 0.0, 0.0]),
        offset_m=0.0,
        sigma_m=0.2,
        axes=np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        start_m=np.array([-6.0, 0.0]),
        measured=none,
        dense=none,
        cells=~none,
        is_fine=False,
    )
    found = find_facades(seen, 2.0, 1, Hints(0.0, (), [standing]))
    (side,) = (f for f in found if facing(f, [-1, 0, 0]))
    assert -2 * CELL_M < side.centers()[:, 1].min() < CELL_M
    assert side.centers()[:, 1].max() > 5.0
    # the front goes on: masks are not sure to be right about its corner
    (front,) = (f for f in found if facing(f, [0, -1, 0]))
    assert front.centers()[:, 0].min() < -2 * CELL_M
    # where the front goes on beyond the wall, it tells nothing
    standing = dataclasses.replace(standing, offset_m=-5.0)
    found = find_facades(seen, 2.0, 1, Hints(0.0, (), [standing]))
    (side,) = (f for f in found if facing(f, [-1, 0, 0]))
    assert side.centers()[:, 1].min() < -5.0


def test_find_facades_where_a_house_steps_back_both_go_on():
    """The side of the wing in front faces what stands farther back."""
    points = np.r_[wall([0, 4], [10, 4], 6), wall([10, 0], [10, 4], 6, seed=1)]
    back, side = find_facades(surface(points, camera=[3.0, -8.0, 2.0]), 3.0, seed=1)
    assert facing(side, [-1, 0, 0])
    assert back.centers()[:, 0].min() < -2.0
    assert side.centers()[:, 1].min() < -2.0
