"""Patches drawn as another camera sees them, in the corridor with its level ground."""

import numpy as np
import pytest

from seg2d3d_ros.clusters.patches import (
    dissimilarity,
    draw_patches,
    find_patches,
    height_of,
    is_low,
    level_steps,
    windows,
)
from seg2d3d_ros.clusters.tracker import Tracker
from seg2d3d_ros.geometry import transforms

HERE = transforms.rigid(np.eye(3), [20.0, 0.5, 0.0])


def corners_on_ground(corridor, camera, image, nearest_m=4.0, farthest_m=14.0):
    """Corners (n, 2) of a picture that show ground, and where that is, in its frame (n, 3)."""
    tracker = Tracker(2000, 6)
    tracker.advance(image, tracker.uv_px)
    uv = tracker.find_corners(None)
    points, plane, depth = corridor.hit(camera, HERE, uv)
    on = (plane == 0) & (depth > nearest_m) & (depth < farthest_m)
    T_cam_world = transforms.invert(HERE @ camera.T_base_cam)
    return uv[on], transforms.apply(T_cam_world, points[on])


@pytest.fixture
def pair(corridor, make_camera):
    """Two cameras 0.8 m apart, their pictures, and the ground that both see."""
    a, b = make_camera("a", 0.4, zoom=2), make_camera("b", -0.4, zoom=2)
    images = corridor.render(a, HERE), corridor.render(b, HERE)
    uv_b, points_b = corners_on_ground(corridor, b, images[1])
    T_a_b = transforms.invert(a.T_base_cam) @ b.T_base_cam
    points_a = transforms.apply(T_a_b, points_b)
    uv_a = points_a[:, :2] / points_a[:, 2:] * a.K[[0, 1], [0, 1]] + a.K[:2, 2]
    inside = ((uv_a > 20) & (uv_a < [619, 363]) & (uv_b > 20) & (uv_b < [619, 363])).all(axis=1)
    return a, b, images, uv_a[inside], uv_b[inside], points_b[inside]


def test_level_steps_of_two_cameras_are_the_shear_of_the_ground(pair):
    a, b, _, _, uv_b, points_b = pair
    T_a_b = transforms.invert(a.T_base_cam) @ b.T_base_cam
    steps = level_steps(b, uv_b, height_of(b, points_b), a, T_a_b)
    # disparity f b / z with z = f h / v: b / h per row, 0.8 m over 1.6 m, and none per column
    expected = np.array([[1.0, 0.8 / 1.6], [0.0, 1.0]])
    np.testing.assert_allclose(steps, np.broadcast_to(expected, steps.shape), atol=1e-9)


def test_level_steps_of_ground_that_the_other_does_not_see_are_nan(make_camera):
    ahead, back = make_camera("a"), make_camera("b", 0.0, 180.0)
    T = transforms.invert(back.T_base_cam) @ ahead.T_base_cam
    steps = level_steps(ahead, np.array([[160.0, 150.0]]), np.array([-1.6]), back, T)
    assert np.isnan(steps).all()


def test_is_low_half_a_metre_below_the_camera_is_and_nowhere_is_not(make_camera):
    points = np.array([[0, 0.6, 5.0], [0, 0.4, 5.0], [0, -2.0, 5.0], [np.nan] * 3])
    assert is_low(make_camera(), points).tolist() == [True, False, False, False]


def test_find_patches_drawn_level_are_found_where_unsheared_ones_are_not(pair):
    a, b, images, uv_a, uv_b, points_b = pair
    T_a_b = transforms.invert(a.T_base_cam) @ b.T_base_cam
    level = level_steps(b, uv_b, height_of(b, points_b), a, T_a_b)
    wrong = {}
    for name, steps in (("level", level), ("upright", np.tile(np.eye(2), (len(uv_b), 1, 1)))):
        drawn = draw_patches(images[0], uv_a, steps)
        start = uv_b + np.random.default_rng(2).normal(0.0, 0.7, uv_b.shape)
        found, misfit = find_patches(drawn, images[1], start)
        off = np.linalg.norm(found - uv_b, axis=1)
        wrong[name] = np.median(np.where(np.isfinite(misfit), off, np.inf))
    assert len(uv_b) > 30
    # grey values are whole numbers, and pixels of the two pictures cover unlike pieces of ground
    assert wrong["level"] < 0.15
    assert wrong["upright"] > 3 * wrong["level"]


def test_dissimilarity_ignores_exposure_and_tells_other_places_apart(pair):
    _, _, images, _, uv_b, _ = pair
    seen = windows(images[1], uv_b)
    np.testing.assert_allclose(dissimilarity(seen, 0.5 * seen + 20.0), 0.0, atol=1e-9)
    assert np.median(dissimilarity(seen, windows(images[1], uv_b[::-1]))) > 0.5
