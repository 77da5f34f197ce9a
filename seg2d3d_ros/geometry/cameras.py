"""Camera models: pixels of received pictures to ideal rays and back."""

from __future__ import annotations

import cv2
import numpy as np

from seg2d3d_ros.types import Camera, Distortion, FloatArray

# Strong distortion needs up to fifty rounds; it stops early, at 1e-9 px.
_CRITERIA = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-9)


def normalize(camera: Camera, uv_px: np.ndarray) -> FloatArray:
    """Return ideal image coordinates x/z, y/z (n, 2) of pixels (n, 2)."""
    uv = np.ascontiguousarray(uv_px, dtype=np.float64).reshape(-1, 2)
    if len(uv) == 0:
        return uv
    if camera.distortion == Distortion.NONE:
        focal = np.array([camera.K[0, 0], camera.K[1, 1]])
        return (uv - camera.K[:2, 2]) / focal
    if camera.distortion == Distortion.EQUIDISTANT:
        return cv2.fisheye.undistortPoints(uv[:, None], camera.K, camera.D).reshape(-1, 2)
    # undistortPoints of OpenCV 4 takes no criteria and stops after five rounds; this one does.
    ideal = cv2.undistortImagePoints(uv[:, None], camera.K, camera.D, None, _CRITERIA)
    focal = np.array([camera.K[0, 0], camera.K[1, 1]])
    return (np.asarray(ideal).reshape(-1, 2) - camera.K[:2, 2]) / focal


def ideal_pixels(camera: Camera, uv_px: np.ndarray) -> FloatArray:
    """Return where an undistorted camera with the same K would see pixels (n, 2)."""
    if camera.distortion == Distortion.NONE:
        return np.asarray(uv_px, dtype=np.float64).reshape(-1, 2)
    focal = np.array([camera.K[0, 0], camera.K[1, 1]])
    return normalize(camera, uv_px) * focal + camera.K[:2, 2]


def project(camera: Camera, points_cam: FloatArray) -> tuple[FloatArray, np.ndarray]:
    """Project points (n, 3) of the optical frame to pixels (n, 2), a mask (n,) of those inside.

    Points behind the camera or far outside the field of view get NaN: polynomial distortion folds
    there.
    """
    z = points_cam[:, 2]
    front = z > 0.05
    x = np.divide(
        points_cam[:, :2], z[:, None], out=np.full((len(z), 2), np.nan), where=front[:, None]
    )
    if camera.distortion != Distortion.NONE:
        limit = _radius_limit(camera)
        front &= np.nan_to_num(np.linalg.norm(x, axis=1), nan=np.inf) < limit
    uv = np.full((len(z), 2), np.nan)
    uv[front] = distort(camera, x[front])
    inside = front.copy()
    inside[front] = (
        (uv[front] > -0.5).all(axis=1)
        & (uv[front, 0] < camera.width_px - 0.5)
        & (uv[front, 1] < camera.height_px - 0.5)
    )
    return uv, inside


def distort(camera: Camera, xy: FloatArray) -> FloatArray:
    """Return pixels (n, 2) of ideal image coordinates (n, 2)."""
    if len(xy) == 0 or camera.distortion == Distortion.NONE:
        return xy * np.array([camera.K[0, 0], camera.K[1, 1]]) + camera.K[:2, 2]
    rays = np.concatenate([xy, np.ones((len(xy), 1))], axis=1)[:, None]
    zero = np.zeros(3)
    if camera.distortion == Distortion.EQUIDISTANT:
        return cv2.fisheye.projectPoints(rays, zero, zero, camera.K, camera.D)[0].reshape(-1, 2)
    return cv2.projectPoints(rays, zero, zero, camera.K, camera.D)[0].reshape(-1, 2)


def _radius_limit(camera: Camera) -> float:
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=float)
    corners *= [camera.width_px - 1, camera.height_px - 1]
    return float(np.linalg.norm(normalize(camera, corners), axis=1).max()) * 1.05


def focal_px(camera: Camera) -> float:
    """Return the mean focal length."""
    return float(camera.K[0, 0] + camera.K[1, 1]) / 2.0
