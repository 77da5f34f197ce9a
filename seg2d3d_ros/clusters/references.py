"""How corners looked when they were first seen, to put their tracks back onto them.

Optical flow follows the picture before, so that its small errors add up along a track: after some
keyframes a corner is no longer where it was, and reprojection errors are alike from view to view.
At keyframes each track is therefore aligned once more with its first picture, which is drawn as
large as the corner appears by now, and as level ground appears by now, where it may lie on some
(Shi and Tomasi, "Good Features to Track", 1994: follow from picture to picture, compare with the
first one).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.clusters.landmarks import is_among
from seg2d3d_ros.clusters.patches import (
    DRAWN_PX,
    WINDOW_PX,
    find_patches,
    height_of,
    is_low,
    level_steps,
    patch_grid,
    sheet_of,
    windows,
)
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Camera, FloatArray, IntArray

_KEPT_PX = 21
_MAX_ZOOM = 1.6
_MIN_ZOOM = 0.75
_MAX_CORRECTION_PX = 1.5
_MAX_DISSIMILARITY = 0.5
_COLUMNS = 32
# The brightness is known where the corner is, and that only once it has been fitted.
_ROUNDS = 2
# A patch must lie within what is kept.
_MAX_STEP_PX = (_KEPT_PX // 2) / (DRAWN_PX // 2)


class ReferencePatches:
    """The first pictures of one camera's corners, by ascending id.

    Attributes:
        ids: The corners.
        misfits: Those that `align` could not put back, ascending.
    """

    def __init__(self) -> None:
        """Start without any."""
        self.ids: IntArray = np.zeros(0, dtype=np.int64)
        self.misfits: IntArray = np.zeros(0, dtype=np.int64)
        self._patches: NDArray[np.uint8] = np.zeros((0, _KEPT_PX, _KEPT_PX), dtype=np.uint8)
        self._center_px: FloatArray = np.zeros((0, 2))
        self._T_cam_local: FloatArray = np.zeros((0, 4, 4))

    def add(
        self, image: np.ndarray, ids: IntArray, uv_px: FloatArray, T_cam_local: FloatArray
    ) -> None:
        """Keep the picture of corners; those that are kept already stay as they are.

        Args:
            image: (h, w) uint8, grey.
            ids: (n,) which.
            uv_px: (n, 2) where they are in it.
            T_cam_local: (4, 4) pose of the camera.
        """
        new = ~is_among(self.ids, ids)
        if not new.any():
            return
        at = np.floor(uv_px[new] + 0.5).astype(np.int64)
        half = _KEPT_PX // 2
        around = np.arange(_KEPT_PX)
        wide = cv2.copyMakeBorder(image, half, half, half, half, cv2.BORDER_REPLICATE)
        rows = (at[:, 1, None] + around)[:, :, None]
        patches = wide[rows, (at[:, 0, None] + around)[:, None]]
        order = np.argsort(np.concatenate([self.ids, ids[new]]), kind="stable")
        self.ids = np.concatenate([self.ids, ids[new]])[order]
        self._patches = np.concatenate([self._patches, patches])[order]
        center = half + uv_px[new] - at
        self._center_px = np.concatenate([self._center_px, center])[order]
        poses = np.broadcast_to(T_cam_local, (len(at), 4, 4))
        self._T_cam_local = np.concatenate([self._T_cam_local, poses])[order]

    def keep(self, ids: IntArray) -> None:
        """Forget all corners but these (n,)."""
        rows = is_among(np.sort(ids), self.ids)
        self.ids, self._patches = self.ids[rows], self._patches[rows]
        self._center_px, self._T_cam_local = self._center_px[rows], self._T_cam_local[rows]

    def align(
        self,
        image: np.ndarray,
        ids: IntArray,
        uv_px: FloatArray,
        points_local: FloatArray,
        T_cam_local: FloatArray,
        camera: Camera,
    ) -> FloatArray:
        """Return where corners are in a picture by how they looked at first.

        A corner stays where it is if its first picture does not fit within 1.5 px; one that by now
        is seen from much nearer or further away is kept anew.

        Args:
            image: (h, w) uint8, grey.
            ids: (n,) corners, of which some are kept.
            uv_px: (n, 2) where flow followed them to.
            points_local: (n, 3) their landmarks; NaN where there is none yet.
            T_cam_local: (4, 4) pose of the camera.
            camera: The camera.

        Returns:
            (n, 2) pixels.
        """
        self.keep(ids)
        self.misfits = self.ids[:0]
        order = np.argsort(ids)
        rows = order[np.searchsorted(ids, self.ids, sorter=order)]
        zoom = self._zoom(points_local[rows], T_cam_local)
        is_near = (zoom > _MIN_ZOOM) & (zoom < _MAX_ZOOM)
        out, near, others = uv_px.copy(), rows[is_near], rows[~is_near]
        if len(near):
            points_cam = transforms.apply(T_cam_local, points_local[near])
            self.keep(self.ids[is_near])
            T_first_cam = self._T_cam_local @ transforms.invert(T_cam_local)
            low, lying = _lying(camera, uv_px[near], points_cam, T_first_cam)
            facing = np.eye(2) / zoom[is_near, None, None]
            out[near], misfit = self._fit_either(image, uv_px[near], facing, low, lying)
            self.misfits = self.ids[np.isinf(misfit)]
        else:
            self.keep(self.ids[:0])
        self.add(image, ids[others], uv_px[others], T_cam_local)
        return out

    def _zoom(self, points: FloatArray, T_cam_local: FloatArray) -> FloatArray:
        """Return how many times as large as at first each corner (n,) is seen."""
        X = np.c_[points, np.ones(len(points))]
        zoom = np.einsum("ni,ni->n", X, self._T_cam_local[:, 2]) / (X @ T_cam_local[2])
        return np.where(np.isfinite(zoom), zoom, 1.0)

    def _fit_either(
        self,
        image: np.ndarray,
        uv_px: FloatArray,
        facing: FloatArray,
        low: IntArray,
        lying: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Return the pixels (n, 2) at which all patches fit, or `uv_px`, and how badly (n,).

        Each is drawn by its steps `facing` (n, 2, 2), some rows `low` (k,) by `lying` (k, 2, 2),
        too; what fits better counts.
        """
        n = len(uv_px)
        rows = np.concatenate([np.arange(n), low])
        steps = np.concatenate([facing, lying])
        fitted, misfit = self._fit(image, uv_px[rows], rows, steps)
        is_better = misfit[n:] < misfit[low]
        out, least = fitted[:n], misfit[:n]
        out[low[is_better]], least[low[is_better]] = fitted[n:][is_better], misfit[n:][is_better]
        return out, least

    def _fit(
        self, image: np.ndarray, uv_px: FloatArray, rows: IntArray, steps: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the pixels (n, 2) at which the patches of some rows fit, or `uv_px`.

        Also how badly they do, as a share of their contrast (n,); infinite where they do not.
        """
        drawn = self._draw(rows, steps)
        fitted = uv_px
        for _ in range(_ROUNDS):
            patches, contrast = _match_brightness(drawn, image, fitted)
            fitted, error = find_patches(patches, image, fitted)
        good = error < _MAX_DISSIMILARITY * contrast
        good &= np.linalg.norm(fitted - uv_px, axis=1) < _MAX_CORRECTION_PX
        misfit = np.where(good, error / np.maximum(contrast, 1e-6), np.inf)
        return np.where(good[:, None], fitted, uv_px), misfit

    def _draw(self, rows: IntArray, steps: FloatArray) -> NDArray[np.float32]:
        """Return the patches of some rows (n, 13, 13), drawn by `steps` (n, 2, 2)."""
        kept = self._patches[rows]
        k = np.arange(len(kept))
        at = np.clip(self._center_px[rows, None] + patch_grid(steps), 0, _KEPT_PX - 1)
        at += _KEPT_PX * np.stack([k % _COLUMNS, k // _COLUMNS], axis=1)[:, None]
        map_u, map_v = at[..., 0].astype(np.float32), at[..., 1].astype(np.float32)
        size = (-(-len(kept) // _COLUMNS) * _KEPT_PX, _COLUMNS * _KEPT_PX)
        source = sheet_of(kept, size).astype(np.float32)
        drawn = cv2.remap(source, map_u, map_v, cv2.INTER_LINEAR)
        return drawn.reshape(-1, DRAWN_PX, DRAWN_PX)


def _lying(
    camera: Camera, uv_px: FloatArray, points_cam: FloatArray, T_first_cam: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Return which corners (n,) may lie on level ground, and the steps that draw it (k, 2, 2).

    Args:
        camera: The camera.
        uv_px: (n, 2) where they are seen.
        points_cam: (n, 3) their landmarks.
        T_first_cam: (n, 4, 4) pose of the camera in that which saw each at first.
    """
    low = np.flatnonzero(is_low(camera, points_cam))
    height = height_of(camera, points_cam[low])
    steps = level_steps(camera, uv_px[low], height, camera, T_first_cam[low])
    fits = np.abs(steps).sum(axis=2).max(axis=1, initial=0.0) < _MAX_STEP_PX
    return low[fits], steps[fits]


def _match_brightness(
    drawn: NDArray[np.float32], image: np.ndarray, uv_px: FloatArray
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Give patches (n, k, k) mean and contrast (n,) of the picture at uv_px (n, 2); return both.

    Exposure changes from keyframe to keyframe.
    """
    there = windows(image, uv_px)
    own = drawn[:, 1:-1, 1:-1].reshape(-1, WINDOW_PX**2)
    contrast = there.std(axis=1)
    gain = contrast / np.maximum(own.std(axis=1), 1.0)
    offset = there.mean(axis=1) - gain * own.mean(axis=1)
    patches = gain[:, None, None] * drawn + offset[:, None, None]
    return np.clip(np.round(patches), 0.0, 255.0).astype(np.uint8), contrast
