"""Small patches around corners: drawn as another picture should show them, and found in it.

What stands upright looks much the same from a little farther on or beside. Level ground does not:
from 1.6 m above, two cameras 0.8 m apart see each row of it half a pixel farther aside than the
row above. Flow of unsheared patches is off by a pixel there, and with it the metres that near
ground tells best.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.types import Camera, FloatArray

WINDOW_PX = 11
# Drawn patches hold the window and what its gradient needs around it.
DRAWN_PX = WINDOW_PX + 2
_STEP_PX = 5.0
_LEAST_DROP_M = 0.5
_LEAST_DOWN = 1e-3
_CRITERIA = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 20, 0.01)


def height_of(camera: Camera, points_cam: FloatArray) -> FloatArray:
    """Return how high points (n, 3) in the optical frame lie above the camera (n,), metres."""
    height: FloatArray = points_cam @ camera.T_base_cam[2, :3]
    return height


def is_low(camera: Camera, points_cam: FloatArray) -> NDArray[np.bool_]:
    """Return which points (n, 3) in the optical frame may lie on the ground; NaN does not."""
    return height_of(camera, points_cam) < -_LEAST_DROP_M


def level_steps(
    camera: Camera,
    uv_px: FloatArray,
    height_m: FloatArray,
    other: Camera,
    T_other_cam: FloatArray,
) -> FloatArray:
    """Return by how many pixels another picture of level ground goes on per pixel of this one.

    Args:
        camera: The camera of this picture.
        uv_px: (n, 2) where the ground is seen.
        height_m: (n,) how high it lies above this camera, below zero.
        other: The camera of the other picture.
        T_other_cam: (n, 4, 4) or (4, 4), p_other = T_other_cam @ p_cam.

    Returns:
        (n, 2, 2), columns for steps along u and v; NaN where the other does not see it.
    """
    steps = np.array([[0.0, 0.0], [_STEP_PX, 0.0], [0.0, _STEP_PX]])
    rays = models.rays(camera, (uv_px[:, None] + steps).reshape(-1, 2))
    down = np.minimum(height_of(camera, rays), -_LEAST_DOWN)
    points = rays * (np.repeat(height_m, 3) / down)[:, None]
    T = np.broadcast_to(T_other_cam, (len(uv_px), 4, 4)).repeat(3, axis=0)
    there = np.einsum("nij,nj->ni", T[:, :3, :3], points) + T[:, :3, 3]
    at = models.project(other, there)[0].reshape(-1, 3, 2)
    return np.stack([at[:, 1] - at[:, 0], at[:, 2] - at[:, 0]], axis=2) / _STEP_PX


def patch_grid(steps: FloatArray) -> FloatArray:
    """Return where the pixels of patches lie around their corners (n, 169, 2), by `steps`."""
    around = np.arange(DRAWN_PX) - DRAWN_PX // 2.0
    grid = np.stack(np.meshgrid(around, around), axis=-1).reshape(-1, 2)
    out: FloatArray = grid @ steps.swapaxes(1, 2)
    return out


def draw_patches(image: np.ndarray, uv_px: FloatArray, steps: FloatArray) -> NDArray[np.uint8]:
    """Draw patches (n, 13, 13) of a grey picture around corners (n, 2), by `steps` (n, 2, 2)."""
    at = (uv_px[:, None] + patch_grid(steps)).astype(np.float32)
    drawn = cv2.remap(
        image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(drawn).reshape(-1, DRAWN_PX, DRAWN_PX)


def find_patches(
    patches: NDArray[np.uint8], image: np.ndarray, uv_px: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return where patches (n, 13, 13) lie in a picture (n, 2), near `uv_px`, and how badly (n,).

    How badly is the mean difference of grey values; infinite where nothing was found.
    """
    height, width = image.shape
    columns = width // DRAWN_PX
    at_once = columns * (height // DRAWN_PX)
    found, error = np.empty(uv_px.shape), np.empty(len(uv_px))
    for low in range(0, len(uv_px), at_once):
        part = slice(low, low + at_once)
        k = np.arange(len(uv_px[part]))
        center = np.stack([k % columns, k // columns], axis=1) * DRAWN_PX + DRAWN_PX // 2
        there, ok, off = cv2.calcOpticalFlowPyrLK(
            sheet_of(patches[part], image.shape),
            image,
            np.ascontiguousarray(center, dtype=np.float32)[:, None],
            np.ascontiguousarray(uv_px[part], dtype=np.float32)[:, None].copy(),
            winSize=(WINDOW_PX, WINDOW_PX),
            maxLevel=0,
            criteria=_CRITERIA,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        found[part] = there[:, 0]
        error[part] = np.where(ok[:, 0] > 0, off[:, 0], np.inf)
    return found, error


def sheet_of(patches: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return patches (n, k, k) side by side in a picture of that height and width."""
    n, k = len(patches), patches.shape[1]
    columns = size[1] // k
    rows = -(-n // columns)
    full = np.zeros((rows * columns, k, k), dtype=patches.dtype)
    full[:n] = patches
    sheet = np.zeros(size, dtype=patches.dtype)
    ordered = full.reshape(rows, columns, k, k).swapaxes(1, 2)
    sheet[: rows * k, : columns * k] = ordered.reshape(rows * k, columns * k)
    return sheet


def dissimilarity(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return 1 - normalised correlation (n,) of patches (n, m)."""
    a = a - a.mean(axis=1, keepdims=True)
    b = b - b.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    out: FloatArray = 1.0 - np.einsum("ni,ni->n", a, b) / np.maximum(norm, 1e-6)
    return out


def windows(image: np.ndarray, uv_px: FloatArray) -> FloatArray:
    """Return the pixels (n, 121) of the windows around corners (n, 2) of a grey picture."""
    if len(uv_px) == 0:
        return np.zeros((0, WINDOW_PX**2))
    around = np.arange(WINDOW_PX) - WINDOW_PX // 2
    u = np.tile(uv_px[:, 0, None] + around, WINDOW_PX).astype(np.float32)
    v = np.repeat(uv_px[:, 1, None] + around, WINDOW_PX, axis=1).astype(np.float32)
    seen = cv2.remap(
        image.astype(np.float32), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return seen.reshape(len(uv_px), -1).astype(np.float64)
