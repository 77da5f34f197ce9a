"""Pose of a whole rig from known points: consensus, then robust Gauss-Newton with a prior."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Camera, FloatArray, IntArray

_MIN_IN_CAMERA = 8
_MIN_AGREEING = 6
_MIN_DEPTH = 0.1
_MAX_SAMPLES = 200
_MAX_MISS = 1e-4


@dataclass(frozen=True)
class PosePrior:
    """A predicted pose with its (6, 6) information of [rotation, translation] in base."""

    T_world_base: FloatArray
    information: FloatArray


@dataclass(frozen=True)
class RigPose:
    """The refined pose, which observations agree (n,), and their errors (n,) in pixels."""

    T_world_base: FloatArray
    is_inlier: np.ndarray
    error_px: FloatArray


@dataclass(frozen=True)
class RigObservations:
    """Known points seen by the cameras of one rig.

    Attributes:
        cameras: The rig.
        camera: (n,) camera of each observation.
        points_world: (n, 3).
        xy: (n, 2) ideal image coordinates x/z, y/z.
    """

    cameras: tuple[Camera, ...]
    camera: IntArray
    points_world: FloatArray
    xy: FloatArray


def find_rig_pose(
    obs: RigObservations, max_error_px: float, min_agreeing: float = 0.0
) -> FloatArray | None:
    """Find the pose of a rig without a first guess, by the camera with most matches that tells.

    Three points and consensus (Ke and Roumeliotis 2017, AP3P); OpenCV's RANSAC is seeded.

    Args:
        obs: Known points and where they may have been seen; most of them may be wrong.
        max_error_px: Reprojection error of an inlier.
        min_agreeing: With fewer that agree, by all cameras together, the pose is of no use: where
            that is a large share of all, few samples tell.

    Returns:
        T_world_base (4, 4), to be refined; None where no camera saw enough that agrees.
    """
    counts = np.bincount(obs.camera, minlength=len(obs.cameras))
    num_samples = _samples_needed(min_agreeing / max(len(obs.xy), 1) / max((counts > 0).sum(), 1))
    for c in np.argsort(-counts, kind="stable"):
        if counts[c] < _MIN_IN_CAMERA:
            break
        rows, camera = obs.camera == c, obs.cameras[c]
        ok, rotation, translation, inliers = cv2.solvePnPRansac(
            np.ascontiguousarray(obs.points_world[rows]),
            np.ascontiguousarray(obs.xy[rows]),
            np.eye(3),
            np.zeros(0),
            iterationsCount=num_samples,
            reprojectionError=max_error_px / models.focal_px(camera),
            confidence=0.999,
            flags=cv2.SOLVEPNP_AP3P,
        )
        if ok and inliers is not None and len(inliers) >= _MIN_AGREEING:
            T_cam_world = transforms.rigid(cv2.Rodrigues(rotation)[0], translation[:, 0])
            return transforms.invert(T_cam_world) @ transforms.invert(camera.T_base_cam)
    return None


def _samples_needed(share: float) -> int:
    """Return how many samples hold one of inliers alone, almost surely, if these are a share.

    Fischler and Bolles, "Random sample consensus" (1981); OpenCV draws four points each time.
    """
    is_pure = min(max(share, 1e-3), 0.99) ** 4
    return int(np.clip(np.ceil(np.log(_MAX_MISS) / np.log1p(-is_pure)), 1, _MAX_SAMPLES))


def refine_rig_pose(
    obs: RigObservations,
    T_world_base: FloatArray,
    max_error_px: float,
    prior: PosePrior | None = None,
    max_iterations: int = 20,
) -> RigPose:
    """Minimise Cauchy-robust reprojection errors over the rig pose, from coarse to fine.

    The kernel starts as wide as the errors of the first pose and narrows to half `max_error_px`.
    The pose is updated on the right: T <- T exp([w, v]), so p_base moves by -v - w x p_base.
    """
    T = T_world_base.copy()
    columns = _Columns(obs)
    at = columns.errors(T)
    finest = 0.5 * max_error_px
    width = max(finest, 1.5 * float(np.median(at.error)) if len(at.error) else finest)
    T_prior_world = None if prior is None else transforms.invert(prior.T_world_base)
    for _ in range(max_iterations):
        weight = (at.z > _MIN_DEPTH) / (1.0 + (at.error / width) ** 2)
        J = by_pose(at.p_base, columns.point_jacobian(at))
        weighted = (J * weight).reshape(6, -1)
        H = weighted @ J.reshape(6, -1).T + 1e-9 * np.eye(6)
        g = weighted @ at.residual.ravel()
        if prior is not None and T_prior_world is not None:
            delta = T_prior_world @ T
            e = np.concatenate([transforms.rotation_vector(delta[:3, :3]), delta[:3, 3]])
            H += prior.information
            g += prior.information @ e
        step = -np.linalg.solve(H, g)
        T = T @ transforms.exp(step)
        at = columns.errors(T)
        if width <= finest and np.abs(step).max() < 1e-5:
            break
        width = max(finest, 0.6 * width)
    return RigPose(T, (at.error < max_error_px) & (at.z > _MIN_DEPTH), at.error)


@dataclass(frozen=True)
class _Errors:
    """How known points are seen from a pose, one to a column.

    Attributes:
        error: (n,) pixels, 1e6 behind the camera.
        residual: (2, n) pixels.
        p_base: (3, n).
        z: (n,) depths.
        xy: (2, n) ideal image coordinates.
    """

    error: FloatArray
    residual: FloatArray
    p_base: FloatArray
    z: FloatArray
    xy: FloatArray


class _Columns:
    """Observations, one to a column, with what belongs to their cameras."""

    def __init__(self, obs: RigObservations) -> None:
        T = np.stack([transforms.invert(c.T_base_cam) for c in obs.cameras])
        self._R = np.take(T[:, :3, :3].reshape(-1, 9).T, obs.camera, axis=1).reshape(3, 3, -1)
        self._t = np.take(T[:, :3, 3].T, obs.camera, axis=1)
        focal = np.array([(c.K[0, 0], c.K[1, 1]) for c in obs.cameras])
        self._focal = np.take(focal.T, obs.camera, axis=1)
        self._points = np.ascontiguousarray(obs.points_world.T)
        self._xy = np.ascontiguousarray(obs.xy.T)

    def errors(self, T: FloatArray) -> _Errors:
        """Return the errors at a pose (4, 4)."""
        R, p_base = self._R, T[:3, :3].T @ (self._points - T[:3, 3, None])
        p_cam = R[:, 0] * p_base[0] + R[:, 1] * p_base[1] + R[:, 2] * p_base[2] + self._t
        z = np.where(np.abs(p_cam[2]) < 1e-6, 1e-6, p_cam[2])
        xy = p_cam[:2] / z
        residual = (xy - self._xy) * self._focal
        error = np.sqrt(residual[0] ** 2 + residual[1] ** 2)
        error[z <= _MIN_DEPTH] = 1e6
        return _Errors(error, residual, p_base, z, xy)

    def point_jacobian(self, at: _Errors) -> FloatArray:
        """Return d pixel / d p_base, (3, 2, n)."""
        return (self._focal / at.z) * (self._R[:2] - at.xy[:, None] * self._R[2]).swapaxes(0, 1)


def by_pose(q: FloatArray, J: FloatArray) -> FloatArray:
    """Return [[q]x, -I]^T J (6, k, n) of points q (3, n) and Jacobians by them, J (3, k, n).

    It is the Jacobian by [w, v] if the pose moves the point by q x w - v.
    """
    x, y, z = q
    out = np.empty((6, *J.shape[1:]))
    np.subtract(z * J[1], y * J[2], out=out[0])
    np.subtract(x * J[2], z * J[0], out=out[1])
    np.subtract(y * J[0], x * J[1], out=out[2])
    np.negative(J, out=out[3:])
    return out


def pose_jacobian(J: FloatArray, q: FloatArray) -> FloatArray:
    """Return J [[q]x, -I] (n, k, 6) of the Jacobian by a point, J (n, k, 3), and q (n, 3).

    The same as `by_pose`, one point to a row.
    """
    out = np.empty((*J.shape[:2], 6))
    x, y, z = (q[:, k, None] for k in range(3))
    out[:, :, 0] = z * J[:, :, 1] - y * J[:, :, 2]
    out[:, :, 1] = x * J[:, :, 2] - z * J[:, :, 0]
    out[:, :, 2] = y * J[:, :, 0] - x * J[:, :, 1]
    out[:, :, 3:] = -J
    return out
