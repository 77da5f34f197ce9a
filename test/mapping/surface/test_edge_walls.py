from dataclasses import replace

import numpy as np
import pytest
from test_facades import facing, surface, wall
from test_side_edges import CORNER, seen
from test_walls import NO_TRACKS

from seg2d3d_ros.mapping.surface.edge_walls import is_parallel, raise_on_edges
from seg2d3d_ros.mapping.surface.facades import CELL_M
from seg2d3d_ros.mapping.surface.side_edges import SideEdge, triangulate_edge
from seg2d3d_ros.mapping.surface.walls import find_all_facades

# A house to the left of the way, whose front goes back from its far corner.
NEAR_CORNER = CORNER - [9.0, 0.0]
EYE_M, EAVES_M = 1.6, 7.0


class KnownEdges:
    """Side edges of buildings as they are given."""

    def __init__(self, edges):
        self.edges = edges

    def beside(self, known):
        return {i: e for i, e in self.edges.items() if i not in known}


def edge(corner=CORNER, other=NEAR_CORNER, is_left=False, noise_px=0.2) -> SideEdge:
    """One side edge of masks that reach from the ground to the eaves and end elsewhere, too."""
    here, there = seen(corner, noise_px=noise_px), seen(other)
    distance = np.linalg.norm(corner - here.centers[:, :2], axis=1)
    slopes = np.stack([-EYE_M / distance, (EAVES_M - EYE_M) / distance], axis=1)
    return triangulate_edge(replace(here, others=there.rays, slopes=slopes), is_left)


def span(facade):
    """Where the cells of a wall begin and end along x and z."""
    at = facade.centers()[:, [0, 2]]
    return at.min(axis=0) - CELL_M / 2.0, at.max(axis=0) + CELL_M / 2.0


@pytest.mark.parametrize("heading_deg", [0.0, 90.0, 180.0, -90.0])
def test_raise_on_edges_wall_comes_nearer_from_its_far_edge(heading_deg):
    (found,) = raise_on_edges([edge()], np.deg2rad(heading_deg))
    assert facing(found, [0.0, -1.0, 0.0])
    assert -found.offset_m == pytest.approx(CORNER[1], abs=4.0 * found.sigma_m)
    low, high = span(found)
    # the far corner is known to a metre along the way, and masks end at the near one
    np.testing.assert_allclose(low, [NEAR_CORNER[0], 0.0], atol=1.0)
    np.testing.assert_allclose(high, [CORNER[0], EAVES_M], atol=1.0)
    assert not found.measured.any()
    assert not found.is_fine


def test_raise_on_edges_across_the_road_is_the_mirror_image():
    (found,) = raise_on_edges([edge(CORNER * [1, -1], NEAR_CORNER * [1, -1], True)], 0.0)
    assert facing(found, [0.0, 1.0, 0.0])
    assert found.offset_m == pytest.approx(-CORNER[1], abs=4.0 * found.sigma_m)
    np.testing.assert_allclose(span(found)[0][0], NEAR_CORNER[0], atol=1.0)


def test_raise_on_edges_near_edge_alone_tells_no_wall():
    # it may be the back of a gable, or what hides the wall
    assert raise_on_edges([edge(NEAR_CORNER, CORNER, is_left=True)], 0.0) == []


def test_raise_on_edges_ends_at_the_other_edge_where_that_lies_on_the_wall():
    behind = seen(NEAR_CORNER + [0.0, 3.0]).rays
    far = edge()
    far = replace(far, seen=replace(far.seen, others=behind[: len(far.seen.rays)]))
    (alone,) = raise_on_edges([far], 0.0)
    near = edge(NEAR_CORNER, CORNER, is_left=True)
    (both,) = raise_on_edges([far, near], 0.0)
    assert span(both)[0][0] == pytest.approx(NEAR_CORNER[0], abs=1.0)
    # without it the gable beside passes for wall, for twelve metres
    assert np.ptp(alone.centers()[:, 0]) == pytest.approx(12.0, abs=CELL_M)


def test_raise_on_edges_masks_that_go_on_much_farther_than_a_wall_show_something_else():
    # a house across the end of the road: its front goes on from the corner, not towards us
    across = edge(np.array([58.0, 2.0]), np.array([58.0, 12.0]))
    assert raise_on_edges([across], 0.0) == []


def test_raise_on_edges_uncertain_edge_is_none():
    vague = replace(edge(), covariance=np.diag([4.0, 0.16]))
    assert raise_on_edges([vague], 0.0) == []


def test_is_parallel_holds_for_walls_that_face_each_other_and_not_across():
    (found,) = raise_on_edges([edge()], 0.0)
    assert is_parallel(np.array([0.0, 1.0, 0.0]), [found])
    assert not is_parallel(np.array([1.0, 0.0]), [found])
    assert not is_parallel(np.array([0.0, 1.0]), [])


NEAR = surface(wall([10, 10], [30, 10], 6), camera=np.array([20.0, 0.0, 2.0]))


def test_find_all_facades_without_landmarks_stands_on_its_side_edges():
    found = find_all_facades({3: NEAR}, 1.0, NO_TRACKS, KnownEdges({3: [edge()], 5: [edge()]}))
    assert set(found) == {3, 5}
    assert -found[5][0].offset_m == pytest.approx(CORNER[1], abs=0.5)
    # what is known by itself is left as it is
    assert len(found[3]) == len(find_all_facades({3: NEAR}, 1.0, NO_TRACKS)[3])
    # nobody tells a direction, or from too far away
    assert find_all_facades({}, 1.0, NO_TRACKS, KnownEdges({5: [edge()]})) == {}
    apart = NEAR.take(np.flatnonzero(NEAR.points[:, 0] < 30.0))
    away = replace(apart, points=apart.points - [40.0, 0.0, 0.0])
    assert 5 not in find_all_facades({3: away}, 1.0, NO_TRACKS, KnownEdges({5: [edge()]}))


@pytest.mark.parametrize(("y", "is_kept"), [(10.3, True), (5.0, False)])
def test_find_all_facades_few_landmarks_keep_their_wall_where_side_edges_say_so(y, is_kept):
    few = np.array([[50.0, y, 1.0], [53.0, y, 2.0], [56.0, y, 3.0], [57.0, y, 4.0]])
    far = surface(few, 0.4, camera=np.array([18.0, 0.0, 2.0]))
    (alone,) = find_all_facades({3: NEAR, 5: far}, 3.0, NO_TRACKS)[5]
    assert -alone.offset_m == pytest.approx(y, abs=0.1)
    found = find_all_facades({3: NEAR, 5: far}, 3.0, NO_TRACKS, KnownEdges({5: [edge()]}))[5]
    assert len(found) == 1
    expected = y if is_kept else CORNER[1]
    assert -found[0].offset_m == pytest.approx(expected, abs=0.2)
