"""Robust alignment of point sets: rigid or similarity, by iteratively reweighted least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.types import FloatArray


@dataclass(frozen=True)
class Alignment:
    """Result of an alignment.

    Attributes:
        S_a_b: (4, 4) with p_a = S_a_b @ p_b; rigid where the scale was fixed.
        scale: The similarity's scale.
        residual_m: Median distance of the inliers after alignment.
        inlier_ratio: Share of points within three times the robust scale.
        is_degenerate: The points do not fix the rotation (fewer than three, or on a line).
    """

    S_a_b: FloatArray
    scale: float
    residual_m: float
    inlier_ratio: float
    is_degenerate: bool


def align_points(
    points_a: FloatArray,
    points_b: FloatArray,
    with_scale: bool = False,
    weights: FloatArray | None = None,
    delta_m: float | None = None,
) -> Alignment:
    """Find S with p_a = S @ p_b (Umeyama 1991, eq. 40-42) under Huber reweighting.

    Args:
        points_a: (n, 3).
        points_b: (n, 3).
        with_scale: Estimate a similarity rather than a rigid transform.
        weights: (n,) prior weights; ones if None.
        delta_m: Huber width; None fits without reweighting (exact least squares).

    Returns:
        The alignment; on a line `is_degenerate` is set and the rotation about it is arbitrary.
    """
    n = len(points_a)
    w0 = np.ones(n) if weights is None else weights
    w = w0.copy()
    S, scale, degenerate = _weighted_umeyama(points_a, points_b, w, with_scale)
    distance = np.linalg.norm(points_a - (points_b @ S[:3, :3].T + S[:3, 3]), axis=1)
    if delta_m is not None and not degenerate:
        width = max(delta_m, 1.5 * float(np.median(distance)))
        for _ in range(20):
            w = w0 * np.minimum(1.0, width / np.maximum(distance, 1e-12)) ** 2
            S, scale, degenerate = _weighted_umeyama(points_a, points_b, w, with_scale)
            distance = np.linalg.norm(points_a - (points_b @ S[:3, :3].T + S[:3, 3]), axis=1)
            width = max(delta_m, 0.7 * width)
    typical = float(np.median(distance)) if n else 0.0
    bound = 3.0 * (delta_m if delta_m is not None else max(1.5 * typical, 1e-9))
    inlier = distance <= bound
    residual = float(np.median(distance[inlier])) if inlier.any() else float("inf")
    return Alignment(S, scale, residual, float(inlier.mean()) if n else 0.0, degenerate)


def _weighted_umeyama(
    a: FloatArray, b: FloatArray, w: FloatArray, with_scale: bool
) -> tuple[FloatArray, float, bool]:
    S = np.eye(4)
    if len(a) < 3 or w.sum() <= 0:
        return S, 1.0, True
    w = w / w.sum()
    mean_a, mean_b = w @ a, w @ b
    da, db = a - mean_a, b - mean_b
    U, D, Vt = np.linalg.svd((da * w[:, None]).T @ db)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])
    R = (U * sign) @ Vt
    scale = 1.0
    if with_scale:
        variance = float(w @ (db**2).sum(axis=1))
        scale = float((D * sign).sum() / variance) if variance > 0 else 1.0
    S[:3, :3] = scale * R
    S[:3, 3] = mean_a - scale * R @ mean_b
    return S, scale, bool(D[1] < 1e-6 * max(D[0], 1e-300))
