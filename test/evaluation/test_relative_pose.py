import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from seg2d3d_ros.evaluation.relative_pose import (
    auc_joint,
    maa_min,
    pair_errors_deg,
    score_relative_poses,
)
from seg2d3d_ros.evaluation.trajectory import Poses


def line(num: int, step_m: float = 1.0) -> Poses:
    T = np.tile(np.eye(4), (num, 1, 1))
    T[:, 0, 3] = step_m * np.arange(num)
    return Poses(np.arange(num) * 100_000_000, T)


def test_auc_joint_constant_error_counts_whole_degrees() -> None:
    # 3.2 degrees fall into bin 3, so bins 3 ... 29 of 30 are full.
    assert auc_joint(np.full(7, 3.2), np.zeros(7)) == pytest.approx(27 / 30)


def test_maa_min_errors_in_different_pairs_is_above_joint() -> None:
    rotation, translation = np.array([0.5, 40.0]), np.array([40.0, 0.5])
    assert auc_joint(rotation, translation) == 0
    assert maa_min(rotation, translation) == pytest.approx(0.5)


def test_pair_errors_backward_motion_is_folded_to_zero() -> None:
    gt, back = line(2), line(2, -1.0)
    rotation, translation = pair_errors_deg(back, gt, np.array([[0, 1]]))
    assert rotation[0] == pytest.approx(0)
    assert translation[0] == pytest.approx(0)


def test_pair_errors_turned_heading_by_hand() -> None:
    gt, est = line(2), line(2)
    est.T_world_body[1, :3, :3] = Rotation.from_euler("z", 5, degrees=True).as_matrix()
    est.T_world_body[1, :3, 3] = [np.cos(0.2), np.sin(0.2), 0]
    rotation, translation = pair_errors_deg(est, gt, np.array([[0, 1]]))
    assert rotation[0] == pytest.approx(5)
    assert translation[0] == pytest.approx(np.degrees(0.2))


def test_score_relative_poses_other_scale_and_world_is_perfect() -> None:
    gt = line(60, 2.0)
    turned = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()
    T = gt.T_world_body.copy()
    T[:, :3, :3] = turned @ T[:, :3, :3]
    T[:, :3, 3] = 0.3 * T[:, :3, 3] @ turned.T
    score = score_relative_poses(Poses(gt.stamps_ns, T), gt)
    assert score["auc30_joint"] == pytest.approx(1)
    assert score["num_pairs"] == 60 * 59 // 2


def test_score_relative_poses_standing_pairs_are_left_out_and_counted() -> None:
    gt = line(4, 0.2)
    score = score_relative_poses(gt, gt)
    assert score["num_pairs"] == 1  # only the ends are 0.6 m apart
    assert score["num_pairs_without_baseline"] == 5


def test_score_relative_poses_nothing_paired_scores_zero() -> None:
    empty = Poses(np.zeros(0, np.int64), np.zeros((0, 4, 4)))
    assert score_relative_poses(empty, empty)["auc30_joint"] == 0


def test_score_relative_poses_long_drive_takes_at_most_400_poses() -> None:
    gt = line(1000)
    assert score_relative_poses(gt, gt)["num_pairs"] == 400 * 399 // 2
