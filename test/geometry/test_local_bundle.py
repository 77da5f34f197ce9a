from dataclasses import replace

import numpy as np
import pytest
from bundle_maker import disturb, fixes, odometry

from seg2d3d_ros.geometry import bundle
from seg2d3d_ros.geometry.bundle import BundleOptions
from seg2d3d_ros.geometry.local_bundle import adjust

EXACT = BundleOptions(max_iterations=50, function_tolerance=1e-14)


def test_adjust_stereo_without_noise_recovers_poses_and_points_exactly(stereo_street):
    truth = stereo_street.problem()
    result = adjust(disturb(truth), EXACT)
    np.testing.assert_allclose(result.T_world_base, truth.T_world_base, atol=1e-6)
    seen = np.bincount(truth.point, minlength=150) >= 2
    np.testing.assert_allclose(result.points_world[seen], truth.points_world[seen], atol=1e-4)
    assert result.final_cost < 1e-9 < result.initial_cost


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_adjust_noise_and_outliers_ends_where_ceres_does(stereo_street, seed):
    problem = stereo_street.problem(0.4)
    uv = problem.uv_ideal_px.copy()
    uv[seed::25] += 40.0
    problem = disturb(replace(problem, uv_ideal_px=uv), seed=seed)
    ours, theirs = adjust(problem, EXACT), bundle.adjust(problem, EXACT)
    assert ours.initial_cost == pytest.approx(theirs.initial_cost, rel=1e-6)
    assert ours.final_cost == pytest.approx(theirs.final_cost, rel=1e-4)
    # The valley is flat: at the same cost poses may differ by a hundredth of their own noise.
    np.testing.assert_allclose(ours.T_world_base, theirs.T_world_base, atol=2e-3)


def test_adjust_one_camera_with_odometry_ends_where_ceres_does(stereo_street):
    street = replace(stereo_street, cameras=stereo_street.cameras[:1])
    truth = street.problem(0.3)
    problem = replace(disturb(truth), relative=odometry(truth, scale=1.03))
    ours, theirs = adjust(problem, EXACT), bundle.adjust(problem, EXACT)
    np.testing.assert_allclose(ours.T_world_base, theirs.T_world_base, atol=2e-3)
    ours_m, truth_m = (
        np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1).sum()
        for T in (ours.T_world_base, truth.T_world_base)
    )
    # one camera cannot tell the scale: odometry does, and it is 3 % too long
    assert ours_m / truth_m == pytest.approx(1.03, abs=0.01)


def test_adjust_one_odometry_factor_far_off_is_down_weighted(stereo_street):
    truth = stereo_street.problem(0.2)
    factors = list(odometry(truth))
    wrong = factors[3].T_i_j.copy()
    wrong[:3, 3] *= 4.0  # a slip of 80 sigma and more
    factors[3] = replace(factors[3], T_i_j=wrong)
    result = adjust(replace(truth, relative=tuple(factors)), EXACT)
    error = np.linalg.norm(result.T_world_base[:, :3, 3] - truth.T_world_base[:, :3, 3], axis=1)
    assert error.max() < 0.03  # as of half a pixel of noise, test_bundle.py


def test_adjust_constant_poses_stay_bitwise(stereo_street):
    problem = stereo_street.problem()
    constant = np.zeros(8, dtype=bool)
    constant[[0, 3]] = True
    problem = disturb(replace(problem, is_constant=constant))
    result = adjust(replace(problem, relative=odometry(problem, 1.5)), BundleOptions())
    assert np.array_equal(result.T_world_base[[0, 3]], problem.T_world_base[[0, 3]])
    moved = np.abs(result.T_world_base - problem.T_world_base).max(axis=(1, 2))
    assert (moved[[1, 2, 4, 5, 6, 7]] > 1e-3).all()


def test_adjust_few_iterations_never_raise_the_cost(stereo_street):
    problem = disturb(stereo_street.problem(0.5), sigma_rad=0.2, sigma_m=2.0)
    for num in range(5):
        result = adjust(problem, BundleOptions(max_iterations=num))
        assert result.final_cost <= result.initial_cost
        assert (result.final_cost == result.initial_cost) == (num == 0)


def test_adjust_points_seen_once_and_not_finite_stay(stereo_street):
    problem = stereo_street.problem()
    points = problem.points_world.copy()
    points[7] = np.nan
    rows = np.flatnonzero(problem.point == 11)[1:]
    keep = np.ones(len(problem.point), dtype=bool)
    keep[rows] = False
    names = ("frame", "camera", "point", "uv_ideal_px")
    problem = replace(
        disturb(replace(problem, points_world=points)),
        **{n: getattr(problem, n)[keep] for n in names},
    )
    result = adjust(problem, EXACT)
    assert np.isnan(result.points_world[7]).all()
    assert np.array_equal(result.points_world[11], problem.points_world[11])
    np.testing.assert_allclose(
        result.T_world_base, stereo_street.problem().T_world_base, atol=1e-6
    )


def test_adjust_nothing_free_or_nothing_seen_changes_nothing(stereo_street):
    problem = disturb(stereo_street.problem())
    held = replace(problem, is_constant=np.ones(8, dtype=bool))
    assert np.array_equal(adjust(held, EXACT).T_world_base, problem.T_world_base)
    names = ("frame", "camera", "point", "uv_ideal_px")
    blind = replace(problem, **{n: getattr(problem, n)[:0] for n in names})
    assert np.array_equal(adjust(blind, EXACT).T_world_base, problem.T_world_base)


def test_adjust_gnss_factors_ends_where_ceres_does(stereo_street):
    truth = stereo_street.problem(0.4, is_constant=np.zeros(8, dtype=bool))
    problem = replace(truth, relative=odometry(truth), positions=fixes(truth, (0.5, 0.2, 0)))
    ours, theirs = adjust(problem, EXACT), bundle.adjust(problem, EXACT)
    assert ours.initial_cost == pytest.approx(theirs.initial_cost, rel=1e-6)
    assert ours.final_cost == pytest.approx(theirs.final_cost, rel=1e-4)
