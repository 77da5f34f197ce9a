import pickle
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from bundle_maker import disturb

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.bundle import BundleOptions, PositionPrior, RelativePrior, adjust

ROOT = Path(__file__).parents[2]
EXACT = BundleOptions(max_iterations=50, function_tolerance=1e-14)


def without(problem, rows):
    """Take the observations in rows (m,) away."""
    names = ("frame", "camera", "point", "uv_ideal_px")
    return replace(problem, **{n: getattr(problem, n)[~rows] for n in names})


def translation_errors(result, T_world_base):
    return np.linalg.norm(result.T_world_base[:, :3, 3] - T_world_base[:, :3, 3], axis=1)


def test_adjust_stereo_without_noise_recovers_poses_and_points_exactly(stereo_street):
    truth = stereo_street.problem()
    result = adjust(disturb(truth), EXACT)
    np.testing.assert_allclose(result.T_world_base, truth.T_world_base, atol=1e-6)
    seen = np.bincount(truth.point, minlength=150) >= 2
    np.testing.assert_allclose(result.points_world[seen], truth.points_world[seen], atol=1e-4)
    assert result.final_cost < 1e-9 < result.initial_cost


def test_adjust_half_pixel_noise_gives_poses_within_centimetres(stereo_street):
    result = adjust(disturb(stereo_street.problem(0.5)), EXACT)
    # 0.5 px / 320 px * 15 m = 23 mm for one point; 250 observations of a picture settle six
    # unknowns that are correlated, and the first pose, held at the truth, is as noisy: about 8 mm
    # per pose (measured 7-15), so 30 mm is four sigma.
    assert translation_errors(result, stereo_street.T_world_base).max() < 0.03


def test_adjust_gross_outliers_are_down_weighted(stereo_street):
    problem = stereo_street.problem(0.3)
    uv = problem.uv_ideal_px.copy()
    uv[::20] += 60.0  # 5 % of wrong matches
    result = adjust(disturb(replace(problem, uv_ideal_px=uv)), EXACT)
    # 0.3 px instead of 0.5 px: 18 mm would be four sigma; the outliers add little
    assert translation_errors(result, stereo_street.T_world_base).max() < 0.02


def test_adjust_constant_poses_stay_bitwise_even_with_factors_on_them(stereo_street):
    problem = stereo_street.problem()
    constant = np.zeros(8, dtype=bool)
    constant[[0, 3]] = True
    problem = disturb(replace(problem, is_constant=constant))
    wrong = transforms.rigid(np.eye(3), [2.0, 0.0, 0.0])
    factors = (RelativePrior(2, 3, wrong, np.eye(6) * 1e-2),)
    fixes = (PositionPrior(0, np.array([0.5, 0.0, 0.0]), np.eye(3)),)
    result = adjust(replace(problem, relative=factors, positions=fixes), BundleOptions())
    for f in (0, 3):
        np.testing.assert_allclose(result.T_world_base[f], problem.T_world_base[f], atol=1e-15)
    assert (translation_errors(result, problem.T_world_base)[[1, 2, 4]] > 1e-3).all()


def test_adjust_one_camera_relative_factors_fix_the_scale(stereo_street):
    street = replace(stereo_street, cameras=stereo_street.cameras[:1])
    truth = street.problem()
    shrunk = truth.T_world_base.copy()
    shrunk[:, :3, 3] *= 0.8
    start = replace(truth, T_world_base=shrunk, points_world=truth.points_world * 0.8)
    factors = tuple(
        RelativePrior(
            i,
            i + 1,
            transforms.invert(truth.T_world_base[i]) @ truth.T_world_base[i + 1],
            np.eye(6) * 1e-4,
        )
        for i in range(7)
    )
    # one camera alone cannot tell the scale: only the factors can bring it back
    result = adjust(replace(start, relative=factors), EXACT)
    np.testing.assert_allclose(result.T_world_base, truth.T_world_base, atol=1e-5)


def test_adjust_position_factors_move_the_whole_map(stereo_street):
    truth = stereo_street.problem(is_constant=np.zeros(8, dtype=bool))
    shift = np.array([0.4, -0.3, 0.2])
    fixes = tuple(
        PositionPrior(f, T[:3, 3] + shift, np.eye(3) * 0.01)
        for f, T in enumerate(truth.T_world_base)
    )
    result = adjust(replace(truth, positions=fixes), EXACT)
    expected = truth.T_world_base[:, :3, 3] + shift
    np.testing.assert_allclose(result.T_world_base[:, :3, 3], expected, atol=1e-5)


def test_adjust_coarser_pixels_follow_odometry_further(stereo_street):
    truth = stereo_street.problem(0.5)
    long = []
    for T_i, T_j in pairwise(truth.T_world_base):
        step = transforms.invert(T_i) @ T_j
        step[:3, 3] *= 1.1
        long.append(step)
    factors = tuple(RelativePrior(i, i + 1, T, np.eye(6) * 0.1**2) for i, T in enumerate(long))
    way = []
    for sigma_px in (0.3, 1.0, 3.0, 30.0):
        result = adjust(replace(truth, relative=factors), replace(EXACT, sigma_px=sigma_px))
        way.append(np.linalg.norm(np.diff(result.T_world_base[:, :3, 3], axis=0), axis=1).sum())
    # stereo says 7 m, odometry 7.7 m
    assert way == sorted(way)
    assert way[0] == pytest.approx(7.0, abs=0.1)
    assert way[-1] == pytest.approx(7.7, abs=0.1)


def test_adjust_one_wrong_position_factor_is_gated(stereo_street):
    truth = stereo_street.problem(is_constant=np.zeros(8, dtype=bool))
    fixes = [PositionPrior(f, T[:3, 3], np.eye(3)) for f, T in enumerate(truth.T_world_base)]
    fixes[4] = replace(fixes[4], position_world=fixes[4].position_world + [0.0, 50.0, 0.0])
    result = adjust(replace(truth, positions=tuple(fixes)), EXACT)
    # the mean of eight fixes would be off by 50 / 8 = 6 m; the pull of a Cauchy loss of width 2 is
    # 4 / 50 sigma at that distance, shared by seven good fixes
    assert translation_errors(result, truth.T_world_base).max() < 0.1


@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
@pytest.mark.parametrize("sigma_m", [0.1, 3.0])
def test_adjust_any_start_never_raises_the_cost(stereo_street, sigma_m, iterations):
    problem = disturb(stereo_street.problem(0.5), 0.05, sigma_m, seed=iterations)
    first = adjust(problem, BundleOptions(max_iterations=iterations))
    assert 0 <= first.final_cost <= first.initial_cost
    again = replace(problem, T_world_base=first.T_world_base, points_world=first.points_world)
    # what is returned really has the cost that is reported
    assert adjust(again, BundleOptions()).initial_cost == pytest.approx(first.final_cost, rel=1e-9)


def test_adjust_points_seen_once_and_nan_stay_and_do_no_harm(stereo_street):
    truth = stereo_street.problem()
    rows = np.flatnonzero(truth.point == truth.point[0])
    once = np.zeros(len(truth.point), dtype=bool)
    once[rows[1:]] = True
    problem = disturb(without(truth, once))
    problem.points_world[20] = np.nan
    problem.uv_ideal_px[truth.point[~once] == 21] = np.nan
    result = adjust(problem, EXACT)
    np.testing.assert_allclose(result.T_world_base, truth.T_world_base, atol=1e-6)
    left = [int(truth.point[0]), 20, 21]
    np.testing.assert_array_equal(result.points_world[left], problem.points_world[left])


def test_adjust_without_observations_returns_the_input(stereo_street):
    truth = stereo_street.problem()
    nothing = without(truth, np.ones(len(truth.frame), dtype=bool))
    result = adjust(nothing, BundleOptions())
    np.testing.assert_array_equal(result.T_world_base, truth.T_world_base)
    np.testing.assert_array_equal(result.points_world, truth.points_world)


def test_adjust_frames_that_saw_nothing_are_carried_by_their_factors(stereo_street):
    truth = stereo_street.problem()
    blind = disturb(without(truth, (truth.frame == 3) | (truth.frame == 4)), 0.05, 0.5)
    factors = tuple(
        RelativePrior(
            i,
            i + 1,
            transforms.invert(truth.T_world_base[i]) @ truth.T_world_base[i + 1],
            np.eye(6) * 1e-4,
        )
        for i in (2, 3, 4)
    )
    result = adjust(replace(blind, relative=factors), EXACT)
    np.testing.assert_allclose(result.T_world_base, truth.T_world_base, atol=1e-6)
    assert result.points_world.shape == truth.points_world.shape


def test_adjust_same_problem_twice_is_bitwise_equal(stereo_street):
    problem = disturb(stereo_street.problem(0.5))
    a, b = adjust(problem, BundleOptions()), adjust(problem, BundleOptions())
    np.testing.assert_array_equal(a.T_world_base, b.T_world_base)
    np.testing.assert_array_equal(a.points_world, b.points_world)


@pytest.mark.parametrize("sigma_deg", [0.0, 1.0])
def test_adjust_camera_turned_by_half_a_degree_is_found_where_its_mount_is_loose(
    stereo_street, sigma_deg
):
    problem = stereo_street.problem()
    right = problem.cameras[1]
    R = transforms.exp([0.0, 0.0, np.deg2rad(0.5), 0.0, 0.0, 0.0])[:3, :3]
    wrong = transforms.rigid(R @ right.T_base_cam[:3, :3], right.T_base_cam[:3, 3])
    cameras = (problem.cameras[0], replace(right, T_base_cam=wrong))
    loose = replace(EXACT, sigma_mount_rad=(0.0, np.deg2rad(sigma_deg)))
    result = adjust(replace(problem, cameras=cameras), loose)
    if not sigma_deg:
        assert len(result.R_base_cam) == 0
        return
    # observations are exact, so only the prior of 1 deg pulls: 0.5 deg of it against hundreds of
    # pixels, each of which tells 0.2 deg
    left_deg = [
        np.rad2deg(transforms.angle_rad(transforms.rigid(R.T @ c.T_base_cam[:3, :3], np.zeros(3))))
        for R, c in zip(result.R_base_cam, problem.cameras, strict=True)
    ]
    assert left_deg[0] < 1e-6
    assert left_deg[1] < 0.01


TOLD_TO_STOP = """
import os, pickle, signal, sys, time
from seg2d3d_ros.geometry.bundle import BundleOptions, adjust

heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(True))
adjust(pickle.load(sys.stdin.buffer), BundleOptions(max_iterations=1))
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.1)
sys.exit(0 if heard else 3)
"""


def test_adjust_leaves_sigterm_to_who_had_it(stereo_street):
    done = subprocess.run(
        [sys.executable, "-c", TOLD_TO_STOP],
        input=pickle.dumps(stereo_street.problem()),
        capture_output=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr.decode()[-500:]
