"""Runs onto one map: another vehicle with other cameras, that starts elsewhere."""

from dataclasses import replace

import numpy as np
import pytest

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.continuation import Continuation, joined
from seg2d3d_ros.types import (
    Camera,
    Cluster,
    Keyframe,
    Landmarks,
    Observations,
    Rig,
    Segmentation,
)


def camera(name, yaw_deg=0.0, focal=300.0):
    turn = transforms.exp([0, 0, np.deg2rad(yaw_deg), 0, 0, 0])
    T = turn @ transforms.rigid(transforms.R_BODY_OPTICAL, [1.0, 0.0, 1.6])
    K = np.array([[focal, 0.0, 200.0], [0.0, focal, 120.0], [0.0, 0.0, 1.0]])
    return Camera(name, 400, 240, K, T)


def names(rig):
    return [c.name for c in rig.cameras]


def cluster(rig, sequence=0):
    """A cluster of one frame in which every camera saw one landmark of its own."""
    num = len(rig.cameras)
    every = np.arange(num)
    return Cluster(
        sequence,
        0,
        False,
        "metric",
        0,
        rig,
        (Keyframe(7, np.eye(4), True, tuple(range(num)), (7,) * num),),
        Landmarks(
            every + 1,
            np.zeros((num, 3)),
            np.zeros((num, 3), np.uint8),
            np.zeros((num, 128), np.uint8),
            np.ones(num, np.float32),
        ),
        Observations(every, np.zeros(num, int), every, np.zeros((num, 2), np.float32)),
        segmentations=tuple(Segmentation(c.name, 7, 400, 240, ()) for c in rig.cameras),
    )


def test_joined_same_cameras_change_nothing():
    rig = Rig((camera("left"), camera("right")))
    whole, place = joined(rig, rig)
    assert names(whole) == ["left", "right"]
    np.testing.assert_array_equal(place, [0, 1])


def test_joined_camera_that_was_corrected_by_a_degree_is_the_same():
    whole, place = joined(Rig((camera("front", 1.0),)), Rig((camera("front"),)))
    assert names(whole) == ["front"]
    np.testing.assert_array_equal(place, [0])
    # The new run says how it is mounted now.
    np.testing.assert_array_equal(whole.cameras[0].T_base_cam, camera("front").T_base_cam)


@pytest.mark.parametrize("other", [camera("front", 30.0), camera("front", focal=280.0)])
def test_joined_other_camera_of_the_same_name_gets_a_name_of_its_own(other):
    whole, place = joined(Rig((camera("front"),)), Rig((other,)))
    assert names(whole) == ["front", "front@2"]
    np.testing.assert_array_equal(place, [1])
    # The second vehicle comes once more: its camera is known.
    again, place = joined(whole, Rig((other,)))
    assert names(again) == ["front", "front@2"]
    np.testing.assert_array_equal(place, [1])


def test_renumber_second_vehicle_speaks_of_its_own_cameras():
    first, second = Rig((camera("a"), camera("m"))), Rig((camera("b"), camera("m"), camera("z")))
    runs = Continuation()
    unchanged = cluster(first)
    assert runs.renumber(unchanged, None) is unchanged
    rig = first
    for sequence in (0, 1):
        moved = runs.renumber(cluster(second, sequence), rig)
        rig = moved.rig
        assert names(rig) == ["a", "m", "b", "z"]
        assert moved.frames[0].cameras == (2, 1, 3)
        np.testing.assert_array_equal(moved.observations.camera, [2, 1, 3])
        assert [s.camera for s in moved.segmentations] == ["b", "m", "z"]
        np.testing.assert_array_equal(moved.landmarks.ids, [4, 5, 6])
        assert (moved.sequence, moved.session) == (sequence + 1, 1)
    assert runs.num_runs == 2


def test_joined_rig_knows_odometry_if_any_run_had_it():
    with_odometry = replace(Rig((camera("a"),)), has_odometry=True)
    assert joined(with_odometry, Rig((camera("b"),)))[0].has_odometry
