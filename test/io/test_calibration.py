import numpy as np
import pytest
from bag_maker import HEIGHT, WIDTH, camera_info, make

from seg2d3d_ros.errors import CalibrationError
from seg2d3d_ros.io import calibration
from seg2d3d_ros.types import Distortion


def info(**changes):
    return camera_info(**changes)[1]


def test_camera_from_info_raw_uses_k_and_d():
    camera = calibration.camera_from_info("c", info(), is_rectified=False)
    assert (camera.K[0, 0], camera.distortion, len(camera.D)) == (20.0, Distortion.PLUMB_BOB, 5)


def test_camera_from_info_rectified_uses_p_and_no_distortion():
    camera = calibration.camera_from_info("c", info(), is_rectified=True)
    assert (camera.K[0, 0], camera.K[0, 2], camera.distortion) == (21.0, 7.0, Distortion.NONE)
    assert camera.D.size == 0


@pytest.mark.parametrize("d", [np.zeros(0), np.zeros(5)])
@pytest.mark.parametrize("model", ["plumb_bob", "", "rational_polynomial"])
def test_camera_from_info_without_coefficients_has_no_distortion(d, model):
    camera = calibration.camera_from_info("c", info(d=d, distortion_model=model), False)
    assert camera.distortion is Distortion.NONE


def test_camera_from_info_equidistant_with_zeros_is_still_equidistant():
    message = info(d=np.zeros(4), distortion_model="equidistant")
    assert calibration.camera_from_info("c", message, False).distortion is Distortion.EQUIDISTANT


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"k": np.full(9, np.nan)}, "NaN"),
        ({"k": np.zeros(9)}, "uncalibrated"),
        ({"d": np.array([np.nan] * 5)}, "NaN"),
        ({"width": 0}, "0x12"),
        ({"distortion_model": "mystery"}, "mystery"),
        ({"d": np.ones(3)}, "3 coefficients"),
    ],
)
def test_camera_from_info_unusable_numbers_are_named(changes, said):
    with pytest.raises(CalibrationError, match=said):
        calibration.camera_from_info("front", info(**changes), False)


def test_fit_to_size_binned_by_two_projects_to_the_binned_pixel():
    message = info()
    K, width, height = calibration.fit_to_size(
        message.k.reshape(3, 3), message, (WIDTH // 2, HEIGHT // 2)
    )
    assert (width, height) == (WIDTH // 2, HEIGHT // 2)
    ray = np.array([0.1, -0.2, 1.0])
    u, v, _ = message.k.reshape(3, 3) @ ray
    np.testing.assert_allclose((K @ ray)[:2], [(u + 0.5) / 2 - 0.5, (v + 0.5) / 2 - 0.5])


def test_fit_to_size_region_of_interest_moves_the_principal_point():
    roi = make(
        "sensor_msgs/msg/RegionOfInterest",
        x_offset=4,
        y_offset=2,
        height=6,
        width=10,
        do_rectify=False,
    )
    message = info(roi=roi)
    K, width, height = calibration.fit_to_size(message.k.reshape(3, 3), message, (10, 6))
    assert (K[0, 2], K[1, 2], K[0, 0], width, height) == (3.5, 3.5, 20.0, 10, 6)


@pytest.mark.parametrize("size_px", [(15, 12), (8, 12), (32, 24), (7, 5)])
def test_fit_to_size_no_exact_ratio_keeps_the_message(size_px):
    message = info()
    K, width, height = calibration.fit_to_size(message.k.reshape(3, 3), message, size_px)
    assert (width, height, K[0, 0], K[0, 2]) == (WIDTH, HEIGHT, 20.0, 7.5)


def test_baseline_of_kitti_second_camera_is_half_a_metre_to_the_right():
    P = np.array([[707.0912, 0, 601.8873, -379.8145], [0, 707.0912, 183.11, 0], [0, 0, 1, 0]])
    np.testing.assert_allclose(calibration.baseline(P), [379.8145 / 707.0912, 0, 0], atol=1e-12)
