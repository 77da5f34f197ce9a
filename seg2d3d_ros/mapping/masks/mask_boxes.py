"""Boxes of masks from picture to picture: what is left where nothing tells how far a mask is."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.types import Camera, FloatArray


def box_overlaps(
    camera: Camera, boxes_px: FloatArray, R_now_then: FloatArray, boxes_now_px: FloatArray
) -> FloatArray:
    """Compare boxes with those of another picture, as if all were far away: only turning counts.

    Args:
        camera: That both pictures are of.
        boxes_px: (n, 4) x0, y0, x1, y1 of the earlier picture.
        R_now_then: (3, 3) rotation of the camera.
        boxes_now_px: (m, 4) of the later picture.

    Returns:
        (n, m) intersection over union; 0 for boxes that are turned out of the picture.
    """
    corners = boxes_px.reshape(-1, 2)
    rays = models.rays(camera, corners) @ R_now_then.T
    size = [camera.width_px, camera.height_px]
    turned = np.clip(np.nan_to_num(models.project(camera, rays)[0]), 0, size).reshape(-1, 4)
    low = np.maximum(turned[:, None, :2], boxes_now_px[None, :, :2])
    high = np.minimum(turned[:, None, 2:], boxes_now_px[None, :, 2:])
    both = np.maximum(high - low, 0.0).prod(axis=2)
    either = _area(turned)[:, None] + _area(boxes_now_px) - both
    return both / np.maximum(either, 1e-9)


def _area(boxes_px: FloatArray) -> FloatArray:
    return np.asarray(np.maximum(boxes_px[:, 2:] - boxes_px[:, :2], 0.0).prod(axis=1))
