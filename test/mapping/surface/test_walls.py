import numpy as np
import pytest
from test_facades import facing, surface, wall
from test_filling import fused, landmarks, street
from test_plane_sweep import PATH, beside, make_tracks

from seg2d3d_ros.mapping.surface.facades import CELL_M
from seg2d3d_ros.mapping.surface.walls import find_all_facades, raise_walls, surfaces_of


class KnownTracks:
    """Tracks of buildings as they are given, those of landmarks and those in masks."""

    def __init__(self, by_landmark=None, by_mask=None):
        self.landmarks, self.masks = by_landmark or {}, by_mask or {}

    def by_landmark(self, wanted):
        return {i: t for i, t in self.landmarks.items() if i in wanted}

    def by_mask(self, wanted):
        return {i: t for i, t in self.masks.items() if i in wanted}


NO_TRACKS = KnownTracks()


def test_find_all_facades_far_wall_takes_its_direction_from_the_neighbour():
    near = surface(wall([0, 0], [10, 0], 6))
    # what is farther away seems to lie nearer to the road, as errors along the rays make it
    far = surface(wall([14, 0.9], [20, -0.3], 4, noise=0.1)[::19], 1.2)
    alone = find_all_facades({5: far}, 1.0, NO_TRACKS)[5][0]
    both = find_all_facades({3: near, 5: far}, 1.0, NO_TRACKS)
    assert not alone.is_fine
    assert abs(alone.normal[1]) < np.cos(np.deg2rad(8.0))
    np.testing.assert_allclose(np.abs(both[5][0].normal), np.abs(both[3][0].normal), atol=1e-9)
    assert both[5][0].offset_m * both[5][0].normal[1] == pytest.approx(0.3, abs=0.3)


def test_find_all_facades_beyond_forty_metres_there_is_no_neighbour():
    near, far = surface(wall([0, 0], [10, 0], 6)), surface(wall([60, 0], [66, 2], 4)[::19], 1.2)
    apart = find_all_facades({3: near, 5: far}, 1.0, NO_TRACKS)[5]
    assert abs(apart[0].normal[1]) < np.cos(np.deg2rad(10.0))


def test_find_all_facades_four_points_are_a_wall_where_a_neighbour_tells_its_direction():
    near = surface(wall([0, 0], [10, 0], 6))
    some = np.array([[14.0, 0.5, 1.0], [20.0, 0.6, 1.5], [16.0, 0.4, 3.0], [19.0, 0.5, 4.0]])
    far = surface(some, 0.4)
    assert find_all_facades({5: far}, 3.0, NO_TRACKS)[5] == []
    (found,) = find_all_facades({3: near, 5: far}, 3.0, NO_TRACKS)[5]
    assert found.offset_m * found.normal[1] == pytest.approx(0.5, abs=0.1)
    assert find_all_facades({3: near, 5: far.take(np.arange(3))}, 3.0, NO_TRACKS)[5] == []
    # more is left to the masks than beyond a wall that is known well
    assert np.ptp(found.centers()[:, 0]) > 6.0 + 2 * 4.0


@pytest.mark.parametrize("by_mask", [False, True])
def test_find_all_facades_tracks_show_a_wall_where_landmarks_scatter(by_mask):
    # far ahead and across the road, 70 m from any building that is known well
    near = surface(wall([0, 4], [10, 4], 6))
    at = np.array([[80.0, y, z] for y in np.arange(-6.0, 6.1, 1.5) for z in (1.0, 3.0, 5.0, 7.0)])
    tracks = make_tracks(np.repeat(at, 2, axis=0), np.linspace([0, 0, 2], [30, 0, 2], 9))
    scattered = at + np.arange(-8.0, 9.0)[np.arange(len(at)) % 17, None] * [1.0, 0.05, 0.05]
    far = surface(scattered, 1.6, camera=np.array([30.0, 0.0, 2.0]))
    given = KnownTracks(None, {5: tracks}) if by_mask else KnownTracks({5: tracks})
    (found,) = find_all_facades({3: near, 5: far}, 1.0, given)[5]
    assert facing(found, [-1.0, 0.0, 0.0])
    # the steps of the finest sweep are 0.25 m there
    assert -found.offset_m == pytest.approx(80.0, abs=0.3)
    assert np.ptp(found.centers(found.measured)[:, 1]) == pytest.approx(12.0, abs=CELL_M)
    # without them there is none: what scatters so much draws no wall by itself
    assert find_all_facades({3: near, 5: far}, 1.0, NO_TRACKS)[5] == []


def test_find_all_facades_together_tracks_tell_a_direction_that_no_building_knows():
    # 20 degrees off the axes, and of the leaves before them nobody tells
    turn = np.deg2rad(20.0)
    R = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1.0]])
    sides = {5: beside(12.0) - [15.0, 0.0, 0.0], 6: beside(-10.0) - [15.0, 0.0, 0.0]}
    path, facades = PATH @ R.T, {i: points @ R.T for i, points in sides.items()}
    tracks = {i: make_tracks(points, path, noise_px=0.1) for i, points in facades.items()}
    rng = np.random.default_rng(6)
    leaves = rng.uniform([60, -6, 2], [75, 6, 6], (40, 3)) @ R.T
    blurred = {i: surface(leaves, 1.6, camera=path[-1]) for i in facades}
    found = find_all_facades(blurred, 1.0, KnownTracks(tracks))
    for i, side in ((5, -1.0), (6, 1.0)):
        assert facing(found[i][0], R @ [0.0, side, 0.0])
    assert abs(found[5][0].offset_m) == pytest.approx(12.0, abs=0.5)
    assert find_all_facades(blurred, 1.0, NO_TRACKS) == {5: [], 6: []}


def test_find_all_facades_together_leaves_are_no_walls():
    leaves = np.random.default_rng(7).uniform([60, -6, 2], [90, 6, 6], (60, 3))
    # their own lines are good enough to be walls, were it not for the tracks
    own = surface(wall([60, -6], [90, -4], 4)[::5], 0.8, camera=PATH[-1])
    assert find_all_facades({5: own}, 1.0, NO_TRACKS)[5] != []
    assert find_all_facades({5: own}, 1.0, KnownTracks({5: make_tracks(leaves, PATH)}))[5] == []


def test_surfaces_of_landmarks_count_as_uncertain_as_they_are():
    state = street((), ())
    points = np.array([[1.0, 0.0, 2.0], [3.5, 0.0, 2.0], [9.0, 0.0, 2.0]])
    known = landmarks(points, 7)
    known.sigma_m[:] = [0.5, 5.0, 13.0]
    found = surfaces_of(state, fused(points[:1] + [0, 0.1, 0], 7), known)[7]
    # 0.8 times their sigma, at most 1.6; beyond 12 m they tell nothing
    assert np.sort(found.edge_m).tolist() == pytest.approx([0.2, 0.4, 1.6])
    # each faces the keyframe nearest to it, at x = 0 and 4
    nearest = found.points + 10.0 * found.toward / np.abs(found.toward[:, 1:2])
    rows = np.flatnonzero(found.edge_m > 0.3)
    assert np.sort(nearest[rows, 0]).tolist() == pytest.approx([0.0, 4.0], abs=1e-6)


def test_raise_walls_of_nothing_are_none():
    nothing = np.zeros((0, 3))
    filled, cells = raise_walls(street(()), fused(nothing, 7), landmarks(), {}, 3.0)
    assert len(filled.ids) == len(cells.centers) == 0
