"""Relative poses of all pairs of pictures: AUC@30 of feed-forward reconstruction papers."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.evaluation.trajectory import Poses, rotation_angles_deg
from seg2d3d_ros.geometry.transforms import invert
from seg2d3d_ros.types import FloatArray, IntArray

_BINS_DEG = np.arange(31)
MIN_BASELINE_M = 0.5
NEAR_M = 50.0
MAX_POSES = 400


def pair_errors_deg(est: Poses, gt: Poses, pairs: IntArray) -> tuple[FloatArray, FloatArray]:
    """Compare the relative poses of pairs (k, 2): rotation and translation direction, degrees.

    The direction's sign is folded as the papers' evaluators do, min(a, 180 - a): a motion
    estimated backwards scores no error. Scale never enters.
    """
    i, j = pairs[:, 0], pairs[:, 1]
    motion_est = invert(est.T_world_body[i]) @ est.T_world_body[j]
    motion_gt = invert(gt.T_world_body[i]) @ gt.T_world_body[j]
    rotation = invert(motion_gt) @ motion_est
    a, b = motion_est[:, :3, 3], motion_gt[:, :3, 3]
    sine = np.linalg.norm(np.cross(a, b), axis=1)
    angle = np.degrees(np.arctan2(sine, np.abs(np.einsum("ij,ij->i", a, b))))
    return rotation_angles_deg(rotation[:, :3, :3]), angle


def auc_joint(rotation_deg: FloatArray, translation_deg: FloatArray) -> float:
    """Return the area under the recall curve of the larger of both errors (VGGT's AUC).

    Mean over 30 bins of 1 degree of the cumulative share of pairs in them.
    """
    if len(rotation_deg) == 0:
        return 0.0
    error = np.maximum(rotation_deg, translation_deg)
    histogram, _ = np.histogram(error, bins=_BINS_DEG)
    return float(np.mean(np.cumsum(histogram / len(error))))


def maa_min(rotation_deg: FloatArray, translation_deg: FloatArray) -> float:
    """Return the mean over 1 … 30 degrees of the smaller of both recalls (PoseDiffusion's mAA).

    Not joint per pair: never below `auc_joint`.
    """
    if len(rotation_deg) == 0:
        return 0.0
    recalls = [
        np.cumsum(np.histogram(error, bins=_BINS_DEG)[0] / len(error))
        for error in (rotation_deg, translation_deg)
    ]
    return float(np.mean(np.minimum(*recalls)))


def score_relative_poses(est: Poses, gt: Poses) -> dict[str, float | int]:
    """Score all pairs of paired poses, and those nearer than 50 m, by AUC@30.

    Pairs with a true baseline below 0.5 m have no direction and are left out. Of long drives at
    most 400 poses, evenly chosen, make the pairs. A straight drive makes the direction easy: read
    the absolute error beside it.
    """
    chosen = np.unique(np.linspace(0, len(gt) - 1, min(len(gt), MAX_POSES)).round().astype(int))
    i, j = np.triu_indices(len(chosen), k=1)
    pairs = np.stack([chosen[i], chosen[j]], axis=1) if len(gt) else np.zeros((0, 2), int)
    baseline = np.linalg.norm(gt.positions[pairs[:, 0]] - gt.positions[pairs[:, 1]], axis=1)
    has_direction = baseline >= MIN_BASELINE_M
    rotation, translation = pair_errors_deg(est, gt, pairs[has_direction])
    near = baseline[has_direction] <= NEAR_M
    return {
        "auc30_joint": auc_joint(rotation, translation),
        "maa30_min": maa_min(rotation, translation),
        "auc30_joint_within_50m": auc_joint(rotation[near], translation[near]),
        "num_pairs": int(has_direction.sum()),
        "num_pairs_without_baseline": int((~has_direction).sum()),
    }
