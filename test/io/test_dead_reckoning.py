import numpy as np
import pytest
from bag_maker import START_NS, drive, odometry, transforms_message, write_bag

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.io.dead_reckoning import DeadReckoning
from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.types import Odometry

RATE_HZ = 20


def stamp(k):
    return START_NS + k * (1_000_000_000 // RATE_HZ)


def read(messages, T_child_base=None):
    wheels = DeadReckoning(np.eye(4) if T_child_base is None else T_child_base)
    return wheels, [wheels.item(m, stamp(k)) for k, (_, m) in enumerate(messages)]


@pytest.mark.parametrize("quat", [(0, 0, 0, 1), (0, 0, 0, 0)])
def test_item_poses_never_filled_in_integrates_twists(quat):
    # Half a circle of 5 m radius at 1 m/s; base_link 1 m ahead of what the twist is told of.
    w, num = 0.2, int(np.pi / 0.2 * RATE_HZ)
    T_child_base = transforms.rigid(np.eye(3), [1.0, 0.0, 0.0])
    messages = [odometry(stamp(k), (0, 0, 0), quat, vw=(1.0, w)) for k in range(num + 1)]
    wheels, items = read(messages, T_child_base)
    turned = w * num / RATE_HZ
    end = transforms.exp([0, 0, turned, 5 * np.sin(turned), 5 * (1 - np.cos(turned)), 0])
    # A chord in place of its arc of 0.01 rad is short by its square over 24: 4e-6 of 15 m.
    np.testing.assert_allclose(items[-1].T_odom_base, end @ T_child_base, atol=1e-4)
    assert wheels.num_integrated == num


def test_item_places_without_any_quaternion_are_no_poses_and_twists_are_integrated():
    messages = [odometry(stamp(k), (9.0 * k, 0, 0), (0,) * 4, vw=(1.0, 0)) for k in range(5)]
    wheels, items = read(messages)
    ways = [i.T_odom_base[0, 3] for i in items]
    np.testing.assert_allclose(ways, np.arange(5) / RATE_HZ, atol=1e-12)
    assert wheels.num_integrated == 4


def test_item_speed_that_changes_counts_by_its_mean():
    messages = [odometry(stamp(k), (0, 0, 0), vw=(0.1 * k, 0)) for k in range(101)]
    _, items = read(messages)
    assert items[-1].T_odom_base[0, 3] == pytest.approx(0.5 * 2.0 * 5.0**2)  # a t² / 2


def test_item_poses_filled_in_are_taken_whatever_the_twist_says():
    messages = [odometry(stamp(k), (0.3 * k, 0, 0), vw=(9.0, 1.0)) for k in range(5)]
    wheels, items = read(messages)
    np.testing.assert_allclose([i.T_odom_base[0, 3] for i in items], 0.3 * np.arange(5))
    assert wheels.num_integrated == 0


def test_item_at_rest_without_poses_stays_and_nothing_is_said():
    wheels, items = read([odometry(stamp(k), (0, 0, 0)) for k in range(5)])
    assert all((i.T_odom_base == np.eye(4)).all() for i in items) and wheels.num_integrated == 0


def test_item_twist_or_pose_not_finite_is_refused_and_passed_over():
    vws = [(1.0, 0.0), (np.nan, 0.0), (1.0, 0.0)]
    _, items = read([odometry(stamp(k), (0, 0, 0), vw=vw) for k, vw in enumerate(vws)])
    assert items[1] == "not_finite"
    assert items[2].T_odom_base[0, 3] == pytest.approx(2 / RATE_HZ)
    _, items = read([odometry(stamp(0), (np.nan, 0, 0), vw=(1.0, 0.0))])
    assert items == ["not_finite"]


def test_item_time_that_goes_back_does_not_drive_backwards():
    wheels = DeadReckoning(np.eye(4))
    _, message = odometry(stamp(0), (0, 0, 0), vw=(1.0, 0.0))
    ways = [wheels.item(message, stamp(k)).T_odom_base[0, 3] for k in (0, 20, 0, 20)]
    np.testing.assert_allclose(ways, [0, 1, 1, 2], atol=1e-12)


def test_recording_of_twists_moves_says_so_and_repeats_itself(tmp_path):
    link = ("base_link", "axle", (-1.0, 0.0, 0.0), (0, 0, 0, 1))
    messages = [*drive(), ("/tf_static", START_NS, transforms_message(link))]
    for k in range(9):
        message = odometry(stamp(k), (0, 0, 0), child="axle", vw=(2.0, 0.0))
        messages.append(("/odom", stamp(k), message))
    source = open_source(write_bag(tmp_path / "bag", messages))
    passes = [[i for i in source if isinstance(i, Odometry)] for _ in range(2)]
    for items in passes:
        np.testing.assert_allclose(
            [i.T_odom_base[0, 3] for i in items], 1 + 2 * np.arange(9) / RATE_HZ
        )
    assert "the poses of /odom are empty: its twists are used" in source.remarks()
