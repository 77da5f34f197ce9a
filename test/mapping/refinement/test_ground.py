import numpy as np
import pytest
from street_maker import SINGLE, TURNED, DriveOptions, make_cluster, make_street, observe

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.refinement.ground import measure_ground
from seg2d3d_ros.mapping.state import MapState

HEIGHT_M = 1.6


def state_of(num_road=150, clutter=60, road=(0.0, 0.0), scale=1.0, cameras=SINGLE, noise_px=0.2):
    """A map at a scale of its own, of a street with points on a road of some slope and camber."""
    street = make_street(3, cameras, num_points=30)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(2, 36, num_road), rng.uniform(-3, 3, num_road)
    on_road = np.c_[x, y, road[0] * x + road[1] * y]
    # wheels, kerbs and bumpers beside the track
    xyz = rng.uniform((2, -3.5, 0.1), (36, 3.5, 1.0), (clutter, 3))
    points = np.concatenate([street.points, on_road, xyz])
    object.__setattr__(street, "points", points)
    seen = observe(street, noise_px)
    cluster = make_cluster(street, seen, range(len(street.T_world_base)), DriveOptions())
    state = MapState()
    state.add(cluster, np.eye(4))
    state.transform(np.diag([scale, scale, scale, 1.0]), scale)
    return state


@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_measure_ground_height_has_the_scale_of_the_map(scale):
    found = measure_ground(state_of(scale=scale))
    assert found.height == pytest.approx(scale * HEIGHT_M, rel=0.01)
    assert found.num_points > 100
    assert found.scatter < 0.05


def test_measure_ground_camera_of_a_rig_has_its_own_height():
    state = state_of(cameras=TURNED)
    state.rig.cameras[1].T_base_cam[2, 3] += 0.5
    # the stated mounting says where the camera is, the road stays where it is
    assert measure_ground(state, 1).height == pytest.approx(HEIGHT_M + 0.5, rel=0.02)


@pytest.mark.parametrize("clutter", [0, 150])
def test_measure_ground_clutter_on_the_road_is_left_out(clutter):
    assert measure_ground(state_of(clutter=clutter)).height == pytest.approx(HEIGHT_M, rel=0.02)


def test_measure_ground_cambered_road_and_pitched_camera_are_no_height():
    state = state_of(road=(0.0, 0.03))
    assert measure_ground(state).height == pytest.approx(HEIGHT_M, rel=0.02)
    for f in state.frames:
        f.T_world_base = f.T_world_base @ transforms.exp([0, np.deg2rad(1.0), 0, 0, 0, 0])
    assert measure_ground(state).height == pytest.approx(HEIGHT_M, rel=0.02)


def test_measure_ground_without_a_road_in_sight_is_none():
    assert measure_ground(state_of(num_road=5, clutter=0)) is None
    assert measure_ground(MapState()) is None
