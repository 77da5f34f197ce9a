from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from street_maker import (
    SINGLE,
    STEREO,
    TURNED,
    DriveOptions,
    make_cluster,
    make_street,
    observe,
)

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.refinement.mounting_check import (
    _Evidence,
    corrected,
    find_mount_errors,
    way_by_matches,
)
from seg2d3d_ros.mapping.refinement.odometry_scale import rescale
from seg2d3d_ros.mapping.state import MapState

AXES = {"x": 0, "y": 1, "z": 2}
# 0.3 px of 170 px are 0.1 degrees for one point, and hundreds see each stretch; but what points
# have in common, their depth, leaves a turn about a horizontal axis two or three times that
NOISE_DEG = 0.3


@cache
def street(cameras, seed=0):
    """A drive of 60 m with 60 keyframes: five stretches."""
    return make_street(6, cameras, num_points=40, seed=seed, turn_rad=0.002)


def turned(rig, camera, deg, axis="z"):
    """The rig as somebody states it who has turned a camera by mistake."""
    turn = np.zeros(6)
    turn[AXES[axis]] = np.deg2rad(deg)
    cameras = list(rig.cameras)
    T = cameras[camera].T_base_cam
    R = transforms.exp(turn)[:3, :3]
    wrong = replace(cameras[camera], T_base_cam=transforms.rigid(R @ T[:3, :3], T[:3, 3]))
    cameras[camera] = wrong
    return replace(rig, cameras=tuple(cameras))


def state_of(cameras, stated=None, seed=0, noise_px=0.3, **options):
    """The map of the drive, made of true pictures and a stated rig."""
    truth = street(cameras, seed)
    options = DriveOptions(noise_px=noise_px, seed=seed, **options)
    seen = observe(truth, noise_px, seed)
    cluster = make_cluster(truth, seen, range(len(truth.T_world_base)), options)
    state = MapState()
    state.add(replace(cluster, rig=stated or truth.rig), np.eye(4))
    return state


@pytest.mark.parametrize("cameras", [TURNED, STEREO, SINGLE])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("has_odometry", [True, False])
def test_find_mount_errors_right_mounting_raises_no_alarm(cameras, seed, has_odometry):
    state = state_of(cameras, seed=seed, noise_px=0.6, has_odometry=has_odometry)
    assert find_mount_errors(state) == ()


def test_find_mount_errors_biased_odometry_is_not_taken_for_a_turned_camera():
    assert find_mount_errors(state_of(TURNED, odometry_scale=1.03)) == ()


@pytest.mark.parametrize("camera", [0, 1])
@pytest.mark.parametrize("deg", [-1.0, 2.0])
def test_find_mount_errors_yaw_of_one_camera_is_found_and_blamed(camera, deg):
    stated = turned(street(TURNED).rig, camera, deg)
    (error,) = find_mount_errors(state_of(TURNED, stated))
    assert (error.cameras, error.against) == ((camera,), ())
    assert np.rad2deg(error.rotvec_base) == pytest.approx([0, 0, -deg], abs=NOISE_DEG)
    assert np.rad2deg(error.sigma_rad) < NOISE_DEG
    text = error.describe(stated)
    assert f"mounting of {('left', 'right')[camera]} is off by" in text
    size = -np.sign(deg) * np.rad2deg(np.linalg.norm(error.rotvec_base))
    assert f"{size:+.2f} deg about z" in text


def test_find_mount_errors_without_odometry_blames_neither():
    stated = turned(street(TURNED).rig, 1, 1.0)
    (error,) = find_mount_errors(state_of(TURNED, stated, has_odometry=False))
    assert sorted(error.cameras + error.against) == [0, 1]
    sign = 1.0 if error.cameras == (0,) else -1.0
    assert np.rad2deg(error.rotvec_base) == pytest.approx([0, 0, sign], abs=NOISE_DEG)
    assert "nothing tells which" in error.describe(stated)


def test_find_mount_errors_pitch_between_cameras_is_found():
    stated = turned(street(TURNED).rig, 0, -1.0, "y")
    (error,) = find_mount_errors(state_of(TURNED, stated))
    sign = 1.0 if error.cameras == (0,) else -1.0
    assert np.rad2deg(error.rotvec_base) == pytest.approx([0, sign, 0], abs=NOISE_DEG)


def test_find_mount_errors_roll_is_told_without_odometry_by_what_both_cameras_see():
    # a vehicle that never turns: what each camera sees by itself says nothing of a roll
    truth = make_street(6, STEREO, num_points=40)
    cluster = make_cluster(
        truth, observe(truth, 0.3), range(60), DriveOptions(noise_px=0.3, has_odometry=False)
    )
    state = MapState()
    stated = replace(turned(truth.rig, 0, 1.0, "x"), has_odometry=False)
    state.add(replace(cluster, rig=stated), np.eye(4))
    (error,) = find_mount_errors(state)
    sign = -1.0 if error.cameras == (0,) else 1.0
    assert np.rad2deg(error.rotvec_base) == pytest.approx([sign, 0, 0], abs=NOISE_DEG)


def test_worst_of_what_nothing_tells_does_not_hide_what_is_known():
    # two cameras that share no view, one pitched: degrees, rolls told ten times worse
    between = np.array([[-0.1, -0.8, 0.0], [1.1, -0.7, -0.1], [1.5, -0.8, 0.1], [0.2, -0.8, 0.0]])
    samples = np.deg2rad(np.hstack([between, np.zeros((4, 3))]))
    covariance = np.deg2rad(np.diag([1.1, 0.1, 0.07, 0.01, 0.01, 0.01])) ** 2
    error = _Evidence(samples, samples.mean(axis=0), covariance).worst_of([0, 1])
    assert np.rad2deg(np.abs(error.rotvec_base)) == pytest.approx([0, 0.775, 0], abs=0.01)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_way_by_matches_is_that_of_cameras_as_they_sit(factor):
    state = state_of(STEREO, has_odometry=False)
    rescale(state, factor)
    assert way_by_matches(state) == pytest.approx(1.0 / factor, rel=0.01)


def test_find_mount_errors_single_camera_is_held_against_the_direction_of_travel():
    stated = turned(street(SINGLE).rig, 0, 1.0)
    (error,) = find_mount_errors(state_of(SINGLE, stated))
    assert np.rad2deg(error.rotvec_base) == pytest.approx([0, 0, -1.0], abs=NOISE_DEG)
    assert find_mount_errors(state_of(SINGLE, stated, has_odometry=False)) == ()


def test_corrected_rig_sits_as_it_truly_does():
    truth = street(TURNED).rig
    stated = turned(truth, 0, 1.0)
    mended = corrected(stated, find_mount_errors(state_of(TURNED, stated)))
    for a, b in zip(mended.cameras, truth.cameras, strict=True):
        off = transforms.invert(a.T_base_cam) @ b.T_base_cam
        assert np.rad2deg(transforms.angle_rad(off)) < NOISE_DEG


def test_corrected_rig_of_a_pair_that_blames_neither_agrees_within_itself():
    truth = street(TURNED).rig
    stated = turned(truth, 0, 1.0)
    found = find_mount_errors(state_of(TURNED, stated, has_odometry=False))
    a, b = corrected(stated, found).cameras
    relative = transforms.invert(a.T_base_cam) @ b.T_base_cam
    c, d = truth.cameras
    off = transforms.invert(relative) @ (transforms.invert(c.T_base_cam) @ d.T_base_cam)
    assert np.rad2deg(transforms.angle_rad(off)) < NOISE_DEG


def test_find_mount_errors_short_or_empty_drive_says_nothing():
    assert find_mount_errors(MapState()) == ()
    truth = street(TURNED)
    state = MapState()
    cluster = make_cluster(truth, observe(truth), range(16))
    state.add(replace(cluster, rig=turned(truth.rig, 0, 1.0)), np.eye(4))
    assert find_mount_errors(state) == ()
