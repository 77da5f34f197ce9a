"""The whole judgement of one result as one nested dictionary of plain values, ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.evaluation.identity import score_identity
from seg2d3d_ros.evaluation.masks import MaskKey, MaskTruth
from seg2d3d_ros.evaluation.trajectory import Poses, resample, score_trajectory, straight_line
from seg2d3d_ros.evaluation.truth import Result, Truth, read_result, read_truth

LEAST_FRAMES_SHARE = 1.0 / 3.0


def evaluate(
    result_dir: str | Path, truth_path: str | Path, odometry: Poses | None = None
) -> dict[str, Any]:
    """Judge a result folder against the truth.

    Args:
        result_dir: Folder that `replay --out` wrote.
        truth_path: Truth folder of `simulate`, or a KITTI pose file.
        odometry: Dead reckoning that the run was given (T_odom_base), judged beside the result.

    Returns:
        `trajectory`: scores by method (`result`, `straight_line`, `odometry`); `masks`, where the
        truth has masks: `frames`, and `methods` with scores by name (`result`, `true_owner`,
        `one_id_per_mask`).

    Raises:
        ResultError: the result folder is damaged.
        InputError: the truth is damaged, or result and truth have no stamp in common.
    """
    result, truth = read_result(result_dir), read_truth(truth_path)
    report: dict[str, Any] = {
        "version": 1,
        "result": str(result_dir),
        "truth": str(truth_path),
        "trajectory": judge_trajectory(result, truth, odometry),
    }
    if truth.masks is not None:
        report["masks"] = judge_masks(result, truth.masks)
    return report


def judge_trajectory(result: Result, truth: Truth, odometry: Poses | None) -> dict[str, Any]:
    """Score the result's poses beside a straight line and, where given, the odometry."""
    gt = truth.trajectory
    scores = {"result": score_trajectory(result.trajectory, gt, result.is_metric)}
    if scores["result"]["num_poses"] == 0:
        raise InputError(
            f"none of the {len(result.trajectory)} poses of {result.folder} lies within 20 ms of "
            f"one of the {len(gt)} true poses; are they of the same recording?"
        )
    scores["straight_line"] = score_trajectory(straight_line(gt), gt, result.is_metric)
    if odometry is not None:
        scores["odometry"] = score_trajectory(resample(odometry, gt.stamps_ns), gt)
    return scores


def judge_masks(
    result: Result,
    truth: MaskTruth,
    baselines: Mapping[str, Mapping[MaskKey, int]] | None = None,
) -> dict[str, Any]:
    """Score the result's ids on the masks of the pictures it used, beside those of other methods.

    `true_owner` gives each mask its main owner: what the masks themselves allow. Further methods
    come as assignments by name.
    """
    used_pictures = {(stamp, camera) for stamp, camera, _ in result.assignment}
    used = truth.in_pictures(used_pictures)
    if len(used) == 0:
        raise InputError(
            f"no picture of {result.folder}/observations.csv is among the {len(truth.pictures)} "
            "pictures of the truth's masks.csv; are they of the same recording?"
        )
    assignments: dict[str, Mapping[MaskKey, int]] = {
        "result": result.assignment,
        "true_owner": dict(zip(used.keys, used.building.tolist(), strict=True)),
        "one_id_per_mask": {key: i + 1 for i, key in enumerate(used.keys)},
        **(baselines or {}),
    }
    num_used, num_pictures = len(used.pictures), len(truth.pictures)
    return {
        "frames": {
            "num_used": num_used,
            "num_with_masks": num_pictures,
            "used_share": num_used / num_pictures,
            "is_enough": num_used >= LEAST_FRAMES_SHARE * num_pictures,
            "num_masks_missing": sum(key not in result.assignment for key in used.keys),
        },
        "methods": {name: score_assignment(used, ids) for name, ids in assignments.items()},
    }


def score_assignment(used: MaskTruth, assignment: Mapping[MaskKey, int]) -> dict[str, Any]:
    """Score one assignment: each mask counted for its main owner, then for every owner it has.

    A mask over two houses can carry only one id, so that with `all_owners` even perfect ids stay
    below 1 (0.975 on the reference streets): the ceiling is the score of `true_owner`.
    """
    ids = used.ids(assignment)
    every = score_identity(used.share_building, ids[used.share_mask], used.stream[used.share_mask])
    wanted = ("coverage", "coverage_one_to_one", "fragments", "idf1")
    return {
        **score_identity(used.building, ids, used.stream),
        "all_owners": {name: every[name] for name in wanted},
    }
