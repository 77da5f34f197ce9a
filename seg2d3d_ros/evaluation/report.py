"""The whole judgement of one result as one nested dictionary of plain values, ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.evaluation.average_precision import build_overlap, score_instances
from seg2d3d_ros.evaluation.boxes import enclose, score_boxes, transform_box
from seg2d3d_ros.evaluation.identity import score_identity
from seg2d3d_ros.evaluation.masks import MaskKey, MaskTruth
from seg2d3d_ros.evaluation.relative_pose import score_relative_poses
from seg2d3d_ros.evaluation.surface import (
    align_by_poses,
    score_surface,
    transfer,
    within_reach,
)
from seg2d3d_ros.evaluation.track_coverage import find_sightings, score_track_coverage
from seg2d3d_ros.evaluation.trajectory import (
    Poses,
    associate,
    resample,
    score_trajectory,
    straight_line,
)
from seg2d3d_ros.evaluation.truth import Result, Truth
from seg2d3d_ros.geometry.geodesy import between_origins
from seg2d3d_ros.geometry.transforms import apply
from seg2d3d_ros.io.ply import positions_of, read_ply
from seg2d3d_ros.types import FloatArray, IntArray

LEAST_FRAMES_SHARE = 1.0 / 3.0
MIN_OWNER_SHARE = 0.25
MIN_BOX_IOU = 0.25

Assignment: TypeAlias = Mapping[MaskKey, int]
Surface: TypeAlias = tuple[FloatArray, IntArray]


def judge(
    result: Result,
    truth: Truth,
    odometry: Poses | None = None,
    baselines: Mapping[str, Assignment] | None = None,
    mask_px: Mapping[MaskKey, int] | None = None,
) -> dict[str, Any]:
    """Judge a result against the truth by everything that the truth allows.

    Args:
        result: What a run produced.
        truth: What is known.
        odometry: Dead reckoning that the run was given (T_odom_base), judged beside the result.
        baselines: Ids by mask of other methods, by their name.
        mask_px: Pixels of each mask, for the metrics that ask for IoU.

    Returns:
        `trajectory`: scores by method (`result`, `straight_line`, `odometry`); `masks`, where the
        truth has masks: `frames`, and `methods` with scores by name (`result`, `true_owner`,
        `one_id_per_mask`, baselines); `surface`, where the truth has points;
        `boxes`, where it has footprints, too.

    Raises:
        InputError: result and truth have no stamp in common.
        ResultError: the true points are damaged.
    """
    report: dict[str, Any] = {
        "version": 1,
        "result": str(result.folder),
        "trajectory": judge_trajectory(result, truth, odometry),
    }
    if truth.masks is not None:
        used = used_masks(result, truth.masks)
        methods = {**trivial_assignments(used), **(baselines or {})}
        methods = {"result": result.assignment, **methods}
        report["masks"] = {
            "frames": _count_frames(result, truth.masks, used),
            "methods": {name: score_assignment(used, ids) for name, ids in methods.items()},
        }
        if truth.visible is not None:
            sightings = find_sightings(used, truth.visible, mask_px)
            for name, ids in methods.items():
                score = score_track_coverage(sightings, used.ids(ids))
                report["masks"]["methods"][name]["pictures"] = score
    if truth.points is not None:
        vertices = read_ply(truth.points)
        surface = positions_of(vertices), vertices["instance"].astype(np.int64)
        report["surface"] = judge_surface(result, truth, surface)
        if truth.footprints and result.boxes:
            report["boxes"] = judge_boxes(result, truth, surface)
    return report


def judge_trajectory(result: Result, truth: Truth, odometry: Poses | None) -> dict[str, Any]:
    """Score the result's poses beside a straight line and, where given, the odometry."""
    gt = truth.trajectory
    est = _in_frame_of_truth(result, truth)
    score = score_trajectory(est, gt, result.is_metric)
    if score["num_poses"] == 0:
        raise InputError(
            f"none of the {len(est)} poses of {result.folder} lies within 20 ms of one "
            f"of the {len(gt)} true poses; are they of the same recording?"
        )
    if (result.origin is None) != (truth.origin is None):
        score["ate_none_m"] = score["ate_none_percent"] = None
    line = straight_line(gt)
    scores: dict[str, Any] = {
        "result": {**score, **score_relative_poses(*associate(est, gt))},
        "straight_line": {
            **score_trajectory(line, gt, result.is_metric),
            **score_relative_poses(line, gt),
        },
    }
    if odometry is not None and len(odometry):
        dead_reckoning = resample(odometry, gt.stamps_ns)
        scores["odometry"] = {
            **score_trajectory(dead_reckoning, gt),
            **score_relative_poses(*associate(dead_reckoning, gt)),
        }
    return scores


def _in_frame_of_truth(result: Result, truth: Truth) -> Poses:
    """Bring poses from the run's ENU frame into the truth's; without origins both start alike."""
    if result.origin is None or truth.origin is None:
        return result.trajectory
    T_gt_est = between_origins(truth.origin, result.origin)
    return replace(result.trajectory, T_world_body=T_gt_est @ result.trajectory.T_world_body)


def used_masks(result: Result, truth: MaskTruth) -> MaskTruth:
    """Return the true masks of the pictures that the result used: those it has a row for."""
    used = truth.in_pictures((stamp, camera) for stamp, camera, _ in result.assignment)
    if len(used) == 0:
        raise InputError(
            f"no picture of {result.folder}/observations.csv is among the {len(truth.pictures)} "
            "pictures of the truth's masks.csv; are they of the same recording?"
        )
    return used


def trivial_assignments(used: MaskTruth) -> dict[str, dict[MaskKey, int]]:
    """Name masks by their main owner (what the masks themselves allow), and each by itself."""
    return {
        "true_owner": dict(zip(used.keys, used.building.tolist(), strict=True)),
        "one_id_per_mask": {key: i for i, key in enumerate(used.keys, 1)},
    }


def _count_frames(result: Result, truth: MaskTruth, used: MaskTruth) -> dict[str, float | int]:
    num_used, num_pictures = len(used.pictures), len(truth.pictures)
    return {
        "num_used": num_used,
        "num_with_masks": num_pictures,
        "used_share": num_used / num_pictures,
        "is_enough": num_used >= LEAST_FRAMES_SHARE * num_pictures,
        "num_masks_missing": sum(key not in result.assignment for key in used.keys),
    }


def score_assignment(used: MaskTruth, assignment: Assignment) -> dict[str, Any]:
    """Score one assignment: each mask counted for its main owner, then for every owner it has.

    A mask over two houses, at least a quarter of it on each, has two owners with `all_owners`. It
    can carry only one id, so that even perfect ids stay below 1 then (0.97 on simulated streets):
    the ceiling is the score of `true_owner`.
    """
    ids = used.ids(assignment)
    score = score_identity(used.building, ids, used.stream)
    rows = used.owner_rows(MIN_OWNER_SHARE)
    mask = used.share_mask[rows]
    every = score_identity(used.share_building[rows], ids[mask], used.stream[mask])
    wanted = ("coverage", "coverage_one_to_one", "fragments", "idf1")
    return {
        **score,
        "instance_ratio": score["num_instances"] / max(score["num_buildings"], 1),
        "all_owners": {name: every[name] for name in wanted},
    }


def judge_surface(result: Result, truth: Truth, surface: Surface) -> dict[str, dict[str, Any]]:
    """Score the labelled points on the true surface, after alignment of the trajectories.

    Args:
        result: The map.
        truth: The true trajectory.
        surface: True surface samples (v, 3) with their buildings (v,).

    Returns:
        Scores by case: `result`, after rigid alignment (similarity where scale is unknown) on all
        of the true surface; `near`, on the surface that the vehicle came near, which is what a
        scan of the street would hold; `sim3`, on all of it without the error of scale;
        `sim3_reached`, on that part of the surface alone that lies within the radius of some
        labelled point: what is left is association, not density; `map_points`, with the map's own
        points near the surface, labelled or not, as vertices.
    """
    samples, buildings = surface
    est, gt = associate(result.trajectory, truth.trajectory)
    rigid, similar = (
        apply(align_by_poses(est, gt, with_scale), result.points)
        for with_scale in (not result.is_metric, True)
    )
    reached = transfer(similar, result.instances, samples) != 0
    near = within_reach(samples, truth.trajectory.positions)
    cases = {
        "result": (rigid, surface),
        "near": (rigid, (samples[near], buildings[near])),
        "sim3": (similar, surface),
        "sim3_reached": (similar, (samples[reached], buildings[reached])),
    }
    scores = {
        name: score_surface((aligned, result.instances), shown, result.scores)
        for name, (aligned, shown) in cases.items()
    }
    owner_of_point = transfer(samples, buildings, rigid)
    owned = owner_of_point != 0
    overlap = build_overlap(owner_of_point[owned], result.instances[owned], result.scores)
    scores["map_points"] = {**score_instances(overlap), "num_vertices": int(owned.sum())}
    return scores


def judge_boxes(result: Result, truth: Truth, surface: Surface) -> dict[str, Any]:
    """Score the boxes of instances against those of the true surface that was seen.

    A building is the instance that most of its surface is labelled with, if more than a quarter
    of both together is shared; its true box stands along the first side of its footprint.

    Args:
        result: The map.
        truth: The true trajectory and footprints.
        surface: True surface samples (v, 3) with their buildings (v,).
    """
    samples, buildings = surface
    est, gt = associate(result.trajectory, truth.trajectory)
    S_gt_est = align_by_poses(est, gt, with_scale=not result.is_metric)
    boxes = {i: transform_box(S_gt_est, box) for i, box in result.boxes.items()}
    labels = transfer(apply(S_gt_est, result.points), result.instances, samples)
    ids = np.unique(labels[labels != 0])
    overlap = build_overlap(buildings, labels, {})
    pairs = []
    for building, iou in zip(np.unique(buildings[buildings != 0]), overlap.iou, strict=True):
        best = int(ids[np.argmax(iou)]) if len(ids) else 0
        if best in boxes and iou.max() > MIN_BOX_IOU and int(building) in truth.footprints:
            side = np.subtract(*truth.footprints[int(building)][[1, 0]])
            true_box = enclose(samples[buildings == building], float(np.arctan2(side[1], side[0])))
            pairs.append((boxes[best], true_box))
    return score_boxes(pairs, boxes)
