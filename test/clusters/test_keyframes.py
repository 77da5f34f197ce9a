import numpy as np
import pytest

from seg2d3d_ros.clusters.keyframes import KeyframePolicy
from seg2d3d_ros.clusters.window import LocalFrame, Seen
from seg2d3d_ros.config import ClustersConfig
from seg2d3d_ros.geometry import transforms

DISTANCE_M, TURN_DEG = 1.2, 6.0


def frame(x=0.0, cameras=(0, 1), num=100, yaw_deg=0.0):
    seen = Seen(np.arange(num), np.zeros(num, int), np.zeros((num, 2)), np.zeros((num, 2)))
    T = transforms.exp([0, 0, np.deg2rad(yaw_deg), x, 0, 0])
    return LocalFrame(int(x * 1e9), T, False, cameras, (0,) * len(cameras), seen)


def policy_after(*keyframes):
    config = ClustersConfig(keyframe_distance_m=DISTANCE_M, keyframe_rotation_deg=TURN_DEG)
    policy = KeyframePolicy(config)
    for k in keyframes:
        policy.add(k)
        for c in k.cameras:
            policy.count(c, len(k.seen.ids) // len(k.cameras))
    return policy


@pytest.mark.parametrize(
    ("there", "is_due"),
    [
        (frame(1.17), False),
        (frame(1.19), True),
        (frame(0.1, yaw_deg=5.9), False),
        (frame(0.1, yaw_deg=-6.1), True),
        (frame(0.1, num=61), False),
        (frame(0.1, num=59), True),
        (frame(0.1, num=0), False),
    ],
)
def test_is_due_by_way_by_turn_and_by_lost_tracks(there, is_due):
    first = frame()
    before = frame(there.T_local_base[0, 3] - 0.04)
    assert policy_after(first).is_due(there, before, first) == is_due


@pytest.mark.parametrize(
    ("step_m", "way_m"),
    [(0.1, 1.2), (0.39, 1.17), (0.5, 1.0), (0.75, 1.5), (0.9, 0.9), (2.0, 2.0)],
)
def test_is_due_frame_nearest_to_the_distance(step_m, way_m):
    first = frame()
    policy = policy_after(first)
    frames = [frame(step_m * k) for k in range(30)]
    due = next(k for k in range(1, 30) if policy.is_due(frames[k], frames[k - 1], first))
    assert step_m * due == pytest.approx(way_m)


def test_is_due_way_back_is_not_awaited():
    first = frame()
    policy = policy_after(first)
    assert not policy.is_due(frame(0.9), frame(1.1), first)
    assert policy.is_due(frame(1.21), frame(1.5), first)


def test_is_due_camera_without_any_keyframe_gets_one():
    first = frame(cameras=(0,))
    assert policy_after(first).is_due(frame(0.05, cameras=(1,)), first, first)


def test_is_due_cameras_that_fire_in_turn_get_keyframes_of_their_own():
    keyframes = [frame(cameras=(0,), num=50), frame(0.31, cameras=(1,), num=50)]
    made = []
    for k in range(2, 40):
        policy = policy_after(*keyframes)
        before, there = (frame(0.31 * j, cameras=(j % 2,), num=50) for j in (k - 1, k))
        if policy.is_due(there, before, keyframes[-1]):
            keyframes.append(there)
            made.append(k % 2)
    # 11.8 m, a keyframe of each camera every four moments of 0.31 m
    assert made.count(0) == made.count(1) == 9


def test_is_due_dropped_picture_of_one_camera_makes_no_second_keyframe_at_once():
    first, second = frame(), frame(1.25, cameras=(0,))
    policy = policy_after(first, second)
    policy.count(0, 50)
    assert not policy.is_due(frame(1.5), frame(1.4), second)
    assert policy.is_due(frame(1.85), frame(1.75), second)


def test_clear_forgets_all_keyframes():
    policy = policy_after(frame())
    policy.clear()
    assert policy.num_tracks_before(frame()) == 0
    assert policy.is_due(frame(0.01), frame(), frame())


def test_is_due_waits_while_the_rig_is_looked_for():
    first = frame()
    nothing = [frame(x, num=0) for x in (1.3, 14.0, 14.5)]
    policy = policy_after(first)
    assert [policy.is_due(there, there, first) for there in nothing] == [True] * 3
    waited = [policy.is_due(there, there, first, waits=True) for there in nothing]
    assert waited == [False, False, True]
