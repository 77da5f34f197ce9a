import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.alignment import align_points

T_A_B = transforms.exp([0.3, -0.5, 1.1, 20.0, -7.0, 2.0])


def cloud(n=80, seed=0):
    return np.random.default_rng(seed).uniform(-15.0, 15.0, (n, 3))


def similarity(scale):
    S = T_A_B.copy()
    S[:3, :3] *= scale
    return S


def test_align_points_without_noise_is_exact():
    b = cloud()
    found = align_points(transforms.apply(T_A_B, b), b)
    np.testing.assert_allclose(found.S_a_b, T_A_B, atol=1e-12)
    assert found.scale == 1.0
    assert found.residual_m < 1e-12
    assert found.inlier_ratio == 1.0
    assert not found.is_degenerate


@pytest.mark.parametrize("scale", [0.01, 0.7, 1.0, 40.0])
def test_align_points_similarity_finds_the_scale(scale):
    b = cloud()
    found = align_points(transforms.apply(similarity(scale), b), b, with_scale=True)
    assert found.scale == pytest.approx(scale)
    np.testing.assert_allclose(found.S_a_b, similarity(scale), atol=1e-10)


def test_align_points_rigid_of_scaled_cloud_keeps_scale_one_and_says_the_residual():
    b = cloud()
    found = align_points(transforms.apply(similarity(1.1), b), b)
    assert found.scale == 1.0
    assert np.linalg.det(found.S_a_b[:3, :3]) == pytest.approx(1.0)
    # 10 % of a point's typical distance from the middle, 15 m
    assert found.residual_m == pytest.approx(1.5, rel=0.2)


def test_align_points_noise_averages_out():
    b = cloud(400)
    a = transforms.apply(T_A_B, b) + 0.1 * np.random.default_rng(1).standard_normal(b.shape)
    found = align_points(a, b)
    # 0.1 m / sqrt(400) = 5 mm per axis of translation; 0.1 / (8.7 * sqrt(400)) = 0.6 mrad of turn
    error = transforms.invert(T_A_B) @ found.S_a_b
    assert np.linalg.norm(error[:3, 3]) < 0.04
    assert transforms.angle_rad(error) < 0.003


@pytest.mark.parametrize("with_scale", [False, True])
def test_align_points_a_third_of_outliers_is_ignored(with_scale):
    rng = np.random.default_rng(2)
    b = cloud(200)
    S = similarity(1.3 if with_scale else 1.0)
    a = transforms.apply(S, b) + 0.02 * rng.standard_normal(b.shape)
    a[:60] += rng.uniform(3.0, 25.0, (60, 3))  # all to one side, as a wrong loop would do
    found = align_points(a, b, with_scale, delta_m=0.1)
    # 0.02 m / sqrt(140) = 2 mm; what 60 outliers still pull is below the Huber width
    assert (
        np.linalg.norm(
            transforms.apply(found.S_a_b, b)[60:] - transforms.apply(S, b)[60:], axis=1
        ).max()
        < 0.05
    )
    assert found.inlier_ratio == pytest.approx(0.7, abs=0.01)
    assert found.residual_m < 0.06


def test_align_points_plain_least_squares_is_pulled_by_outliers():
    b = cloud(200)
    a = transforms.apply(T_A_B, b)
    a[:60] += 10.0
    plain = align_points(a, b).S_a_b
    assert np.linalg.norm(transforms.apply(plain, b)[60:] - a[60:], axis=1).min() > 1.0


def test_align_points_weight_zero_takes_a_point_out():
    b = cloud()
    a = transforms.apply(T_A_B, b)
    a[0] += 100.0
    weights = np.ones(len(b))
    weights[0] = 0.0
    np.testing.assert_allclose(align_points(a, b, weights=weights).S_a_b, T_A_B, atol=1e-10)


def test_align_points_straight_street_is_degenerate_yet_fits_the_line():
    b = np.c_[np.linspace(0, 50, 30), np.zeros((30, 2))]
    a = transforms.apply(T_A_B, b)
    found = align_points(a, b, delta_m=0.1)
    assert found.is_degenerate
    np.testing.assert_allclose(transforms.apply(found.S_a_b, b), a, atol=1e-9)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_align_points_too_few_are_degenerate(n):
    found = align_points(cloud(n), cloud(n, 1), delta_m=0.1)
    assert found.is_degenerate
    np.testing.assert_array_equal(found.S_a_b, np.eye(4))


def test_align_points_coincident_points_are_degenerate():
    assert align_points(np.ones((10, 3)), np.zeros((10, 3)), with_scale=True).is_degenerate


def test_align_points_plane_is_enough():
    b = cloud() * [1.0, 1.0, 0.0]
    found = align_points(transforms.apply(T_A_B, b), b)
    assert not found.is_degenerate
    np.testing.assert_allclose(found.S_a_b, T_A_B, atol=1e-10)


def test_align_points_mirrored_cloud_never_gives_a_reflection():
    b = cloud()
    R = align_points(b * [1.0, 1.0, -1.0], b).S_a_b[:3, :3]
    assert np.linalg.det(R) == pytest.approx(1.0)


@given(st.lists(st.floats(-1.5, 1.5), min_size=6, max_size=6))
@settings(max_examples=30, deadline=None)
def test_align_points_moving_the_target_moves_the_result(xi):
    # equivariance holds with noise and outliers too: only distances enter
    rng = np.random.default_rng(3)
    b = cloud(60)
    a = transforms.apply(T_A_B, b) + 0.05 * rng.standard_normal(b.shape)
    a[:10] += 8.0
    T = transforms.exp(np.array(xi) * [1, 1, 1, 20, 20, 20])
    before = align_points(a, b, delta_m=0.1)
    after = align_points(transforms.apply(T, a), b, delta_m=0.1)
    np.testing.assert_allclose(after.S_a_b, T @ before.S_a_b, atol=1e-6)
    assert after.residual_m == pytest.approx(before.residual_m, abs=1e-8)
