from dataclasses import replace

import cv2
import numpy as np
import pytest

from seg2d3d_ros.geometry import cameras, transforms
from seg2d3d_ros.geometry.pose import PosePrior, RigObservations, find_rig_pose, refine_rig_pose

TRUTH = transforms.exp([0.02, -0.01, 0.4, 12.0, -3.0, 0.1])
START = TRUTH @ transforms.exp([0.02, 0.03, -0.05, 0.6, -0.4, 0.3])


@pytest.fixture
def seen(rig):
    return observe(rig)


@pytest.fixture
def rig(make_camera):
    """Three cameras: ahead, 60 degrees left, 60 degrees right."""
    return tuple(make_camera(f"c{yaw}", (0.5, yaw / 100, 1.6), yaw) for yaw in (0, 60, -60))


def observe(rig, noise_px=0.0, num=150, depth_m=(5.0, 40.0)):
    """What all cameras see from TRUTH: points drawn in each picture, at any depth."""
    rng = np.random.default_rng(0)
    camera = np.repeat(np.arange(len(rig)), num)
    uv = rng.uniform(0, (639, 399), (len(camera), 2))
    xy = np.concatenate([cameras.normalize(c, uv[camera == k]) for k, c in enumerate(rig)])
    p_cam = np.c_[xy, np.ones(len(xy))] * rng.uniform(*depth_m, (len(xy), 1))
    points = np.concatenate(
        [transforms.apply(TRUTH @ c.T_base_cam, p_cam[camera == k]) for k, c in enumerate(rig)]
    )
    noise = noise_px / 320.0 * rng.standard_normal(xy.shape)
    return RigObservations(rig, camera, points, xy + noise)


def subset(obs, rows):
    return replace(
        obs, camera=obs.camera[rows], points_world=obs.points_world[rows], xy=obs.xy[rows]
    )


def error(found):
    """Metres and radians off the truth."""
    delta = transforms.invert(TRUTH) @ found.T_world_base
    return np.linalg.norm(delta[:3, 3]), transforms.angle_rad(delta)


def test_refine_without_noise_is_exact(seen):
    found = refine_rig_pose(seen, START, 2.0)
    np.testing.assert_allclose(found.T_world_base, TRUTH, atol=1e-8)
    assert found.is_inlier.all()
    assert found.error_px.max() < 1e-5


def test_refine_start_at_the_truth_stays(seen):
    np.testing.assert_allclose(refine_rig_pose(seen, TRUTH, 2.0).T_world_base, TRUTH, atol=1e-12)


def test_refine_one_pixel_noise_is_within_its_arithmetic(rig):
    found = refine_rig_pose(observe(rig, 1.0), START, 3.0)
    metres, radians = error(found)
    # 1 px / 320 px = 3 mrad, over 450 observations 0.15 mrad, times 10 m of depth 2 mm
    assert metres < 0.02
    assert radians < 0.001


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_refine_outliers_are_named_and_ignored(rig, share):
    obs = observe(rig, 0.3)
    rng = np.random.default_rng(4)
    wrong = rng.permutation(len(obs.xy))[: int(share * len(obs.xy))]
    obs.xy[wrong] += rng.uniform(0.1, 0.8, (len(wrong), 2)) * rng.choice([-1, 1], (len(wrong), 2))
    found = refine_rig_pose(obs, START, 2.0)
    # 0.3 px: a third of the case above, with half of the observations
    metres, radians = error(found)
    assert metres < 0.02
    assert radians < 0.001
    expected = np.ones(len(obs.xy), dtype=bool)
    expected[wrong] = False
    np.testing.assert_array_equal(found.is_inlier, expected)


@pytest.mark.parametrize("num", [1, 2])
def test_refine_too_few_points_stay_within_the_prior(seen, num):
    near = TRUTH @ transforms.exp([0.002, -0.003, 0.002, 0.05, 0.05, -0.03])
    prior = PosePrior(near, np.diag([1 / 0.01**2] * 3 + [1 / 0.1**2] * 3))
    few = subset(seen, np.arange(num))
    found = refine_rig_pose(few, near, 2.0, prior)
    # the points are explained, and nothing moves by more than what the prior was off
    assert found.error_px.max() < 0.3
    moved = transforms.invert(near) @ found.T_world_base
    assert np.linalg.norm(moved[:3, 3]) < 0.1
    assert transforms.angle_rad(moved) < 0.01


def test_refine_nothing_seen_returns_the_prior(seen):
    nothing = subset(seen, [])
    found = refine_rig_pose(nothing, START, 2.0, PosePrior(TRUTH, np.eye(6) * 100.0))
    np.testing.assert_allclose(found.T_world_base, TRUTH, atol=1e-8)
    assert found.is_inlier.shape == found.error_px.shape == (0,)
    np.testing.assert_allclose(refine_rig_pose(nothing, START, 2.0).T_world_base, START)


def test_refine_points_at_infinity_turn_but_do_not_move_the_rig(rig):
    obs = observe(rig, 0.5, depth_m=(5e4, 9e4))
    prior = PosePrior(START, np.diag([1e-6] * 3 + [1e4] * 3))
    found = refine_rig_pose(obs, START, 2.0, prior)
    assert transforms.angle_rad(transforms.invert(TRUTH) @ found.T_world_base) < 0.001
    np.testing.assert_allclose(found.T_world_base[:3, 3], START[:3, 3], atol=0.05)


def test_refine_strong_prior_beats_weak_pictures(seen):
    prior = PosePrior(START, np.eye(6) * 1e14)
    found = refine_rig_pose(seen, START, 2.0, prior)
    np.testing.assert_allclose(found.T_world_base, START, atol=1e-5)


def test_refine_points_behind_the_cameras_are_no_inliers(seen):
    behind = seen.points_world.copy()
    center = TRUTH[:3, 3]
    behind[:20] = 2 * center - behind[:20]
    found = refine_rig_pose(replace(seen, points_world=behind), START, 2.0)
    np.testing.assert_allclose(found.T_world_base, TRUTH, atol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(~found.is_inlier), np.arange(20))


def test_refine_result_moves_with_the_world(rig):
    obs = observe(rig, 0.5)
    T = transforms.exp([0.2, 0.1, -2.0, 100.0, 50.0, -3.0])
    moved = replace(obs, points_world=transforms.apply(T, obs.points_world))
    a, b = refine_rig_pose(obs, START, 2.0), refine_rig_pose(moved, T @ START, 2.0)
    np.testing.assert_allclose(b.T_world_base, T @ a.T_world_base, atol=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_find_that_just_enough_agree_finds_the_pose(rig, seed):
    obs = observe(rig[:1])
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(len(obs.xy))[: int(0.6 * len(obs.xy))]
    xy = obs.xy.copy()
    xy[wrong] = rng.uniform(-0.9, 0.9, (len(wrong), 2))
    found = find_rig_pose(replace(obs, xy=xy), 2.0, 0.4 * len(xy))
    # no noise on the others: consensus is refined on them to a fraction of a pixel
    np.testing.assert_allclose(found, TRUTH, atol=0.02)


def test_find_that_needs_most_to_agree_draws_few_samples(seen, monkeypatch):
    drawn = []
    draw = cv2.solvePnPRansac
    monkeypatch.setattr(
        cv2,
        "solvePnPRansac",
        lambda *a, **k: drawn.append(k["iterationsCount"]) or draw(*a, **k),
    )
    of_one = subset(seen, seen.camera == 0)
    for share in (0.0, 0.4, 0.8):
        find_rig_pose(of_one, 2.0, share * len(of_one.xy))
    # four points at once are inliers in 0.4^4 = 0.026, 0.8^4 = 0.41 of all samples
    assert drawn == [200, 200, 18]
