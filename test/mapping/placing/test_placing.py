from dataclasses import replace

import numpy as np
import pytest
from street_maker import DriveOptions, make_drive, make_street, moved, scaled

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.archive import Archive, MemoryStore
from seg2d3d_ros.mapping.placing.placing import Placing
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Origin

ORIGIN = Origin(48.0, 11.0, 500.0)
TURN = transforms.exp([0.0, 0.0, 0.7, 30.0, -20.0, 5.0])


class Fixes:
    """Tells where the map lies once it is asked with a known origin."""

    def __init__(self, S, scale=1.0):
        self.origin, self.found, self.asked = None, (S, scale), []

    def fit(self, state, with_scale):
        self.asked.append(with_scale)
        return self.found

    def factors(self, state):
        return ("factors",)


class Ground:
    """Says by how much the map is too small."""

    def __init__(self, scale):
        self.scale = scale

    def find_scale(self, state):
        return self.scale


@pytest.fixture
def clusters():
    return make_drive(make_street(2)).clusters


@pytest.fixture
def short():
    return make_drive(make_street(3), DriveOptions(size=16, overlap=6)).clusters[:4]


def placed(clusters, fixes, scale="metric"):
    state = MapState(Archive(MemoryStore()))
    placing = Placing(state, fixes)
    for cluster in clusters:
        placing.add(replace(cluster, scale=scale))
    return placing, state


def path(state):
    return np.stack([f.T_world_base[:3, 3] for f in state.frames])


def steps(path):
    return np.diff(path, axis=0)


def test_add_cluster_in_a_frame_of_its_own_is_laid_onto_what_it_shares(clusters):
    _, state = placed(clusters, Fixes(TURN))
    other, turned = placed([clusters[0], moved(clusters[1], TURN), *clusters[2:]], Fixes(TURN))
    num = len({f.stamp_ns for c in clusters[:2] for f in c.frames})
    np.testing.assert_allclose(path(turned)[:num], path(state)[:num], atol=1e-6)
    assert other.worst_residual_m < 1e-6
    # Too long by 2 %, it does not lie on what it shares; what comes later does not hide that.
    bent, _ = placed([clusters[0], scaled(clusters[1], 1.02), *clusters[1:]], Fixes(TURN))
    assert bent.worst_residual_m > 0.01
    assert placed(clusters[:1], Fixes(TURN))[0].worst_residual_m is None


def test_place_without_origin_leaves_the_map_and_says_nothing_of_gnss(clusters):
    placing, state = placed(clusters, Fixes(TURN))
    before = path(state)
    assert not placing.place()
    assert np.array_equal(path(state), before)
    assert placing.origin is None
    assert placing.positions() == ()


def test_place_carries_the_map_and_what_comes_next_once(clusters):
    fixes = Fixes(TURN)
    placing, state = placed(clusters, fixes)
    before, T = path(state), placing.T_world_local
    fixes.origin = ORIGIN
    assert placing.place()
    assert not placing.place()
    np.testing.assert_allclose(path(state), transforms.apply(TURN, before), atol=1e-9)
    np.testing.assert_allclose(placing.T_world_local, TURN @ T, atol=1e-12)
    assert (placing.origin, placing.positions()) == (ORIGIN, ("factors",))
    placing.place_again()
    np.testing.assert_allclose(path(state), transforms.apply(TURN @ TURN, before), atol=1e-9)
    assert fixes.asked == [False, False]


def test_place_of_unknown_scale_asks_for_it_and_makes_the_map_metric(clusters):
    fixes = Fixes(np.diag([2.0, 2.0, 2.0, 1.0]), 2.0)
    placing, state = placed(clusters, fixes, "unknown")
    before = path(state)
    assert placing.scale == "unknown"
    fixes.origin = ORIGIN
    assert placing.place()
    assert fixes.asked == [True]
    assert (placing.scale, state.unit) == ("metric", 1.0)
    # Cameras stay as far from base_link as they are: steps grow, not where it starts.
    np.testing.assert_allclose(steps(path(state)), 2.0 * steps(before), atol=1e-9)


def test_take_scale_of_ground_only_where_nothing_else_tells_metres(clusters):
    placing, state = placed(clusters, Fixes(TURN), "unknown")
    before = path(state)
    placing.take_scale_of_ground(Ground(None))
    assert placing.scale == "unknown"
    for _ in range(2):  # the second time it is metric already
        placing.take_scale_of_ground(Ground(3.0))
        np.testing.assert_allclose(steps(path(state)), 3.0 * steps(before), atol=1e-9)
        assert (placing.scale, state.unit) == ("metric", 1.0)


def test_add_metric_cluster_gives_all_that_came_in_other_units_its_metres(short):
    _, true = placed(short[:3], Fixes(TURN))
    placing, state = placed([scaled(c, 0.3) for c in short[:2]], Fixes(TURN), "unknown")
    assert placing.scale == "unknown" and state.unit != 1.0
    assert placing.add(short[2])[1]
    assert (placing.scale, state.unit) == ("metric", 1.0)
    ids = true.landmark_ids()
    np.testing.assert_allclose(state.points(ids), true.points(ids), atol=0.02)
    old = len(
        {f.stamp_ns for c in short[:2] for f in c.frames} - {f.stamp_ns for f in short[2].frames}
    )
    np.testing.assert_allclose(steps(path(state)[:old]), steps(path(true)[:old]), atol=1e-3)
    assert not placing.add(short[3])[1]


def test_add_metric_cluster_to_a_map_that_gnss_has_placed_leaves_what_was_there(short):
    fixes = Fixes(np.diag([2.0, 2.0, 2.0, 1.0]), 2.0)
    placing, state = placed([scaled(c, 0.5) for c in short[:2]], fixes, "unknown")
    fixes.origin = ORIGIN
    assert placing.place()
    before = path(state)
    shared = {f.stamp_ns for f in short[2].frames}
    apart = [f.stamp_ns not in shared for f in state.frames]
    assert not placing.add(short[2])[1]
    assert np.array_equal(path(state)[: len(before)][apart], before[apart])
    assert placing.scale == "metric"
    assert np.cbrt(np.linalg.det(placing.T_world_local[:3, :3])) == pytest.approx(1.0, rel=0.01)


def test_scale_is_that_of_the_first_session(clusters):
    state = MapState(Archive(MemoryStore()))
    placing = Placing(state, Fixes(TURN))
    placing.add(replace(clusters[0], scale="unknown"))
    placing.add(replace(clusters[1], session=1, scale="metric"))
    assert placing.scale == "unknown"
