import numpy as np
import pytest

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.parallax import depth_along_rays

T_REF_CAM = transforms.exp([0.05, -0.2, 0.1, 1.5, -0.3, 0.8])


@pytest.fixture
def rays():
    """Ideal coordinates of 200 rays in the first view, with their depths."""
    rng = np.random.default_rng(3)
    return rng.uniform(-0.8, 0.8, (200, 2)), rng.uniform(3, 60, 200)


def seen_by(T_ref_cam, xy, depth):
    p = transforms.apply(T_ref_cam, np.c_[xy, np.ones(len(xy))] * depth[:, None])
    return p[:, :2] / p[:, 2:], p[:, 2]


def test_depth_along_rays_exact_matches_gives_the_exact_depth(rays):
    xy, depth = rays
    xy_ref, depth_ref = seen_by(T_REF_CAM, xy, depth)
    found = depth_along_rays(xy, xy_ref, T_REF_CAM)
    np.testing.assert_allclose(1.0 / found.inverse_depth, depth, rtol=1e-9)
    np.testing.assert_allclose(found.depth_ref, depth_ref, rtol=1e-9)
    np.testing.assert_allclose(found.residual, 0.0, atol=1e-12)


def test_depth_along_rays_match_beside_the_epipolar_line_is_told_by_the_residual(rays):
    xy, depth = rays
    xy_ref, _ = seen_by(T_REF_CAM, xy, depth)
    along = seen_by(T_REF_CAM, xy, depth * 1.0001)[0] - xy_ref
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    beside = 0.002 * np.c_[-along[:, 1], along[:, 0]]
    found = depth_along_rays(xy, xy_ref + beside, T_REF_CAM)
    # the foot on the line lies at the distance it was moved by, to the second order
    np.testing.assert_allclose(found.residual, 0.002, rtol=0.02)


def test_depth_along_rays_sensitivity_is_the_shift_by_a_small_change_of_inverse_depth(rays):
    xy, depth = rays
    xy_ref, _ = seen_by(T_REF_CAM, xy, depth)
    shifted, _ = seen_by(T_REF_CAM, xy, 1.0 / (1.0 / depth + 1e-6))
    expected = np.linalg.norm(shifted - xy_ref, axis=1) / 1e-6
    found = depth_along_rays(xy, xy_ref, T_REF_CAM)
    np.testing.assert_allclose(found.sensitivity, expected, rtol=1e-3)


def test_depth_along_rays_parting_rays_have_no_positive_depth(rays):
    xy, depth = rays
    xy_ref, _ = seen_by(T_REF_CAM, xy, depth)
    at_infinity, _ = seen_by(T_REF_CAM, xy, np.full(len(xy), 1e9))
    found = depth_along_rays(xy, 2.0 * at_infinity - xy_ref, T_REF_CAM)
    assert (found.inverse_depth < 0).mean() > 0.95


def test_depth_along_rays_coincident_centres_tell_nothing(rays):
    xy, depth = rays
    turn = transforms.exp([0.1, 0.0, 0.0, 0.0, 0.0, 0.0])
    found = depth_along_rays(xy, seen_by(turn, xy, depth)[0], turn)
    assert (found.sensitivity == 0).all()
    assert (found.inverse_depth == 0).all()
