"""Odometry that is stamped by another clock than the pictures."""

from types import SimpleNamespace

import numpy as np
import pytest

from seg2d3d_ros.config import MappingConfig
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.refinement.odometry_clock import find_clock_offsets
from seg2d3d_ros.mapping.refinement.sensor_check import SensorCheck
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import RelativePose

PERIOD_S, NUM = 0.2, 100
SECOND_NS = 10**9


def path(turn_deg):
    """Poses every 10 ms from 10 s before to 10 s after a drive that turns once, 6 m/s."""
    t = np.arange(-10.0, PERIOD_S * NUM + 10.0, 0.01)
    share = 0.5 - 0.5 * np.cos(np.pi * np.clip((t - 8.0) / 3.0, 0.0, 1.0))
    yaw = np.deg2rad(turn_deg) * share + 0.01 * np.sin(1.3 * t)
    xy = 0.06 * np.cumsum(np.stack([np.cos(yaw), np.sin(yaw)]), axis=1)
    T = np.stack([transforms.exp([0, 0, a, 0, 0, 0]) for a in yaw])
    T[:, :2, 3] = xy.T
    return lambda s: T[round((s + 10.0) / 0.01)]


def told(late_s, turn_deg=90.0, noise_deg=0.05, first=0, seed=0):
    """Frames and increments of odometry that is stamped `late_s` late; frames count from first."""
    rng, pose = np.random.default_rng(seed), path(turn_deg)
    stamps_s = PERIOD_S * np.arange(NUM)
    frames = [
        SimpleNamespace(
            stamp_ns=1000 * SECOND_NS + round(s * SECOND_NS),
            T_world_base=pose(s),
            status="tracked",
        )
        for s in stamps_s
    ]
    odometry = {}
    for k in range(NUM - 1):
        a, b = (pose(s - late_s) for s in stamps_s[k : k + 2])
        noise = np.deg2rad(noise_deg) * rng.standard_normal()
        T = transforms.invert(a) @ b @ transforms.exp([0, 0, noise, 0, 0, 0])
        T[:3, 3] *= 1.02
        odometry[first + k, first + k + 1] = RelativePose(
            first + k, first + k + 1, T, 1e-4 * np.eye(6)
        )
    return frames, odometry


def state_of(*drives):
    state = MapState()
    for frames, odometry in drives:
        state.frames += frames
        state.odometry |= odometry
    return state


@pytest.mark.parametrize("late_s", [0.1, -0.1, 0.37, -1.5, 4.0])
@pytest.mark.parametrize("noise_deg", [0.0, 0.1])
def test_find_clock_offsets_finds_the_offset_and_sets_the_increments_right(late_s, noise_deg):
    (offset,) = find_clock_offsets(state_of(told(late_s, noise_deg=noise_deg)))
    assert offset.late_s == pytest.approx(late_s, abs=0.03)
    pose = path(90.0)
    known = {k: r for (k, _), r in offset.increments.items() if r is not None}
    assert len(known) == pytest.approx(NUM - abs(late_s) / PERIOD_S, abs=3)
    for k, r in known.items():
        true = transforms.invert(pose(PERIOD_S * k)) @ pose(PERIOD_S * (k + 1))
        # 0.03 s of a turn that quickens by 50 degrees per second squared, and twice the noise
        off = transforms.angle_rad(transforms.invert(true) @ r.T_i_j)
        assert off < np.deg2rad(1.2 + 4.0 * noise_deg)
    said = f"odometry is stamped {abs(offset.late_s):.2f} s"
    assert said in offset.describe()
    assert ("later" if late_s > 0 else "earlier") in offset.describe()


@pytest.mark.parametrize("noise_deg", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("turn_deg", [0.0, 90.0])
def test_find_clock_offsets_right_stamps_are_left_alone(noise_deg, turn_deg):
    for seed in range(5):
        state = state_of(told(0.0, turn_deg, noise_deg, seed=seed))
        assert find_clock_offsets(state) == ()


def test_find_clock_offsets_straight_drive_tells_nothing():
    assert find_clock_offsets(state_of(told(0.4, turn_deg=0.0, noise_deg=0.2))) == ()


def test_find_clock_offsets_each_session_has_its_own():
    state = state_of(told(0.0), told(0.5, first=NUM))
    (offset,) = find_clock_offsets(state)
    assert offset.late_s == pytest.approx(0.5, abs=0.02)
    assert min(offset.increments)[0] == NUM


def test_find_clock_offsets_coasted_frames_have_no_say():
    frames, odometry = told(0.0)
    for frame in frames[40:60]:  # the turn, which nothing saw
        frame.status = "coasted"
        frame.T_world_base = np.eye(4)
    assert find_clock_offsets(state_of((frames, odometry))) == ()


def test_find_clock_offsets_empty_map_has_none():
    assert find_clock_offsets(MapState()) == ()


def test_sensor_check_asked_again_begins_with_what_was_told():
    state, check = state_of(told(0.5)), SensorCheck(MappingConfig())
    check.check(state)
    once = dict(state.odometry)
    assert check.counts["odometry_clock_offsets"] == 1.0
    assert "stamped 0.50 s later" in check.remarks[0]
    check.check(state)
    assert state.odometry.keys() == once.keys()
    for key, r in state.odometry.items():
        np.testing.assert_array_equal(r.T_i_j, once[key].T_i_j)
