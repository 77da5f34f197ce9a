"""From a labelled map and true surface samples to average precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from seg2d3d_ros.evaluation.average_precision import build_overlap, score_instances
from seg2d3d_ros.evaluation.trajectory import Poses
from seg2d3d_ros.types import FloatArray, IntArray

VOXEL_M = 0.1
TRANSFER_M = 0.5
REACH_M = 30.0


def align_by_poses(est: Poses, gt: Poses, with_scale: bool) -> FloatArray:
    """Find the (4, 4) S_gt_est that brings estimated poses onto true ones, orientations included.

    Positions of a straight drive leave the rotation about the road free, which matters for
    facades. So R maximises tr(R^T (A / |A| + B / |B|)) with A the covariance of positions (Umeyama
    1991) and B = Σ R_gt R_est^T; scale and translation follow from the positions.

    Args:
        est: Estimated poses.
        gt: True poses at the same stamps, as `associate` returns them.
        with_scale: Estimate the scale too.
    """
    p, q = est.positions, gt.positions
    dp, dq = p - p.mean(axis=0), q - q.mean(axis=0)
    by_position = dq.T @ dp
    by_rotation = np.einsum("nij,nkj->ik", gt.T_world_body[:, :3, :3], est.T_world_body[:, :3, :3])
    spread = np.linalg.norm(by_position)
    total = by_rotation / np.linalg.norm(by_rotation)
    if spread > 1e-9:
        total = total + by_position / spread
    U, _, Vt = np.linalg.svd(total)
    R = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    scale = 1.0
    if with_scale and float((dp**2).sum()) > 0:
        scale = float(np.einsum("ni,ij,nj->", dq, R, dp) / (dp**2).sum())
    S = np.eye(4)
    S[:3, :3] = scale * R
    S[:3, 3] = q.mean(axis=0) - scale * R @ p.mean(axis=0)
    return S


def voxelise(points: FloatArray, ids: IntArray, voxel_m: float) -> tuple[FloatArray, IntArray]:
    """Keep one point per voxel, the first, so that no surface counts twice for being dense."""
    cells = np.floor(points / voxel_m).astype(np.int64)
    _, first = np.unique(cells, axis=0, return_index=True)
    first.sort()
    return points[first], ids[first]


def transfer(
    points: FloatArray, ids: IntArray, vertices: FloatArray, radius_m: float = TRANSFER_M
) -> IntArray:
    """Give each vertex (v, 3) the id of the nearest labelled point in the radius, else 0."""
    labelled = ids != 0
    if not labelled.any():
        return np.zeros(len(vertices), dtype=np.int64)
    tree = cKDTree(points[labelled])
    distance, nearest = tree.query(vertices, distance_upper_bound=radius_m)
    found, index = np.isfinite(distance), np.asarray(nearest)
    out = np.zeros(len(vertices), dtype=np.int64)
    out[found] = ids[labelled][index[found]]
    return out


def score_surface(
    est: tuple[FloatArray, IntArray],
    gt: tuple[FloatArray, IntArray],
    scores: dict[int, float],
) -> dict[str, Any]:
    """Score the instances of an aligned map on the true surface.

    Args:
        est: Points (n, 3) of the map in the frame of the truth, and their instances (n,), 0 none.
        gt: Surface samples (v, 3) and their buildings (v,).
        scores: Confidence by instance.

    Returns:
        The scores of `score_instances`; `voxel_m`, the edge of the voxels that the surface is
        thinned to; `radius_m`, the distance over which a point speaks for the surface;
        `surface_share`, the part of the true surface that some labelled point reached;
        `stray_share`, the part of labelled points farther than the radius from any true surface,
        which average precision cannot see.
    """
    vertices, buildings = voxelise(gt[0], gt[1], VOXEL_M)
    predicted = transfer(est[0], est[1], vertices)
    labelled = est[0][est[1] != 0]
    distance = cKDTree(vertices).query(labelled)[0] if len(vertices) else np.zeros(len(labelled))
    return {
        **score_instances(build_overlap(buildings, predicted, scores)),
        "num_vertices": len(vertices),
        "voxel_m": VOXEL_M,
        "radius_m": TRANSFER_M,
        "surface_share": float(np.mean(predicted != 0)) if len(vertices) else 0.0,
        "stray_share": float(np.mean(distance > TRANSFER_M)) if len(labelled) else 0.0,
    }


def within_reach(vertices: FloatArray, path: FloatArray, reach_m: float = REACH_M) -> np.ndarray:
    """Return which vertices (v, 3) some camera came near: a scan holds nothing beyond its range.

    Args:
        vertices: True surface, in the frame of the path.
        path: (n, 3) positions of the vehicle.
        reach_m: Largest distance.
    """
    if not len(path):
        return np.zeros(len(vertices), dtype=bool)
    distance, _ = cKDTree(path).query(vertices, distance_upper_bound=reach_m)
    return np.isfinite(distance)
