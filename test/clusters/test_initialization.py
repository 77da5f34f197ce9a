from dataclasses import replace

import numpy as np
import pytest

from seg2d3d_ros.clusters.initialization import two_view
from seg2d3d_ros.geometry import transforms

FORWARD = transforms.exp([0.0, 0.0, 0.02, 2.0, 0.2, 0.0])


def matches(camera, T_i_j, noise_px=0.0, num=200, spread=(8.0, 30.0), wrong=0.0):
    """Ideal coordinates of points in front of the first picture, and in the second."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(-0.6, 0.6, (num, 2))
    points = np.c_[xy, np.ones(num)] * rng.uniform(*spread, (num, 1))
    T_cami_camj = transforms.invert(camera.T_base_cam) @ T_i_j @ camera.T_base_cam
    other = transforms.apply(transforms.invert(T_cami_camj), points)
    xy_j = other[:, :2] / other[:, 2:] + noise_px / 190.0 * rng.standard_normal((num, 2))
    bad = rng.random(num) < wrong
    xy_j[bad] = rng.uniform(-0.6, 0.6, (int(bad.sum()), 2))
    return xy, xy_j


def direction_error_deg(T, T_gt):
    a, b = T[:3, 3] / np.linalg.norm(T[:3, 3]), T_gt[:3, 3] / np.linalg.norm(T_gt[:3, 3])
    return np.rad2deg(np.arccos(np.clip(a @ b, -1, 1)))


@pytest.mark.parametrize("yaw_deg", [0.0, 40.0])
def test_two_view_without_noise_finds_the_motion_of_the_vehicle(make_camera, yaw_deg):
    camera = make_camera(yaw_deg=yaw_deg)
    found = two_view(camera, *matches(camera, FORWARD))
    # the camera sits 0.4 m from base_link, whose own translation has the scale of the guess: what
    # is known is the motion of the camera
    cam = [transforms.invert(camera.T_base_cam) @ T @ camera.T_base_cam for T in (found, FORWARD)]
    assert direction_error_deg(*cam) < 0.01
    assert transforms.angle_rad(transforms.invert(cam[0]) @ cam[1]) < 1e-4


def test_two_view_scale_puts_the_median_depth_where_asked(make_camera):
    camera = replace(
        make_camera(), T_base_cam=transforms.rigid(transforms.R_BODY_OPTICAL, [0, 0, 0])
    )
    pair = matches(camera, FORWARD)
    depth = 19.0  # median of 8..30
    near, far = (two_view(camera, *pair, typical_depth=d) for d in (depth, 2 * depth))
    assert np.linalg.norm(far[:3, 3]) == pytest.approx(2 * np.linalg.norm(near[:3, 3]))
    assert np.linalg.norm(near[:3, 3]) == pytest.approx(np.linalg.norm(FORWARD[:3, 3]), rel=0.1)


def test_two_view_noise_and_outliers_keep_the_direction(make_camera):
    camera = replace(
        make_camera(), T_base_cam=transforms.rigid(transforms.R_BODY_OPTICAL, [0, 0, 0])
    )
    found = two_view(camera, *matches(camera, FORWARD, noise_px=0.3, num=300, wrong=0.2))
    # 0.3 px / 190 px = 0.09 deg a ray; 2 m ahead move a point 25 deg off the axis by 2.5 deg: one
    # pair tells the direction to 3 deg, 240 pairs to 0.2 deg, some five times that as rotation is
    # unknown too
    assert direction_error_deg(found, FORWARD) < 3.0
    assert np.rad2deg(transforms.angle_rad(transforms.invert(found) @ FORWARD)) < 0.3


def test_two_view_most_matches_fixed_to_the_camera_are_not_heard(make_camera):
    camera = make_camera()
    xy_i, xy_j = matches(camera, FORWARD)
    bonnet = np.random.default_rng(1).uniform((-0.6, 0.3), (0.6, 0.6), (400, 2))
    dirty = two_view(camera, np.r_[xy_i, bonnet], np.r_[xy_j, bonnet])
    clean = two_view(camera, xy_i, xy_j)
    assert np.rad2deg(transforms.angle_rad(transforms.invert(dirty) @ clean)) < 1e-6
    assert direction_error_deg(dirty, clean) < 1e-6


def test_two_view_too_short_a_way_is_none(make_camera):
    short = transforms.exp([0.0, 0.0, 0.0, 0.4, 0.0, 0.0])
    assert two_view(make_camera(), *matches(make_camera(), short)) is None


def test_two_view_without_motion_is_none(make_camera):
    camera = make_camera()
    assert two_view(camera, *matches(camera, np.eye(4), noise_px=0.3)) is None


def test_two_view_pure_rotation_invents_no_confident_forward_motion(make_camera):
    # a turn on the spot has flow but no parallax: no depth is positive for most points
    camera = replace(
        make_camera(), T_base_cam=transforms.rigid(transforms.R_BODY_OPTICAL, [0, 0, 0])
    )
    turn = transforms.exp([0.0, 0.0, 0.15, 0.0, 0.0, 0.0])
    found = two_view(camera, *matches(camera, turn, noise_px=0.2))
    assert found is None


def test_two_view_too_few_matches_is_none(make_camera):
    camera = make_camera()
    xy_i, xy_j = matches(camera, FORWARD)
    assert two_view(camera, xy_i[:49], xy_j[:49]) is None
    assert two_view(camera, xy_i[:0], xy_j[:0]) is None
    assert two_view(camera, xy_i[:60], xy_j[:60]) is not None


def test_two_view_points_on_a_plane_are_enough(make_camera):
    # the five-point method has no planar degeneracy as long as both pictures are calibrated
    camera = replace(
        make_camera(), T_base_cam=transforms.rigid(transforms.R_BODY_OPTICAL, [0, 0, 0])
    )
    sideways = transforms.exp([0.0, 0.0, 0.01, 0.2, 1.0, 0.0])
    found = two_view(camera, *matches(camera, sideways, noise_px=0.1, spread=(15.0, 15.001)))
    assert direction_error_deg(found, sideways) < 3.0


def test_two_view_random_matches_are_none(make_camera):
    rng = np.random.default_rng(1)
    xy = rng.uniform(-0.6, 0.6, (2, 200, 2))
    assert two_view(make_camera(), *xy) is None


def test_two_view_twice_is_bitwise_equal(make_camera):
    pair = matches(make_camera(), FORWARD, noise_px=0.3, wrong=0.2)
    np.testing.assert_array_equal(two_view(make_camera(), *pair), two_view(make_camera(), *pair))
