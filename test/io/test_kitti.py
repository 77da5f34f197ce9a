import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg2d3d_ros.config import InputsConfig
from seg2d3d_ros.errors import CalibrationError, InputError
from seg2d3d_ros.io import kitti
from seg2d3d_ros.io.kitti_raw import integrate
from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.types import Dropped, Fix, Frame, Odometry

S = 1_000_000_000
P0 = "100 0 8 0 0 100 6 0 0 0 1 0"
P1 = "100 0 8 -50 0 100 6 0 0 0 1 0"


def write_pictures(folder, num, digits=6, shape=(12, 16)):
    folder.mkdir(parents=True)
    for i in range(num):
        cv2.imwrite(str(folder / f"{i:0{digits}d}.png"), np.full(shape, i, np.uint8))


def sequence(root, keys=("P0: ", "P1: "), times="0.000000e+00\n1.041284e-01\n2.082536e-01\n"):
    path = root / "sequences" / "04"
    write_pictures(path / "image_0", 3)
    write_pictures(path / "image_1", 3)
    (path / "calib.txt").write_text(f"{keys[0]}{P0}\n{keys[1]}{P1}")
    if times:
        (path / "times.txt").write_text(times)
    return path


def test_odometry_stereo_comes_in_stamp_order_with_exact_stamps(tmp_path):
    source = open_source(sequence(tmp_path))
    frames = list(source)
    assert [f.camera for f in frames] == ["image_0", "image_1"] * 3
    assert [f.stamp_ns for f in frames[::2]] == [0, 104_128_400, 208_253_600]
    assert [int(f.image[0, 0]) for f in frames] == [0, 0, 1, 1, 2, 2]
    assert frames[0].image.shape == (12, 16)


def test_odometry_second_camera_stands_by_p_right_of_base_link(tmp_path):
    left, right = open_source(sequence(tmp_path)).rig.cameras
    np.testing.assert_allclose(left.T_base_cam[:3, 3], 0, atol=1e-12)
    np.testing.assert_allclose(right.T_base_cam[:3, 3], [0, -0.5, 0], atol=1e-12)
    np.testing.assert_allclose(right.T_base_cam[:3, :3] @ [0, 1, 0], [0, 0, -1], atol=1e-12)


def test_odometry_calibration_without_keys_is_p0_p1(tmp_path):
    source = open_source(sequence(tmp_path, keys=("", "")))
    np.testing.assert_allclose(source.rig.cameras[1].T_base_cam[1, 3], -0.5)


def test_odometry_without_times_counts_tenths_and_says_so(tmp_path):
    source = open_source(sequence(tmp_path, times=""))
    assert [f.stamp_ns for f in source if f.camera == "image_0"] == [0, S // 10, S // 5]
    assert "0.1 s" in source.rig.remarks[0]


def test_odometry_more_pictures_than_stamps_drops_the_rest(tmp_path):
    source = open_source(sequence(tmp_path, times="0.0\n0.1\n"))
    dropped = [i for i in source if isinstance(i, Dropped)]
    assert [(d.camera, d.reason) for d in dropped] == [
        ("image_0", "no_stamp"),
        ("image_1", "no_stamp"),
    ]


def test_odometry_damaged_and_foreign_sized_pictures_are_dropped(tmp_path):
    path = sequence(tmp_path)
    (path / "image_0" / "000001.png").write_bytes(b"rubbish")
    cv2.imwrite(str(path / "image_1" / "000002.png"), np.zeros((5, 5), np.uint8))
    items = list(open_source(path))
    assert [(d.camera, d.reason) for d in items if isinstance(d, Dropped)] == [
        ("image_0", "decode_error"),
        ("image_1", "size_mismatch"),
    ]
    assert sum(isinstance(i, Frame) for i in items) == 4


def test_odometry_missing_projection_is_an_error(tmp_path):
    path = sequence(tmp_path)
    (path / "calib.txt").write_text(f"P0: {P0}\n")
    with pytest.raises(CalibrationError, match="'P1' is missing"):
        open_source(path)


def test_odometry_unknown_camera_is_an_error(tmp_path):
    with pytest.raises(InputError, match="image_9"):
        open_source(sequence(tmp_path), InputsConfig(cameras=["image_9"]))


def raw_drive(root, num_pictures=3, num_stamps=5):
    day = root / "2011_09_26"
    path = day / "2011_09_26_drive_0001_sync"
    stamps = "".join(f"2011-09-26 13:08:24.{i}67930880\n" for i in range(num_stamps))
    write_pictures(path / "image_02" / "data", num_pictures, digits=10)
    (path / "image_02" / "timestamps.txt").write_text(stamps)
    (path / "oxts" / "data").mkdir(parents=True)
    (path / "oxts" / "timestamps.txt").write_text(stamps)
    for i in range(num_stamps):
        row = np.zeros(30)
        row[:3] = 49.0 + i * 1e-6, 8.4, 114.0
        row[3:6] = 0.5, 0.5, 1.0  # roll, pitch, yaw: truth that nobody may read
        row[8], row[19], row[22], row[23] = 10.0, 0.2, 9.9, 0.5
        (path / "oxts" / "data" / f"{i:010d}.txt").write_text(" ".join(map(str, row)))
    identity = "R: 1 0 0 0 1 0 0 0 1\n"
    (day / "calib_imu_to_velo.txt").write_text(f"calib_time: now\n{identity}T: -1 0 0\n")
    optical = "R: 0 -1 0 0 0 -1 1 0 0\n"  # p_cam = (-y, -z, x)
    (day / "calib_velo_to_cam.txt").write_text(f"{optical}T: 0 0 -0.5\n")
    cams = f"R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: {P1}\n"
    (day / "calib_cam_to_cam.txt").write_text(cams)
    return path


def test_raw_camera_stands_by_the_chain_of_calibrations(tmp_path):
    source = open_source(raw_drive(tmp_path))
    camera = source.rig.cameras[0]
    # velodyne 1 m ahead of the IMU, camera 0 0.5 m ahead of it, camera 2 by P 0.5 m to the right
    np.testing.assert_allclose(camera.T_base_cam[:3, 3], [1.5, -0.5, 0], atol=1e-12)
    np.testing.assert_allclose(camera.T_base_cam[:3, :3] @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    assert source.rig.base == "kitti_raw" and source.rig.has_odometry


def test_raw_camera_is_rectified_about_camera_0(tmp_path):
    path = raw_drive(tmp_path)
    cams = path.parent / "calib_cam_to_cam.txt"
    turned = "R_rect_00: 1 0 0 0 0.8 -0.6 0 0.6 0.8"  # p_rect = R_rect p_cam
    cams.write_text(cams.read_text().replace("R_rect_00: 1 0 0 0 1 0 0 0 1", turned))
    T_base_cam = open_source(path).rig.cameras[0].T_base_cam
    # its axis in camera 0 is the third row of R_rect: 0.6 down, 0.8 ahead
    np.testing.assert_allclose(T_base_cam[:3, 2], [0.8, 0.0, -0.6], atol=1e-12)
    np.testing.assert_allclose(T_base_cam[:3, 3], [1.5, -0.5, 0], atol=1e-12)


def test_raw_stamps_are_exact_and_pictures_are_the_first_lines(tmp_path):
    frames = [i for i in open_source(raw_drive(tmp_path)) if isinstance(i, Frame)]
    first = 1_317_042_504_067_930_880
    assert [f.stamp_ns for f in frames] == [first, first + S // 10, first + S // 5]


def test_raw_fixes_carry_position_accuracy(tmp_path):
    fixes = [i for i in open_source(raw_drive(tmp_path)) if isinstance(i, Fix)]
    assert len(fixes) == 5 and fixes[1].lat_deg == 49.000001
    np.testing.assert_allclose(fixes[0].covariance_enu, np.eye(3) * 0.25)


def test_raw_odometry_reads_speed_and_yaw_rate_only(tmp_path):
    path = raw_drive(tmp_path)
    odometry = [i for i in open_source(path) if isinstance(i, Odometry)]
    for file in (path / "oxts" / "data").glob("*.txt"):
        row = file.read_text().split()
        row[3:6] = "2.0", "2.0", "2.0"
        row[22] = "77.0"
        file.write_text(" ".join(row))
    again = [i for i in open_source(path) if isinstance(i, Odometry)]
    np.testing.assert_array_equal(
        [o.T_odom_base for o in odometry], [o.T_odom_base for o in again]
    )


def test_raw_unreadable_oxts_is_counted_and_the_rest_used(tmp_path):
    path = raw_drive(tmp_path)
    (path / "oxts" / "data" / "0000000001.txt").write_text("1 2 rubbish")
    (path / "oxts" / "data" / "0000000003.txt").write_text("1 2 3")
    source = open_source(path)
    assert sum(isinstance(i, Odometry) for i in source) == 3
    assert source.remarks()[0].startswith("2 oxts files")


def test_raw_missing_calibration_file_is_an_error(tmp_path):
    path = raw_drive(tmp_path)
    (path.parent / "calib_velo_to_cam.txt").unlink()
    with pytest.raises(CalibrationError, match=r"calib_velo_to_cam\.txt"):
        open_source(path)


def test_integrate_turn_that_begins_within_a_step_counts_half():
    first, last = integrate([0, S], np.array([2.0, 4.0]), np.array([0.0, 0.2]))
    # 3 m, turning by 0.1 rad, along the chord
    np.testing.assert_allclose(first.T_odom_base, np.eye(4))
    np.testing.assert_allclose(
        last.T_odom_base[:2],
        [
            [np.cos(0.1), -np.sin(0.1), 0, 3 * np.cos(0.05)],
            [np.sin(0.1), np.cos(0.1), 0, 3 * np.sin(0.05)],
        ],
    )


def test_integrate_circle_comes_back_to_its_start():
    n, radius_m, turn_rps = 629, 20.0, 0.1
    stamps = [i * S // 10 for i in range(n)]
    poses = integrate(stamps, np.full(n, radius_m * turn_rps), np.full(n, turn_rps))
    t_s = 62.8
    expected = [radius_m * np.sin(turn_rps * t_s), radius_m * (1 - np.cos(turn_rps * t_s)), 0]
    # the chord of each step is shorter than its arc by 1 - (turn)²/24: 4e-6 of 126 m
    np.testing.assert_allclose(poses[-1].T_odom_base[:3, 3], expected, atol=1e-3)


@pytest.mark.parametrize("text", ["2011-09-26", "13:08:24.1", "", "2011-13-99 00:00:00"])
def test_datetime_to_ns_of_nonsense_raises(text):
    with pytest.raises(ValueError):
        kitti.datetime_to_ns(text)


def test_datetime_to_ns_short_fractions_are_padded():
    assert kitti.datetime_to_ns("1970-01-01 00:00:01.5") == 1_500_000_000


@pytest.fixture
def data_root():
    root = os.environ.get("SEG2D3D_DATA")
    if not root:
        pytest.skip("SEG2D3D_DATA is unset")
    return Path(root)


def test_real_kitti_odometry_04_is_stereo_with_its_baseline(data_root):
    source = open_source(data_root / "kitti_odometry" / "sequences" / "04")
    assert source.num_pictures == 102
    right = source.rig.cameras[1]
    assert right.T_base_cam[1, 3] == pytest.approx(-379.8145 / 707.0912)
    assert sum(isinstance(i, Frame) for i in source) == 102


def test_real_kitti_odometry_06_has_one_camera_and_no_times(data_root):
    source = open_source(data_root / "kitti_odometry" / "sequences" / "06")
    assert [c.name for c in source.rig.cameras] == ["image_0"]
    assert [i.stamp_ns for i in source] == [i * S // 10 for i in range(51)]


def test_real_kitti_raw_0009_odometry_and_fixes_agree_on_the_path(data_root):
    day = data_root / "kitti_raw" / "2011_09_26"
    items = list(open_source(day / "2011_09_26_drive_0009_sync"))
    assert sum(isinstance(i, Frame) for i in items) == 51
    odometry = [i.T_odom_base[:3, 3] for i in items if isinstance(i, Odometry)]
    fixes = [i for i in items if isinstance(i, Fix)]
    metres = [111_200.0, 111_320.0 * np.cos(np.radians(49.0))]
    step = np.diff([[f.lat_deg, f.lon_deg] for f in fixes], axis=0) * metres
    driven_m = np.linalg.norm(step, axis=1).sum()
    # GNSS noise of centimetres between neighbours, a sphere for the ellipsoid: one per cent
    assert np.linalg.norm(np.diff(odometry, axis=0), axis=1).sum() == pytest.approx(
        driven_m, rel=0.02
    )
