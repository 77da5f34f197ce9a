"""Transforms as (4, 4) arrays, p_a = T_a_b @ p_b; a similarity is S_a_b and carries its scale."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike

from seg2d3d_ros.types import FloatArray

# REP 103 body axes (x forward, y left, z up) from optical axes (x right, y down, z forward).
R_BODY_OPTICAL: FloatArray = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def rigid(R: ArrayLike, t: ArrayLike) -> FloatArray:
    """Build a (4, 4) transform from a (3, 3) rotation and a (3,) translation."""
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = t
    return T


def invert(T: FloatArray) -> FloatArray:
    """Invert rigid transforms (..., 4, 4)."""
    R_t = np.swapaxes(T[..., :3, :3], -1, -2)
    out = np.zeros_like(T)
    out[..., :3, :3] = R_t
    out[..., :3, 3] = -np.einsum("...ij,...j->...i", R_t, T[..., :3, 3])
    out[..., 3, 3] = 1.0
    return out


def apply(T: FloatArray, points: FloatArray) -> FloatArray:
    """Map points (n, 3) by a rigid or similarity transform (4, 4)."""
    return points @ T[:3, :3].T + T[:3, 3]


def from_quaternion(quat_xyzw: ArrayLike, t: ArrayLike) -> FloatArray:
    """Build a transform from a quaternion (4,) in x y z w order and a translation (3,)."""
    quat = np.asarray(quat_xyzw, dtype=float)
    x, y, z, w = quat / np.linalg.norm(quat)
    R = [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)],
        [2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w)],
        [2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y)],
    ]
    return rigid(R, t)


def to_quaternion(T: FloatArray) -> FloatArray:
    """Return quaternions (..., 4) in x y z w order with w >= 0 of transforms (..., 4, 4).

    A matrix gives 4 q q^T; the row of its largest component tells q best (Shepperd, Quaternion
    from Rotation Matrix, 1978).
    """
    R = T[..., :3, :3]
    products = np.empty((*T.shape[:-2], 4, 4))
    symmetric, trace = R + np.swapaxes(R, -1, -2), np.trace(R, axis1=-2, axis2=-1)
    products[..., :3, :3] = symmetric + (1.0 - trace[..., None, None]) * np.eye(3)
    products[..., 3, 3] = 1.0 + trace
    for k, (i, j) in enumerate(((2, 1), (0, 2), (1, 0))):
        products[..., k, 3] = products[..., 3, k] = R[..., i, j] - R[..., j, i]
    best = np.diagonal(products, axis1=-2, axis2=-1).argmax(axis=-1)
    quat = np.take_along_axis(products, best[..., None, None], axis=-2)[..., 0, :]
    quat = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
    return np.where(quat[..., 3:] < 0, -quat, quat)


def exp(xi: ArrayLike) -> FloatArray:
    """Return the transform with rotation vector xi[:3] (rad) and translation xi[3:].

    This is not the exponential of se(3): rotation and translation stay apart.
    """
    xi = np.asarray(xi, dtype=float)
    return rigid(cv2.Rodrigues(xi[:3])[0], xi[3:])


def rotation_vector(R: FloatArray) -> FloatArray:
    """Return the rotation vector (3,) of a matrix (3, 3), rad; |vector| <= pi.

    For one matrix a tenth of the time of SciPy's, and exact for tiny angles, where OpenCV's is 0.
    """
    x, y, z = R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]
    sine = 0.5 * math.sqrt(x * x + y * y + z * z)
    cosine = 0.5 * (R[0, 0] + R[1, 1] + R[2, 2] - 1.0)
    if cosine < -0.99:  # near half a turn the differences vanish, and with them the axis
        axis, w = np.split(to_quaternion(rigid(R, np.zeros(3))), [3])
        return 2.0 * math.atan2(np.linalg.norm(axis), w[0]) / np.linalg.norm(axis) * axis
    factor = 0.5 * math.atan2(sine, cosine) / sine if sine > 1e-9 else 0.5
    return np.array([factor * x, factor * y, factor * z])


def angle_rad(T: FloatArray) -> float:
    """Return the rotation angle of a transform."""
    c = (np.trace(T[:3, :3]) - 1.0) / 2.0
    s = np.linalg.norm(T[:3, :3] - T[:3, :3].T) / np.sqrt(8.0)
    return float(np.arctan2(s, c))


def interpolate(T_i: FloatArray, T_j: FloatArray, ratio: float) -> FloatArray:
    """Interpolate between two poses; a ratio outside 0..1 extrapolates at constant rate."""
    rotvec = rotation_vector(T_i[:3, :3].T @ T_j[:3, :3]) * ratio
    R = T_i[:3, :3] @ cv2.Rodrigues(rotvec)[0]
    return rigid(R, T_i[:3, 3] + ratio * (T_j[:3, 3] - T_i[:3, 3]))


def interpolate_many(stamps_ns: ArrayLike, T: FloatArray, query_ns: ArrayLike) -> FloatArray:
    """Interpolate poses (n, 4, 4) at rising stamps (n,) to stamps (m,); held beyond the ends."""
    from scipy.spatial.transform import Rotation, Slerp  # a quarter of a second to import

    stamps = np.asarray(stamps_ns, dtype=np.int64)
    base = stamps[0]
    seconds = (stamps - base) * 1e-9
    query = np.clip((np.asarray(query_ns, dtype=np.int64) - base) * 1e-9, 0.0, seconds[-1])
    out = np.tile(np.eye(4), (len(query), 1, 1))
    if len(stamps) == 1:
        out[:] = T[0]
        return out
    out[:, :3, :3] = Slerp(seconds, Rotation.from_matrix(T[:, :3, :3]))(query).as_matrix()
    for axis in range(3):
        out[:, axis, 3] = np.interp(query, seconds, T[:, axis, 3])
    return out


def path_distances(positions: FloatArray) -> FloatArray:
    """Return the distance travelled up to each of the positions (n, d); (n,), the first is 0."""
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    return np.concatenate(([0.0], np.cumsum(steps)))[: len(positions)]


def yaw_rad(T: FloatArray) -> float:
    """Return the heading of a pose about z."""
    return float(np.arctan2(T[1, 0], T[0, 0]))


def orthonormal(R: FloatArray) -> FloatArray:
    """Return the rotation nearest to a (3, 3) matrix: removes the rounding of long products."""
    U, _, Vt = np.linalg.svd(R)
    return np.asarray(U @ Vt)
