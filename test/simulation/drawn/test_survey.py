import shutil

import drive_maker
import numpy as np
import pytest

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.simulation.drawn.survey import survey_kitti
from seg2d3d_ros.types import Frame


def off_walls_m(survey):
    """Return how far scanned points lie off the three walls (and not on ground or tree)."""
    points = np.concatenate([s.points_map for s in survey.scans])
    points = points[points[:, 2] > drive_maker.GROUND_M + 0.3]
    walls = np.stack([points[:, 1] - 8, points[:, 1] + 7, points[:, 0] - 50], axis=1)
    off = np.abs(walls).min(axis=1)
    is_tree = np.hypot(points[:, 0] - 22, points[:, 1] + 4) < 1.6
    return off[~is_tree & (points[:, 2] < drive_maker.GROUND_M + 5)]


def test_survey_exact_oxts_rolling_scans_lie_on_the_walls(survey):
    # float32 and 1/200 of a turn (4 mm at this speed); wrongly unrolled they are 0.1 m off
    assert np.quantile(off_walls_m(survey), 0.95) < 0.03
    true = [drive_maker.true_pose(0.1 * i) for i in range(drive_maker.NUM_PICTURES)]
    np.testing.assert_allclose(survey.T_map_base[:, :3, 3], np.array(true)[:, :3, 3], atol=0.03)


def test_survey_heading_bias_is_taken_out_by_the_scans(tmp_path):
    drive = drive_maker.write_drive(tmp_path, heading_bias_deg=1.5, cameras=("02",))
    survey = survey_kitti(drive, drive_maker.ORIGIN)
    # 1.5 degrees move a wall 20 m ahead by half a metre
    assert np.quantile(off_walls_m(survey), 0.9) < 0.08
    true = np.array([drive_maker.true_pose(0.1 * i) for i in range(drive_maker.NUM_PICTURES)])
    relative = np.linalg.inv(true) @ survey.T_map_base
    yaw = np.degrees(np.arctan2(relative[:, 1, 0], relative[:, 0, 0]))
    assert np.abs(yaw).max() < 0.25


def test_survey_cameras_stand_by_the_calibration(survey):
    for number in ("02", "03"):
        T = survey.camera(f"image_{number}").T_base_cam
        np.testing.assert_allclose(T, drive_maker.camera_pose(number), atol=1e-9)


def test_survey_yields_each_picture_with_its_pose(survey):
    found = list(survey.frames())
    assert len(found) == 2 * drive_maker.NUM_PICTURES
    for frame, T in found:
        assert isinstance(frame, Frame)
        time_s = (frame.stamp_ns - drive_maker.START_NS) * 1e-9
        np.testing.assert_allclose(T, drive_maker.true_pose(time_s), atol=0.03)


def test_survey_scans_near_are_the_next_in_time(survey):
    stamp_ns = drive_maker.START_NS + 1_000_000_000
    near = [round((s.stamp_ns - stamp_ns) * 1e-9, 3) for s in survey.scans_near(stamp_ns)]
    assert sorted(near) == [-0.2, 0.0, 0.2]


def test_survey_without_scans_says_what_to_get(tmp_path, drive):
    copy = tmp_path / "2011_09_26" / drive.name
    shutil.copytree(drive.parent, copy.parent)
    shutil.rmtree(copy / "velodyne_points" / "data")
    with pytest.raises(InputError, match="velodyne"):
        survey_kitti(copy)
