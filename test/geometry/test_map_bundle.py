from dataclasses import replace

import numpy as np
import pytest
from bundle_maker import disturb, fixes, odometry

from seg2d3d_ros.geometry import bundle, transforms
from seg2d3d_ros.geometry.bundle import BundleOptions
from seg2d3d_ros.geometry.map_bundle import adjust

EXACT = BundleOptions(max_iterations=80, function_tolerance=1e-15)


def test_adjust_stereo_without_noise_recovers_poses_and_points_exactly(stereo_street):
    truth = stereo_street.problem()
    result = adjust(disturb(truth), EXACT)
    np.testing.assert_allclose(result.T_world_base, truth.T_world_base, atol=1e-6)
    seen = np.bincount(truth.point, minlength=150) >= 2
    np.testing.assert_allclose(result.points_world[seen], truth.points_world[seen], atol=1e-4)
    assert result.final_cost < 1e-9 < result.initial_cost


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("is_robust", [True, False])
def test_adjust_outliers_odometry_and_fixes_ends_where_ceres_does(stereo_street, seed, is_robust):
    truth = stereo_street.problem(0.4, is_constant=np.zeros(8, dtype=bool))
    uv = truth.uv_ideal_px.copy()
    uv[seed::25] += 40.0
    told = odometry(truth, 1.1, is_robust)
    problem = replace(truth, uv_ideal_px=uv, relative=told, positions=fixes(truth, (0.5, 0.2, 0)))
    options = replace(EXACT, sigma_px=3.0)
    look = replace(options, max_iterations=0)
    costs = [solve(problem, look).initial_cost for solve in (adjust, bundle.adjust)]
    assert costs[0] == pytest.approx(costs[1], rel=1e-9)  # where rotations are as odometry says
    problem = disturb(problem, seed=seed)
    ours, theirs = adjust(problem, options), bundle.adjust(problem, options)
    assert ours.final_cost == pytest.approx(theirs.final_cost, rel=1e-3)
    # The valley is flat: at the same cost poses may differ by a hundredth of their own noise.
    np.testing.assert_allclose(ours.T_world_base, theirs.T_world_base, atol=2e-3)


def test_adjust_long_loop_with_mixed_numbers_ends_where_ceres_does(stereo_street):
    num = 36
    rng = np.random.default_rng(3)
    yaw = 2.0 * np.pi * rng.permutation(num) / num  # neighbours on the loop are none by number
    poses = np.stack(
        [transforms.exp([0, 0, a, 20.0 * np.sin(a), -20.0 * np.cos(a), 0]) for a in yaw]
    )
    angle, radius = rng.uniform(0.0, 2.0 * np.pi, 500), rng.uniform(24.0, 30.0, 500)
    points = np.stack([radius * np.sin(angle), -radius * np.cos(angle)], axis=1)
    points = np.c_[points, rng.uniform(0.0, 5.0, 500)]
    street = replace(stereo_street, T_world_base=poses, points=points)
    problem = disturb(street.problem(0.4))
    views = np.unique(np.stack([problem.point, problem.frame], axis=1), axis=0)
    assert np.bincount(views[:, 0]).max() < num / 2  # a ring of frames, not all with all
    ours, theirs = adjust(problem, EXACT), bundle.adjust(problem, EXACT)
    assert ours.final_cost == pytest.approx(theirs.final_cost, rel=1e-4)
    np.testing.assert_allclose(ours.T_world_base, theirs.T_world_base, atol=5e-3)


def test_adjust_factors_alone_ends_where_they_say(stereo_street):
    truth = stereo_street.problem()
    told = replace(
        truth,
        relative=odometry(truth),
        **{n: getattr(truth, n)[:0] for n in ("frame", "camera", "point", "uv_ideal_px")},
    )
    result = adjust(disturb(told), EXACT)
    np.testing.assert_allclose(result.T_world_base, truth.T_world_base, atol=1e-6)


def test_adjust_one_wrong_fix_is_down_weighted(stereo_street):
    truth = stereo_street.problem(is_constant=np.zeros(8, dtype=bool))
    result = adjust(disturb(replace(truth, positions=fixes(truth))), EXACT)
    error = np.linalg.norm(result.T_world_base[:, :3, 3] - truth.T_world_base[:, :3, 3], axis=1)
    # the mean of eight fixes would be off by 30 / 8 = 4 m
    assert error.max() < 0.02


def test_adjust_constant_poses_stay_bitwise_and_hold_the_others(stereo_street):
    truth = stereo_street.problem()
    constant = np.zeros(8, dtype=bool)
    constant[[0, 3, 4]] = True
    told = replace(
        truth, is_constant=constant, relative=odometry(truth, 1.5), positions=fixes(truth)
    )
    problem = disturb(told)
    result = adjust(problem, EXACT)
    assert np.array_equal(result.T_world_base[constant], truth.T_world_base[constant])
    expected = bundle.adjust(problem, EXACT)
    np.testing.assert_allclose(result.T_world_base, expected.T_world_base, atol=2e-3)
    assert np.abs(result.T_world_base - problem.T_world_base).max(axis=(1, 2))[5:].min() > 1e-3


def test_adjust_order_of_frames_and_observations_does_not_matter(stereo_street):
    problem = disturb(replace(stereo_street.problem(0.4), relative=()))
    rng = np.random.default_rng(5)
    new_of_old = rng.permutation(8)
    rows = rng.permutation(len(problem.frame))
    old_of_new = np.argsort(new_of_old)
    shuffled = replace(
        problem,
        T_world_base=problem.T_world_base[old_of_new],
        is_constant=problem.is_constant[old_of_new],
        frame=new_of_old[problem.frame][rows],
        **{n: getattr(problem, n)[rows] for n in ("camera", "point", "uv_ideal_px")},
    )
    a, b = adjust(problem, BundleOptions()), adjust(shuffled, BundleOptions())
    np.testing.assert_allclose(b.T_world_base[new_of_old], a.T_world_base, atol=1e-8)


def test_adjust_few_iterations_never_raise_the_cost(stereo_street):
    problem = disturb(stereo_street.problem(0.5), sigma_rad=0.2, sigma_m=2.0)
    for num in range(5):
        result = adjust(problem, BundleOptions(max_iterations=num))
        assert result.final_cost <= result.initial_cost
        assert (result.final_cost == result.initial_cost) == (num == 0)
        again = replace(
            problem, T_world_base=result.T_world_base, points_world=result.points_world
        )
        reported = adjust(again, BundleOptions(max_iterations=0)).initial_cost
        assert result.final_cost == pytest.approx(reported, rel=1e-9)


def test_adjust_points_seen_once_and_not_finite_stay(stereo_street):
    problem = stereo_street.problem()
    points = problem.points_world.copy()
    points[7] = np.nan
    keep = np.ones(len(problem.point), dtype=bool)
    keep[np.flatnonzero(problem.point == 11)[1:]] = False
    names = ("frame", "camera", "point", "uv_ideal_px")
    problem = replace(
        disturb(replace(problem, points_world=points)),
        **{n: getattr(problem, n)[keep] for n in names},
    )
    result = adjust(problem, EXACT)
    assert np.isnan(result.points_world[7]).all()
    assert np.array_equal(result.points_world[11], problem.points_world[11])
    truth = stereo_street.problem().T_world_base
    np.testing.assert_allclose(result.T_world_base, truth, atol=1e-6)


def test_adjust_frame_that_nothing_speaks_of_stays(stereo_street):
    problem = disturb(stereo_street.problem())
    rows = problem.frame != 5
    names = ("frame", "camera", "point", "uv_ideal_px")
    problem = replace(problem, **{n: getattr(problem, n)[rows] for n in names})
    result = adjust(problem, EXACT)
    assert np.array_equal(result.T_world_base[5], problem.T_world_base[5])
    truth = stereo_street.problem().T_world_base
    np.testing.assert_allclose(
        np.delete(result.T_world_base, 5, 0), np.delete(truth, 5, 0), atol=1e-6
    )


def test_adjust_with_threads_gives_the_same_bit_by_bit(stereo_street):
    problem = disturb(stereo_street.problem(0.4))
    alone, *others = (
        adjust(problem, BundleOptions(max_iterations=8, num_threads=n)) for n in (1, 2, 3, 7)
    )
    for other in others:
        assert other.T_world_base.tobytes() == alone.T_world_base.tobytes()
        assert other.points_world.tobytes() == alone.points_world.tobytes()
        assert other.final_cost == alone.final_cost


@pytest.mark.parametrize("num_points", [0, 1, 2, 3, 5])
def test_adjust_fewer_points_than_shares_still_adjusts_them(stereo_street, num_points):
    truth = replace(stereo_street.problem(), is_constant=np.ones(8, dtype=bool))
    constant = truth.is_constant.copy()
    constant[5] = False
    rows = np.isin(truth.point, np.unique(truth.point)[:num_points])
    names = ("frame", "camera", "point", "uv_ideal_px")
    few = {n: getattr(truth, n)[rows] for n in names}
    problem = disturb(replace(truth, is_constant=constant, **few))
    result = adjust(problem, EXACT)
    seen = np.unique(few["point"])
    np.testing.assert_allclose(result.points_world[seen], truth.points_world[seen], atol=1e-5)
    unseen = np.setdiff1d(np.arange(len(truth.points_world)), seen)
    assert np.array_equal(result.points_world[unseen], problem.points_world[unseen])
