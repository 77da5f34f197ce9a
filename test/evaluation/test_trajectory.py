import os
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.evaluation.trajectory import (
    Poses,
    associate,
    pairs_by_length,
    resample,
    score_trajectory,
    straight_line,
)
from seg2d3d_ros.evaluation.truth import read_kitti_poses
from seg2d3d_ros.geometry.transforms import exp


def make_arc(num: int = 60, radius_m: float = 30.0) -> Poses:
    """Poses every metre along a circle, ten a second."""
    angle = np.arange(num) / radius_m
    T = np.tile(np.eye(4), (num, 1, 1))
    T[:, :3, :3] = Rotation.from_euler("z", angle[:, None]).as_matrix()
    T[:, 0, 3] = radius_m * np.sin(angle)
    T[:, 1, 3] = radius_m * (1 - np.cos(angle))
    return Poses(np.arange(num) * 100_000_000 + 1_700_000_000_000_000_000, T)


def test_score_trajectory_rigidly_moved_truth_is_exact_after_se3() -> None:
    gt = make_arc()
    est = Poses(gt.stamps_ns, exp([0.1, -0.2, 1.0, 5.0, 6.0, 7.0]) @ gt.T_world_body)
    score = score_trajectory(est, gt)
    assert score["ate_se3_m"] == pytest.approx(0, abs=1e-9)
    assert score["ate_none_m"] > 5
    assert score["rpe_translation_percent"] == pytest.approx(0, abs=1e-9)
    assert score["rpe_rotation_deg"] == pytest.approx(0, abs=1e-6)


def test_score_trajectory_half_scale_needs_sim3_and_reports_scale_two() -> None:
    gt = make_arc()
    T = gt.T_world_body.copy()
    T[:, :3, 3] *= 0.5
    est = Poses(gt.stamps_ns, T)
    score = score_trajectory(est, gt, is_metric=False)
    assert score["scale"] == pytest.approx(2)
    assert score["ate_sim3_m"] == pytest.approx(0, abs=1e-9)
    assert score["rpe_translation_percent"] == pytest.approx(0, abs=1e-9)
    # Claimed as metres, every 10 m are short by half (chord / arc of 10 m on r = 30 m is 0.995).
    claimed = score_trajectory(est, gt, is_metric=True)
    assert claimed["rpe_translation_percent"] == pytest.approx(50 * 0.99538, rel=1e-3)


def test_score_trajectory_constant_yaw_drift_is_reported_per_ten_metres() -> None:
    num = 41
    T = np.tile(np.eye(4), (num, 1, 1))
    T[:, 0, 3] = np.arange(num)
    gt = Poses(np.arange(num) * 100_000_000, T)
    drift = T.copy()
    drift[:, :3, :3] = Rotation.from_euler(
        "z", 0.05 * np.arange(num)[:, None], degrees=True
    ).as_matrix()
    score = score_trajectory(Poses(gt.stamps_ns, drift), gt)
    assert score["rpe_num_pairs"] == 31
    assert score["rpe_rotation_deg"] == pytest.approx(0.5)
    assert score["rpe_rotation_max_deg"] == pytest.approx(0.5)
    assert score["ate_none_m"] == 0


def test_score_trajectory_one_pose_off_by_hand() -> None:
    gt = make_arc(10)
    T = gt.T_world_body.copy()
    T[4, 2, 3] += 3.0
    score = score_trajectory(Poses(gt.stamps_ns, T), gt)
    assert score["ate_none_m"] == pytest.approx(3 / np.sqrt(10))


def test_score_trajectory_two_poses_reports_none_not_zero() -> None:
    gt = make_arc(10)
    score = score_trajectory(Poses(gt.stamps_ns[:2], gt.T_world_body[:2]), gt)
    assert score["num_poses"] == 2
    assert score["num_stamps"] == 10
    assert score["ate_se3_m"] is None
    assert score["rpe_rotation_deg"] is None


def test_score_trajectory_empty_truth_is_an_input_error() -> None:
    empty = Poses(np.zeros(0, np.int64), np.zeros((0, 4, 4)))
    with pytest.raises(InputError, match="0 poses"):
        score_trajectory(empty, empty)


def test_associate_shifted_and_missing_stamps_pairs_nearest_once() -> None:
    gt = make_arc(6)
    keep = np.array([0, 2, 3, 5])
    est = Poses(gt.stamps_ns[keep] + 15_000_000, gt.T_world_body[keep])
    est_paired, gt_paired = associate(est, gt)
    assert gt_paired.stamps_ns.tolist() == gt.stamps_ns[keep].tolist()
    assert est_paired.stamps_ns.tolist() == est.stamps_ns.tolist()


def test_associate_beyond_tolerance_pairs_nothing() -> None:
    gt = make_arc(6)
    est = Poses(gt.stamps_ns + 40_000_000, gt.T_world_body)
    assert len(associate(est, gt)[0]) == 0


def test_associate_two_truths_near_one_estimate_uses_it_once() -> None:
    gt = Poses(np.array([0, 10_000_000]), np.tile(np.eye(4), (2, 1, 1)))
    est = Poses(np.array([8_000_000]), np.tile(np.eye(4), (1, 1, 1)))
    est_paired, gt_paired = associate(est, gt)
    assert gt_paired.stamps_ns.tolist() == [10_000_000]
    assert len(est_paired) == 1


def test_pairs_by_length_unit_steps_are_ten_apart() -> None:
    T = np.tile(np.eye(4), (13, 1, 1))
    T[:, 0, 3] = np.arange(13)
    pairs = pairs_by_length(Poses(np.arange(13), T))
    assert pairs.tolist() == [[0, 10], [1, 11], [2, 12]]


def test_resample_between_stamps_interpolates_and_drops_outside() -> None:
    gt = make_arc(3)
    middle = Poses(gt.stamps_ns[::2], gt.T_world_body[::2])
    out = resample(middle, np.array([gt.stamps_ns[1], gt.stamps_ns[2] + 1]))
    assert out.stamps_ns.tolist() == [gt.stamps_ns[1]]
    assert out.positions[0] == pytest.approx(gt.positions[1], abs=0.02)


@pytest.mark.skipif("SEG2D3D_DATA" not in os.environ, reason="SEG2D3D_DATA is unset")
@pytest.mark.parametrize(
    ("name", "align", "percent"), [("04", "se3", 0.40), ("06", "sim3", 0.096)]
)
def test_straight_line_on_kitti_scores_what_is_known(
    name: str, align: str, percent: float
) -> None:
    path = Path(os.environ["SEG2D3D_DATA"]) / "kitti_odometry" / "poses" / f"{name}.txt"
    gt = read_kitti_poses(path)
    assert len(gt) == 51
    score = score_trajectory(straight_line(gt), gt)
    assert score[f"ate_{align}_percent"] == pytest.approx(percent, rel=0.01)
