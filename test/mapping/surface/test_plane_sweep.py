import numpy as np
import pytest

from seg2d3d_ros.mapping.surface import plane_sweep
from seg2d3d_ros.mapping.surface.plane_sweep import find_heading, sweep_walls
from seg2d3d_ros.mapping.tracks import Tracks

FOCAL_PX = 400.0
WALL_X = 110.0
# On a way of 50 m along x that ends 60 m before the wall.
PATH = np.linspace([0.0, 0.0, 1.6], [50.0, 0.0, 1.6], 11)
# Sweeps step by 4 %, then by a sixteenth of twice that: 0.3 m in 60.
STEP_M = 0.3


def make_tracks(points, path, noise_px=0.0, seed=0):
    """Tracks of points (n, 3) that are seen from everywhere on a path (k, 3)."""
    rng = np.random.default_rng(seed)
    rays = (points[:, None] - path).reshape(-1, 3)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    rays += noise_px / FOCAL_PX * rng.standard_normal(rays.shape)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    first = np.arange(len(points)) * len(path)
    return Tracks(first, np.tile(path, (len(points), 1)), rays, np.full(len(rays), FOCAL_PX))


def across(x=WALL_X, num=60, seed=1):
    """Points of a wall across the road, 14 m wide and 8 m high."""
    rng = np.random.default_rng(seed)
    return np.c_[np.full(num, x), rng.uniform([-7, 1], [7, 9], (num, 2))]


def beside(y=9.0, num=60, seed=2):
    """Points of a wall along the road."""
    rng = np.random.default_rng(seed)
    x, z = rng.uniform([75, 1], [90, 6], (num, 2)).T
    return np.c_[x, np.full(num, y), z]


def test_sweep_walls_finds_a_wall_ahead_to_a_step():
    (found,) = sweep_walls(make_tracks(across(), PATH), 0.0)
    np.testing.assert_allclose(found.normal, [-1.0, 0.0, 0.0], atol=1e-9)
    assert -found.offset_m == pytest.approx(WALL_X, abs=STEP_M)
    np.testing.assert_allclose(found.points, across(), atol=STEP_M)
    assert (found.toward[:, 0] < -0.9).all()


@pytest.mark.parametrize("slope", [0.5, 1.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sweep_walls_below_a_roof_stand_at_the_eaves(slope, seed):
    # seen on the last 15 m alone, as far walls are
    wall = across(num=60, seed=seed)
    wall[:, 2] = np.random.default_rng(seed).uniform(1.0, 6.0, len(wall))
    behind = np.random.default_rng(seed + 9).uniform(0.3, 4.0, 40)
    roof = across(num=40, seed=seed + 5)
    roof[:, 0], roof[:, 2] = WALL_X + behind, 6.0 + slope * behind
    tracks = make_tracks(np.concatenate([wall, roof]), PATH[-4:], noise_px=0.03, seed=seed)
    (found,) = sweep_walls(tracks, 0.0)
    # 100 tracks would stand 0.7 m and more behind it, in the middle between wall and roof
    assert -found.offset_m == pytest.approx(WALL_X, abs=1.5 * STEP_M)
    assert found.points[:, 2].max() < 6.0 + 0.7
    assert len(found.points) > 0.8 * len(wall)


def test_sweep_walls_without_a_roof_keep_their_tops():
    (found,) = sweep_walls(make_tracks(across(), PATH[-4:], noise_px=0.03), 0.0)
    assert len(found.points) > 0.9 * len(across())
    assert found.points[:, 2].max() > across()[:, 2].max() - 0.5


def test_sweep_walls_under_noise_errs_as_it_says():
    # a point 7 m beside the way turns by 3 degrees between its ends, so that 0.3 px tell it to
    # 1.4 % or 0.9 m, and all of them to less
    (found,) = sweep_walls(make_tracks(across(), PATH, noise_px=0.3), 0.0)
    error = abs(-found.offset_m - WALL_X)
    assert error < 1.0
    assert error < 3.0 * found.sigma_m
    assert found.sigma_m < 4.0


@pytest.mark.parametrize("heading_deg", [0.0, 90.0, -180.0, 270.0])
def test_sweep_walls_direction_counts_up_to_right_angles(heading_deg):
    found = sweep_walls(make_tracks(beside(), PATH), np.deg2rad(heading_deg))
    np.testing.assert_allclose(found[0].normal, [0.0, -1.0, 0.0], atol=1e-9)
    # its distance is that from the way
    assert -found[0].offset_m == pytest.approx(9.0, abs=0.05)


def test_sweep_walls_of_a_corner_are_both():
    corner = np.concatenate([across(90.0), beside()])
    found = sweep_walls(make_tracks(corner, PATH), 0.0)
    assert sorted(tuple(np.round(w.normal[:2]).tolist()) for w in found) == [(-1, 0), (0, -1)]
    for wall in found:
        distance = np.abs(corner @ wall.normal - wall.offset_m)
        assert (distance < STEP_M).sum() >= 60


def test_sweep_walls_leaves_before_the_wall_do_not_pull_it():
    leaves = np.random.default_rng(3).uniform([60, -7, 2], [95, 7, 6], (40, 3))
    tracks = make_tracks(np.concatenate([across(), leaves]), PATH, noise_px=0.1)
    (found,) = sweep_walls(tracks, 0.0)
    assert -found.offset_m == pytest.approx(WALL_X, abs=2 * STEP_M)
    assert len(found.points) == pytest.approx(60, abs=12)


def test_sweep_walls_silhouette_is_no_wall():
    edge = np.c_[np.full(20, WALL_X), np.full(20, 6.0), np.linspace(1, 9, 20)]
    assert sweep_walls(make_tracks(edge, PATH), 0.0) == []


def test_sweep_walls_without_parallax_knows_none():
    assert sweep_walls(make_tracks(across(), PATH[0] + PATH * [0.02, 0, 0], 0.1), 0.0) == []


def test_sweep_walls_three_tracks_are_too_few():
    tracks = make_tracks(across(), PATH)
    assert sweep_walls(tracks.take(np.arange(3), 10), 0.0) == []
    assert len(sweep_walls(tracks.take(np.arange(4), 10), 0.0)) == 1


def test_sweep_walls_far_parts_of_a_wall_along_the_way_are_not_told_from_their_rays():
    # seen at less than 6 degrees
    grazing = beside(1.0) + [60.0, 0.0, 0.0]
    assert all(abs(w.normal[1]) < 0.5 for w in sweep_walls(make_tracks(grazing, PATH), 0.0))


@pytest.mark.parametrize("angle_deg", [0.0, 17.0, 40.0, 88.0])
def test_find_heading_of_two_buildings_is_that_of_their_walls(angle_deg):
    a = np.deg2rad(angle_deg)
    R = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1.0]])
    both = [beside(y) - [15.0, 0.0, 0.0] for y in (12.0, -10.0)]
    tracks = [make_tracks(points @ R.T, PATH @ R.T, 0.1) for points in both]
    common = find_heading(tracks)
    # directions are tried 6 degrees apart
    assert abs((np.rad2deg(common) - angle_deg + 45) % 90 - 45) <= 3.01
    fine = find_heading(tracks, common)
    assert abs((np.rad2deg(fine) - angle_deg + 45) % 90 - 45) < 1.0


def test_find_heading_of_few_tracks_is_unknown():
    assert find_heading([]) is None
    assert find_heading([make_tracks(beside(num=19), PATH)]) is None
    assert find_heading([make_tracks(beside(num=20), PATH)]) is not None


def test_find_heading_costs_no_more_for_many_buildings(monkeypatch):
    asked = []

    def least_lost(tracks, heading_rad):
        asked.append(tracks.centers[0, 0])
        return abs(heading_rad - 0.5)

    monkeypatch.setattr(plane_sweep, "_least_lost", least_lost)
    street = [make_tracks(beside(), PATH + [10.0 * k, 0.0, 0.0]) for k in range(100)]
    heading = find_heading(street[:30])
    num_of_30, num_different = len(asked), len(set(asked))
    assert num_different == 30
    asked.clear()
    assert find_heading(street) == heading
    assert len(asked) == num_of_30
    # from one end of the street to the other
    assert max(asked) - min(asked) == 990.0
