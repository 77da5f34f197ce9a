import numpy as np
import pytest
from shapely import LineString, Point

from seg2d3d_ros.errors import ConfigError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.simulation import SimulationOptions
from seg2d3d_ros.simulation.route import LANE_M, Drive, plan

ROUTES = [
    ("straight", 80.0),
    ("corner", 90.0),
    ("loop", 300.0),
    ("out_and_back", 120.0),
    ("both_ways", 400.0),
]


def make_drive(**options):
    options = SimulationOptions(**options)
    _, path = plan(options)
    return Drive(path, options)


def track(drive):
    times = np.arange(0.0, drive.duration_s, 0.1)
    return np.array([drive.pose(t) for t in times])


@pytest.mark.parametrize(("route", "length_m"), ROUTES)
def test_drive_length_is_the_one_asked_for(route, length_m):
    drive = make_drive(route=route, length_m=length_m)
    # rounded corners and wobble change the length a little
    assert drive.length_m == pytest.approx(length_m, rel=0.02)


@pytest.mark.parametrize(("route", "length_m"), ROUTES)
def test_drive_moves_as_a_vehicle_does(route, length_m):
    poses = track(make_drive(route=route, length_m=length_m))
    steps = transforms.invert(poses[:-1]) @ poses[1:]
    speed = np.linalg.norm(steps[:, :3, 3], axis=1) / 0.1
    turn_rate = np.array([transforms.yaw_rad(s) for s in steps]) / 0.1
    assert np.all(steps[:, 0, 3] > 0)
    assert np.all(np.abs(steps[:, 1, 3]) < 0.12 * steps[:, 0, 3])  # rolls, never slides
    assert np.abs(np.diff(speed)).max() / 0.1 < 2.5  # comfortable braking
    assert np.abs(speed[:-1] * turn_rate[:-1]).max() < 3.0  # lateral acceleration


@pytest.mark.parametrize(("route", "turns"), [("straight", 0.0), ("corner", 0.25)])
def test_drive_open_routes_turn_by_their_shape(route, turns):
    drive = make_drive(route=route, length_m=90.0, wobble=0.0)
    yaw = np.unwrap([transforms.yaw_rad(T) for T in track(drive)])
    assert abs(yaw[-1] - yaw[0]) / (2 * np.pi) == pytest.approx(turns, abs=0.003)


def test_drive_loop_comes_back_to_where_it_was():
    drive = make_drive(route="loop", length_m=330.0, laps=1.1, wobble=0.0)
    xy = track(drive)[:, :2, 3]
    late = xy[int(0.95 * len(xy)) :]
    distance = np.linalg.norm(late[:, None] - xy[None, : len(xy) // 6], axis=2).min(axis=1)
    assert distance.max() < 0.6  # half the way between two poses
    middle = xy[len(xy) // 2]
    assert np.linalg.norm(middle - xy[0]) > 40


def test_drive_out_and_back_returns_on_the_other_lane():
    drive = make_drive(route="out_and_back", length_m=160.0, wobble=0.0)
    first, last = drive.pose(0.0), drive.pose(drive.duration_s)
    assert last[0, 3] == pytest.approx(first[0, 3], abs=4)
    assert (first[1, 3], last[1, 3]) == (
        pytest.approx(-LANE_M, abs=0.05),
        pytest.approx(LANE_M, abs=0.05),
    )
    assert transforms.yaw_rad(last) == pytest.approx(np.pi, abs=0.02) or transforms.yaw_rad(
        last
    ) == pytest.approx(-np.pi, abs=0.02)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_drive_both_ways_goes_round_a_block_and_back_on_the_other_lane(seed):
    drive = make_drive(route="both_ways", length_m=360.0, wobble=0.0, seed=seed)
    poses = track(drive)
    yaw = np.unwrap([transforms.yaw_rad(T) for T in poses])
    # a round, half a turn to the left, the round undone
    assert np.abs(yaw - yaw[0]).max() > 2 * np.pi - 0.1
    assert yaw[-1] - yaw[0] == pytest.approx(np.pi, abs=0.1)
    # a half circle of 12.6 m, and 8 m on which it swings back
    places = np.arange(0.0, drive.length_m, 0.5)
    xy = np.array([drive.pose_at(s)[:2, 3] for s in places])
    middle = places[np.argmin(np.abs(xy[:, 1]) + 100.0 * (np.abs(xy[:, 0]) > 6.0))]
    there, back = xy[places < middle - 6.5], xy[places > middle + 15.0]
    apart = [LineString(there).distance(Point(p)) for p in back]
    assert 3.0 < min(apart) and max(apart) < 4.6  # the other lane, and rounded corners


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_drive_pivot_turns_by_a_right_angle_on_the_spot(seed):
    drive = make_drive(route="pivot", length_m=60.0, seed=seed)
    poses = track(drive)
    yaw = np.rad2deg(np.unwrap([transforms.yaw_rad(T) for T in poses]))
    rate = np.abs(np.diff(yaw)) / 0.1
    assert rate.max() < 50.0
    turning = np.flatnonzero(rate > 20.0)
    first, last = turning[0], turning[-1] + 1
    assert abs(yaw[last] - yaw[first]) == pytest.approx(90.0, abs=12.0)
    # on the spot: base_link moves by four steps of 5 cm at most
    assert np.linalg.norm(poses[last][:2, 3] - poses[first][:2, 3]) < 0.2
    assert abs(yaw[-1] - yaw[0]) == pytest.approx(90.0, abs=4.0)
    assert drive.length_m == pytest.approx(60.0, rel=0.02)


def test_drive_standing_does_not_move_for_that_long():
    moving = make_drive(length_m=60.0)
    drive = make_drive(length_m=60.0, standing_s=4.0)
    poses = track(drive)
    is_still = np.all(poses[1:] == poses[:-1], axis=(1, 2))
    assert is_still.sum() * 0.1 == pytest.approx(4.0, abs=0.15)
    assert drive.duration_s > moving.duration_s + 4.0


def test_drive_starts_level_so_that_map_is_level():
    T = make_drive(length_m=60.0, wobble=3.0).pose(0.0)
    np.testing.assert_array_equal(T[2], [0, 0, 1, 0])


def test_plan_block_too_small_says_what_is_needed():
    with pytest.raises(ConfigError, match="at least 140 m"):
        plan(SimulationOptions(route="loop", length_m=100.0))
