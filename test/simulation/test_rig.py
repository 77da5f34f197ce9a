import numpy as np
import pytest

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.simulation import SimulationOptions
from seg2d3d_ros.simulation.rig import build_rig, published_rig


@pytest.mark.parametrize(
    ("cameras", "names"),
    [
        ("front", ["camera_front"]),
        ("stereo", ["camera_front_left", "camera_front_right"]),
        ("side", ["camera_right"]),
        ("quad", ["camera_front", "camera_left", "camera_rear", "camera_right"]),
        ("rear,left", ["camera_left", "camera_rear"]),
    ],
)
def test_build_rig_presets_and_lists_name_cameras_in_order(cameras, names):
    assert [c.name for c in build_rig(SimulationOptions(cameras=cameras)).cameras] == names


def test_build_rig_axes_are_optical():
    left, right = build_rig(SimulationOptions(yaw_deg=30.0)).cameras
    view = left.T_base_cam[:3, 2]  # z of the optical frame looks out
    np.testing.assert_allclose(view, [np.cos(np.pi / 6), np.sin(np.pi / 6), 0], atol=1e-12)
    np.testing.assert_allclose(right.T_base_cam[:3, 1], [0, 0, -1], atol=1e-12)  # y looks down
    assert right.T_base_cam[1, 2] < 0
    assert left.T_base_cam[2, 3] == 1.6


def test_build_rig_stereo_has_the_baseline_along_the_picture_rows():
    left, right = build_rig(SimulationOptions(cameras="stereo", baseline_m=0.4)).cameras
    T_left_right = transforms.invert(left.T_base_cam) @ right.T_base_cam
    np.testing.assert_allclose(T_left_right, transforms.rigid(np.eye(3), [0.4, 0, 0]), atol=1e-12)


def test_build_rig_field_of_view_spans_the_picture():
    camera = build_rig(SimulationOptions(cameras="front", fov_deg=90.0, width_px=400)).cameras[0]
    assert camera.K[0, 0] == pytest.approx(200.0)


def test_published_rig_turns_only_the_first_camera():
    options = SimulationOptions(extrinsics_error_deg=1.0)
    true = build_rig(options)
    wrong = published_rig(true, options)
    error = transforms.invert(true.cameras[0].T_base_cam) @ wrong.cameras[0].T_base_cam
    assert np.rad2deg(transforms.angle_rad(error)) == pytest.approx(1.0)
    np.testing.assert_allclose(error[:3, 3], 0, atol=1e-12)
    np.testing.assert_array_equal(true.cameras[1].T_base_cam, wrong.cameras[1].T_base_cam)
