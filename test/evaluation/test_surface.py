import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from seg2d3d_ros.evaluation.surface import (
    align_by_poses,
    score_surface,
    transfer,
    voxelise,
    within_reach,
)
from seg2d3d_ros.evaluation.trajectory import Poses
from seg2d3d_ros.geometry.transforms import apply


def straight_drive(num: int = 30) -> Poses:
    T = np.tile(np.eye(4), (num, 1, 1))
    T[:, 0, 3] = np.arange(num)
    return Poses(np.arange(num) * 100_000_000, T)


def transform(poses: Poses, S: np.ndarray) -> Poses:
    """Move poses by a similarity."""
    scale = np.cbrt(np.linalg.det(S[:3, :3]))
    T = poses.T_world_body.copy()
    T[:, :3, :3] = S[:3, :3] / scale @ T[:, :3, :3]
    T[:, :3, 3] = apply(S, poses.positions)
    return Poses(poses.stamps_ns, T)


@pytest.mark.parametrize(("scale", "with_scale"), [(1.0, False), (0.4, True)])
def test_align_by_poses_straight_drive_recovers_the_roll(scale: float, with_scale: bool) -> None:
    gt = straight_drive()
    S = np.eye(4)
    S[:3, :3] = scale * Rotation.from_euler("xyz", [50, 20, 70], degrees=True).as_matrix()
    S[:3, 3] = [1, 2, 3]
    found = align_by_poses(transform(gt, S), gt, with_scale)
    assert found @ S == pytest.approx(np.eye(4), abs=1e-9)


def test_align_by_poses_standing_vehicle_uses_orientation_alone() -> None:
    gt = Poses(np.arange(3), np.tile(np.eye(4), (3, 1, 1)))
    S = np.eye(4)
    S[:3, :3] = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    found = align_by_poses(transform(gt, S), gt, with_scale=True)
    assert found @ S == pytest.approx(np.eye(4), abs=1e-9)


def test_transfer_beyond_radius_and_unlabelled_points_say_nothing() -> None:
    points = np.array([[0.0, 0, 0], [2.0, 0, 0], [0.1, 0, 0]])
    ids = np.array([7, 8, 0])
    vertices = np.array([[0.2, 0, 0], [1.7, 0, 0], [1.0, 0, 0]])
    assert transfer(points, ids, vertices, 0.5).tolist() == [7, 8, 0]
    assert transfer(points, np.zeros(3, np.int64), vertices, 0.5).tolist() == [0, 0, 0]


def test_voxelise_dense_corner_keeps_one_point_each() -> None:
    points = np.array([[0.01, 0, 0], [0.02, 0, 0], [0.15, 0, 0]])
    thinned, ids = voxelise(points, np.array([4, 5, 6]), 0.1)
    assert thinned[:, 0].tolist() == [0.01, 0.15]
    assert ids.tolist() == [4, 6]


def test_score_surface_two_walls_one_split_by_hand() -> None:
    x, z = np.meshgrid(np.arange(60) * 0.2, np.arange(15) * 0.2)
    flat = np.stack([x.ravel(), np.zeros(x.size), z.ravel()], axis=1)
    building = np.where(flat[:, 0] < 6, 1, 2)
    # Building 2 is mapped as two halves of it, 3 m each; a stray pole stands 5 m off.
    instance = np.where(building == 1, 5, np.where(flat[:, 0] < 9, 6, 7))
    stray = np.tile([[3.0, 5.0, 1.0]], (90, 1))
    points = np.concatenate([flat, stray])
    ids = np.concatenate([instance, np.full(90, 5)])
    score = score_surface((points, ids), (flat, building), {5: 1.0, 6: 1.0, 7: 1.0})
    assert score["num_vertices"] == 900
    # TP 1, FP 2, FN 1 at IoU 0.5.
    assert score["ap50"] == pytest.approx(0.5 * (1 + 1 / 3) / 2)
    assert score["rc25"] == 1
    assert score["surface_share"] == 1
    assert score["stray_share"] == pytest.approx(90 / 990)


def test_score_surface_empty_map_scores_zero() -> None:
    gt = np.random.default_rng(0).random((500, 3)), np.ones(500, np.int64)
    score = score_surface((np.zeros((0, 3)), np.zeros(0, np.int64)), gt, {})
    assert score["ap50"] == 0
    assert score["surface_share"] == 0


def test_within_reach_surface_beyond_the_range_of_the_whole_path_is_left_out() -> None:
    path = np.array([[0.0, 0, 0], [100.0, 0, 0]])
    vertices = np.array([[0.0, 29.9, 0], [0.0, 30.1, 0], [110.0, 20, 0], [50.0, 0, 0]])
    assert within_reach(vertices, path).tolist() == [True, False, True, False]
    assert within_reach(vertices, path, 60.0).all()


def test_within_reach_no_path_reaches_nothing() -> None:
    assert not within_reach(np.zeros((2, 3)), np.zeros((0, 3))).any()
