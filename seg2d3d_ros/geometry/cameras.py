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
        out = np.empty_like(uv)
        for axis in range(2):
            out[:, axis] = (uv[:, axis] - camera.K[axis, 2]) / camera.K[axis, axis]
        return out
    if camera.distortion == Distortion.EQUIDISTANT:
        return cv2.fisheye.undistortPoints(uv[:, None], camera.K, camera.D).reshape(-1, 2)
    # undistortPoints of OpenCV 4 takes no criteria and stops after five rounds; this one does.
    ideal = cv2.undistortImagePoints(uv[:, None], camera.K, camera.D, None, _CRITERIA)
    focal = np.array([camera.K[0, 0], camera.K[1, 1]])
    return (np.asarray(ideal).reshape(-1, 2) - camera.K[:2, 2]) / focal


def rays(camera: Camera, uv_px: np.ndarray) -> FloatArray:
    """Return viewing directions (n, 3) of pixels (n, 2), optical frame; times depth, points."""
    xy = normalize(camera, uv_px)
    out = np.ones((len(xy), 3))
    out[:, :2] = xy
    return out


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
    uv, inside = np.full((len(points_cam), 2), np.nan), np.zeros(len(points_cam), dtype=bool)
    front = np.flatnonzero(points_cam[:, 2] > 0.05)
    x, y, z = points_cam.take(front, axis=0).T
    x, y = x / z, y / z
    if camera.distortion == Distortion.NONE:
        u, v = x * camera.K[0, 0] + camera.K[0, 2], y * camera.K[1, 1] + camera.K[1, 2]
    else:
        xy = np.stack([x, y], axis=1)
        near = np.linalg.norm(xy, axis=1) < radius_limit(camera)
        front = front[near]
        u, v = distort(camera, xy[near]).T
    uv[front, 0], uv[front, 1] = u, v
    inside[front] = (
        (u > -0.5) & (v > -0.5) & (u < camera.width_px - 0.5) & (v < camera.height_px - 0.5)
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


def radius_limit(camera: Camera) -> float:
    """Return a radius of ideal image coordinates that no pixel of the picture reaches."""
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=float)
    corners *= [camera.width_px - 1, camera.height_px - 1]
    return float(np.linalg.norm(normalize(camera, corners), axis=1).max()) * 1.05


def focal_px(camera: Camera) -> float:
    """Return the mean focal length."""
    return float(camera.K[0, 0] + camera.K[1, 1]) / 2.0
