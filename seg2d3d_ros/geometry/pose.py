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


def find_rig_pose(obs: RigObservations, max_error_px: float) -> FloatArray | None:
    """Find the pose of a rig without a first guess, by the camera with most matches that tells.

    Three points and consensus (Ke and Roumeliotis 2017, AP3P); OpenCV's RANSAC is seeded.

    Args:
        obs: Known points and where they may have been seen; most of them may be wrong.
        max_error_px: Reprojection error of an inlier.

    Returns:
        T_world_base (4, 4), to be refined; None where no camera saw enough that agrees.
    """
    counts = np.bincount(obs.camera, minlength=len(obs.cameras))
    for c in np.argsort(-counts, kind="stable"):
        if counts[c] < _MIN_IN_CAMERA:
            break
        rows, camera = obs.camera == c, obs.cameras[c]
        ok, rotation, translation, inliers = cv2.solvePnPRansac(
            np.ascontiguousarray(obs.points_world[rows]),
            np.ascontiguousarray(obs.xy[rows]),
            np.eye(3),
            np.zeros(0),
            iterationsCount=200,
            reprojectionError=max_error_px / models.focal_px(camera),
            confidence=0.999,
            flags=cv2.SOLVEPNP_AP3P,
        )
        if ok and inliers is not None and len(inliers) >= _MIN_AGREEING:
            T_cam_world = transforms.rigid(cv2.Rodrigues(rotation)[0], translation[:, 0])
            return transforms.invert(T_cam_world) @ transforms.invert(camera.T_base_cam)
    return None


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
    R_cam_base, t_cam_base, focal = _extrinsics(obs)
    error = _errors(obs, T, R_cam_base, t_cam_base, focal)[0]
    finest = 0.5 * max_error_px
    width = max(finest, 1.5 * float(np.median(error)) if len(error) else finest)
    for _ in range(max_iterations):
        error, residual, p_base, p_cam = _errors(obs, T, R_cam_base, t_cam_base, focal)
        front = p_cam[:, 2] > 0.1
        weight = front / (1.0 + (error / width) ** 2)
        J = pose_jacobian(_point_jacobian(p_cam, R_cam_base, focal), p_base).reshape(-1, 6)
        weighted = (J * np.repeat(weight, 2)[:, None]).T
        H = weighted @ J + 1e-9 * np.eye(6)
        g = weighted @ residual.ravel()
        if prior is not None:
            delta = transforms.invert(prior.T_world_base) @ T
            e = np.concatenate([transforms.rotation_vector(delta[:3, :3]), delta[:3, 3]])
            H += prior.information
            g += prior.information @ e
        step = -np.linalg.solve(H, g)
        T = T @ transforms.exp(step)
        if width <= finest and np.abs(step).max() < 1e-5:
            break
        width = max(finest, 0.6 * width)
    error, _, _, p_cam = _errors(obs, T, R_cam_base, t_cam_base, focal)
    return RigPose(T, (error < max_error_px) & (p_cam[:, 2] > 0.1), error)


def _extrinsics(obs: RigObservations) -> tuple[FloatArray, FloatArray, FloatArray]:
    T = np.stack([transforms.invert(c.T_base_cam) for c in obs.cameras])[obs.camera]
    focal = np.array([(c.K[0, 0], c.K[1, 1]) for c in obs.cameras])[obs.camera]
    return T[:, :3, :3], T[:, :3, 3], focal


def _errors(
    obs: RigObservations, T: FloatArray, R: FloatArray, t: FloatArray, focal: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    p_base = (obs.points_world - T[:3, 3]) @ T[:3, :3]
    p_cam = np.einsum("nij,nj->ni", R, p_base) + t
    z = np.where(np.abs(p_cam[:, 2]) < 1e-6, 1e-6, p_cam[:, 2])
    residual = (p_cam[:, :2] / z[:, None] - obs.xy) * focal
    error = np.linalg.norm(residual, axis=1)
    error[p_cam[:, 2] <= 0.1] = 1e6
    return error, residual, p_base, p_cam


def _point_jacobian(p_cam: FloatArray, R: FloatArray, focal: FloatArray) -> FloatArray:
    """Return d pixel / d p_base (n, 2, 3)."""
    z = np.where(np.abs(p_cam[:, 2]) < 1e-6, 1e-6, p_cam[:, 2])[:, None]
    xy = p_cam[:, :2] / z
    return (focal / z)[:, :, None] * (R[:, :2] - xy[:, :, None] * R[:, 2:])


def pose_jacobian(J: FloatArray, q: FloatArray) -> FloatArray:
    """Return J [[q]x, -I] (n, k, 6) of the Jacobian by a point, J (n, k, 3), and q (n, 3).

    It is that by [w, v] if the pose moves the point by q x w - v.
    """
    out = np.empty((*J.shape[:2], 6))
    x, y, z = (q[:, k, None] for k in range(3))
    out[:, :, 0] = z * J[:, :, 1] - y * J[:, :, 2]
    out[:, :, 1] = x * J[:, :, 2] - z * J[:, :, 0]
    out[:, :, 2] = y * J[:, :, 0] - x * J[:, :, 1]
    out[:, :, 3:] = -J
    return out
