import numpy as np
import pytest

from seg2d3d_ros.geometry import cameras
from seg2d3d_ros.types import Camera, Distortion


def camera(distortion, width, height, fx, fy, cx, cy, *D):
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    return Camera("c", width, height, K, np.eye(4), Distortion(distortion), np.array(D))


# real calibrations: EuRoC, KITTI raw before rectification, an Azure Kinect, a TUM-VI fisheye
REAL = {
    "none": camera("none", 640, 400, 320.0, 324.0, 319.5, 199.5),
    "plumb_bob_euroc": camera(
        "plumb_bob", 752, 480, 458.654, 457.296, 367.215, 248.375,
        -0.28340811, 0.07395907, 0.00019359, 1.76187114e-05, 0.0,
    ),
    "plumb_bob_kitti": camera(
        "plumb_bob", 1392, 512, 984.2439, 980.8141, 690.0, 233.1966,
        -0.3728755, 0.2037299, 0.002219027, 0.001383707, -0.07233722,
    ),
    "rational_kinect": camera(
        "rational_polynomial", 1280, 720, 607.0, 607.0, 640.0, 360.0,
        0.5, -2.6, 0.0006, -0.0002, 1.5, 0.38, -2.43, 1.42,
    ),
    "equidistant_tumvi": camera(
        "equidistant", 512, 512, 190.978, 190.973, 254.931, 256.897,
        0.0034823894, 0.000715034, -0.0020532361, 0.00020293673,
    ),
}  # fmt: skip


@pytest.fixture(params=REAL)
def real(request):
    return REAL[request.param]


def grid(camera, num=25):
    """Pixels (n, 2) all over the picture; for the fisheye those within 75 degrees of its axis."""
    u = np.linspace(0, camera.width_px - 1, num)
    v = np.linspace(0, camera.height_px - 1, num)
    uv = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    if camera.distortion == Distortion.EQUIDISTANT:
        radius = np.linalg.norm((uv - camera.K[:2, 2]) / camera.K[[0, 1], [0, 1]], axis=1)
        uv = uv[radius < np.deg2rad(75)]
    return uv


def test_project_of_points_along_rays_gives_their_pixels_back(real):
    uv = grid(real)
    depth = np.linspace(0.5, 60.0, len(uv))[:, None]
    points = cameras.rays(real, uv) * depth
    seen, inside = cameras.project(real, points)
    # the undistortion stops at 1e-9 px (OpenCV's fisheye: 1e-8 rad, times 191 px)
    np.testing.assert_allclose(seen, uv, atol=5e-6)
    assert inside.all()


def test_ideal_pixels_are_what_a_pinhole_would_see(real):
    uv = grid(real)
    xy = cameras.normalize(real, uv)
    expected = (np.c_[xy, np.ones(len(xy))] @ real.K.T)[:, :2]
    np.testing.assert_allclose(cameras.ideal_pixels(real, uv), expected, atol=1e-9)


def test_distort_principal_point_stays(real):
    np.testing.assert_allclose(cameras.distort(real, np.zeros((1, 2)))[0], real.K[:2, 2])


def test_barrel_distortion_pulls_corners_inwards():
    euroc = REAL["plumb_bob_euroc"]
    ideal = cameras.ideal_pixels(euroc, np.array([[0.0, 0.0]]))[0]
    # EuRoC's corners lie 1.2 focal lengths out, where 1 / (1 - 0.28 r^2 + 0.07 r^4) is about 1.35
    assert (ideal < [-120, -80]).all()
    assert (ideal > [-150, -105]).all()


def test_project_behind_and_beside_the_camera_is_nan(real):
    points = np.array([[0.0, 0.0, -5.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.01], [0.0, 0.0, 5.0]])
    uv, inside = cameras.project(real, points)
    assert np.isnan(uv[:3]).all()
    np.testing.assert_array_equal(inside, [False, False, False, True])


def test_project_nan_points_are_nan_and_outside(real):
    uv, inside = cameras.project(real, np.array([[np.nan, 0, 5], [0, 0, np.nan], [0.1, 0.1, 5]]))
    assert np.isnan(uv[:2]).any(axis=1).all()
    np.testing.assert_array_equal(inside, [False, False, True])


@pytest.mark.parametrize("slope", [2.0, 5.0, 20.0])
@pytest.mark.parametrize("name", [n for n in REAL if n != "equidistant_tumvi"])
def test_project_far_outside_the_view_does_not_fold_back(name, slope):
    # polynomials bring rays far from the axis back into the picture
    sideways = np.array([[slope, 0.0, 1.0], [-slope, 0.1, 1.0], [0.0, slope, 1.0]])
    assert not cameras.project(REAL[name], sideways)[1].any()


def test_project_fisheye_sees_almost_sideways():
    fisheye = REAL["equidistant_tumvi"]
    angles = np.deg2rad([60.0, 75.0, 85.0])
    points = np.stack([np.zeros(3), np.sin(angles), np.cos(angles)], axis=1)
    uv, inside = cameras.project(fisheye, points)
    # equidistant: the radius is the angle times the focal length, but for D (1 %)
    radius = uv[:, 1] - fisheye.K[1, 2]
    np.testing.assert_allclose(radius, angles * fisheye.K[1, 1], rtol=0.02)
    np.testing.assert_array_equal(inside, [True, True, False])


def test_project_pixel_edges_belong_to_the_picture():
    pinhole = REAL["none"]
    uv = np.array([[-0.4, 0.0], [-0.6, 0.0], [639.4, 399.4], [639.6, 0.0], [0.0, 399.6]])
    points = cameras.rays(pinhole, uv)
    np.testing.assert_array_equal(
        cameras.project(pinhole, points)[1], [True, False, True, False, False]
    )


def test_normalize_and_project_nothing_give_nothing(real):
    assert cameras.normalize(real, np.zeros((0, 2))).shape == (0, 2)
    assert cameras.rays(real, np.zeros((0, 2))).shape == (0, 3)
    assert cameras.ideal_pixels(real, np.zeros((0, 2))).shape == (0, 2)
    uv, inside = cameras.project(real, np.zeros((0, 3)))
    assert uv.shape == (0, 2)
    assert inside.shape == (0,)


def test_focal_is_the_mean_of_both_axes():
    assert cameras.focal_px(REAL["none"]) == 322.0
