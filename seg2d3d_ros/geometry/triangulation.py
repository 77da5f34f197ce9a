"""Triangulation of many tracks at once from rays in a common frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.types import FloatArray, IntArray


@dataclass(frozen=True)
class Triangulated:
    """Points of k tracks.

    Attributes:
        points: (k, 3) in the frame of the rays; NaN where the rays are parallel.
        parallax_rad: (k,) largest angle between the mean ray and any ray of the track, times two.
        sigma_m: (k,) standard deviation along the worst axis for one pixel-sized ray noise.
        is_front: (k,) all rays see the point in front.
    """

    points: FloatArray
    parallax_rad: FloatArray
    sigma_m: FloatArray
    is_front: np.ndarray


def triangulate(
    track: IntArray, centers: FloatArray, rays: FloatArray, num_tracks: int, sigma_rad: float
) -> Triangulated:
    """Intersect rays by least squares, weighted so that angles, not distances, are minimised.

    Minimises sum_i |(I - d_i d_i^T)(X - c_i)|^2 / |X - c_i|^2 by three rounds of reweighting.

    Args:
        track: (n,) track of each ray, 0..num_tracks-1.
        centers: (n, 3) origins of the rays.
        rays: (n, 3) unit directions.
        num_tracks: Number of tracks k.
        sigma_rad: Angular noise of one ray.

    Returns:
        Points, parallax and uncertainty per track; degenerate tracks are NaN, not an error.
    """
    projector = np.eye(3) - rays[:, :, None] * rays[:, None, :]
    weight = np.ones(len(track))
    points = np.full((num_tracks, 3), np.nan)
    for _ in range(3):
        A = _sum_by(track, projector * weight[:, None, None], num_tracks)
        b = _sum_by(
            track, np.einsum("nij,nj->ni", projector, centers) * weight[:, None], num_tracks
        )
        eigenvalues = np.linalg.eigvalsh(A)
        good = eigenvalues[:, 0] > 1e-9 * np.maximum(eigenvalues[:, 2], 1e-12)
        points[:] = np.nan
        points[good] = np.linalg.solve(A[good], b[good][:, :, None])[:, :, 0]
        distance = np.linalg.norm(points[track] - centers, axis=1)
        weight = 1.0 / np.maximum(np.nan_to_num(distance, nan=1.0), 0.1) ** 2
    A = _sum_by(track, projector * weight[:, None, None], num_tracks)
    smallest = np.maximum(np.linalg.eigvalsh(A)[:, 0], 1e-18)
    depth = np.einsum("ni,ni->n", points[track] - centers, rays)
    behind = np.zeros(num_tracks, dtype=bool)
    behind[track[~(depth > 0)]] = True
    return Triangulated(
        points, _parallax(track, rays, num_tracks), sigma_rad / np.sqrt(smallest), ~behind
    )


def _sum_by(index: IntArray, values: FloatArray, size: int) -> FloatArray:
    flat = values.reshape(len(values), -1)
    out: FloatArray = np.zeros((size, flat.shape[1]))
    for k, column in enumerate(flat.T):
        out[:, k] = np.bincount(index, weights=column, minlength=size)
    return out.reshape(size, *values.shape[1:])


def _parallax(track: IntArray, rays: FloatArray, num_tracks: int) -> FloatArray:
    mean = _sum_by(track, rays, num_tracks)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    cosine = np.clip(np.einsum("ni,ni->n", rays, mean[track]), -1.0, 1.0)
    largest = np.zeros(num_tracks)
    np.maximum.at(largest, track, np.arccos(cosine))
    return 2.0 * largest
