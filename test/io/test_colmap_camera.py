import cv2  # noqa: F401  (must precede pycolmap)
import numpy as np
import pycolmap
import pytest

from seg2d3d_ros.errors import CalibrationError
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.io.colmap_camera import read_camera, write_camera
from seg2d3d_ros.types import Camera, Distortion

K = np.array([[300.0, 0.0, 311.0], [0.0, 310.0, 187.0], [0.0, 0.0, 1.0]])
LENSES = {
    Distortion.NONE: [],
    Distortion.PLUMB_BOB: [-0.18, 0.04, 0.0005, -0.0003, -0.002],
    Distortion.RATIONAL_POLYNOMIAL: [0.35, 0.06, 0.0003, -0.0002, 0.002, 0.62, 0.14, 0.012],
    Distortion.EQUIDISTANT: [0.02, -0.006, 0.003, -0.0008],
}
POINTS = np.random.default_rng(0).uniform([-4, -2, 6], [4, 2, 9], (40, 3))


def lens(distortion, D=None):
    D = LENSES[distortion] if D is None else D
    return Camera("front", 640, 384, K, np.eye(4), distortion, np.array(D))


@pytest.mark.parametrize("distortion", LENSES)
def test_write_camera_projects_as_ours_half_a_pixel_further(distortion):
    camera = lens(distortion)
    told = write_camera(3, camera).img_from_cam(POINTS)
    ours, is_seen = models.project(camera, POINTS)
    assert is_seen.sum() > 30
    np.testing.assert_allclose(told[is_seen], ours[is_seen] + 0.5, atol=1e-6)


@pytest.mark.parametrize("distortion", LENSES)
def test_read_camera_undoes_write_camera(distortion):
    camera = lens(distortion)
    again = read_camera("front", write_camera(1, camera), np.eye(4))
    np.testing.assert_allclose(again.K, camera.K, atol=1e-12)
    ours, is_seen = models.project(camera, POINTS)
    np.testing.assert_allclose(models.project(again, POINTS)[0][is_seen], ours[is_seen], atol=1e-9)


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("SIMPLE_PINHOLE", [300, 320, 192]),
        ("SIMPLE_RADIAL", [300, 320, 192, -0.1]),
        ("RADIAL", [300, 320, 192, -0.1, 0.02]),
        ("OPENCV", [300, 310, 320, 192, -0.1, 0.02, 0.001, -0.002]),
        ("FULL_OPENCV", [300, 310, 320, 192, 0.1, 0.02, 0.001, -0.002, 0.01, 0.2, 0.05, 0.01]),
        ("SIMPLE_RADIAL_FISHEYE", [300, 320, 192, -0.02]),
        ("RADIAL_FISHEYE", [300, 320, 192, -0.02, 0.004]),
        ("OPENCV_FISHEYE", [300, 310, 320, 192, 0.02, -0.006, 0.003, -0.0008]),
    ],
)
def test_read_camera_every_lens_projects_as_in_colmap(model, params):
    found = pycolmap.Camera(camera_id=1, model=model, width=640, height=384, params=params)
    camera = read_camera("front", found, np.eye(4))
    ours, is_seen = models.project(camera, POINTS)
    assert is_seen.sum() > 30
    np.testing.assert_allclose(ours[is_seen] + 0.5, found.img_from_cam(POINTS)[is_seen], atol=1e-6)


def test_read_camera_unknown_lens_is_refused_with_a_way_out():
    found = pycolmap.Camera(
        camera_id=1, model="FOV", width=640, height=384, params=[300, 300, 320, 192, 0.9]
    )
    with pytest.raises(CalibrationError, match="FOV.*image_undistorter"):
        read_camera("front", found, np.eye(4))


def test_write_camera_thin_prism_is_refused():
    D = [*LENSES[Distortion.RATIONAL_POLYNOMIAL], 0.01, 0.0, 0.0, 0.0]
    with pytest.raises(CalibrationError, match="12 coefficients"):
        write_camera(1, lens(Distortion.RATIONAL_POLYNOMIAL, D))
