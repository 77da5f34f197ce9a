"""How corners looked when they were first seen, to put their tracks back onto them.

Optical flow follows the picture before, so that its small errors add up along a track: after some
keyframes a corner is no longer where it was, and reprojection errors are alike from view to view.
At keyframes each track is therefore aligned once more with its first picture, which is drawn as
large as the corner appears by now (Shi and Tomasi, "Good Features to Track", 1994: follow from
picture to picture, compare with the first one).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.types import FloatArray, IntArray

_WINDOW_PX = 11
# Drawn patches hold the window and what its gradient needs around it.
_DRAWN_PX = _WINDOW_PX + 2
_KEPT_PX = 21
_MAX_ZOOM = 1.6
_MIN_ZOOM = 0.75
_MAX_CORRECTION_PX = 1.5
_MAX_DISSIMILARITY = 0.5
_COLUMNS = 32
# The brightness is known where the corner is, and that only once it has been fitted.
_ROUNDS = 2
_CRITERIA = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 20, 0.01)


class ReferencePatches:
    """The first pictures of one camera's corners, by ascending id."""

    def __init__(self) -> None:
        """Start without any."""
        self.ids: IntArray = np.zeros(0, dtype=np.int64)
        self._patches: NDArray[np.uint8] = np.zeros((0, _KEPT_PX, _KEPT_PX), dtype=np.uint8)
        self._center_px: FloatArray = np.zeros((0, 2))
        self._depth_row: FloatArray = np.zeros((0, 4))

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
        new = ~_is_among(self.ids, ids)
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
        depth_row = np.tile(T_cam_local[2], (len(at), 1))
        self._depth_row = np.concatenate([self._depth_row, depth_row])[order]

    def keep(self, ids: IntArray) -> None:
        """Forget all corners but these (n,)."""
        rows = _is_among(np.sort(ids), self.ids)
        self.ids, self._patches = self.ids[rows], self._patches[rows]
        self._center_px, self._depth_row = self._center_px[rows], self._depth_row[rows]

    def align(
        self,
        image: np.ndarray,
        ids: IntArray,
        uv_px: FloatArray,
        points_local: FloatArray,
        T_cam_local: FloatArray,
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

        Returns:
            (n, 2) pixels.
        """
        self.keep(ids)
        order = np.argsort(ids)
        rows = order[np.searchsorted(ids, self.ids, sorter=order)]
        zoom = self._zoom(points_local[rows], T_cam_local)
        near = (zoom > _MIN_ZOOM) & (zoom < _MAX_ZOOM)
        out = uv_px.copy()
        if near.any():
            out[rows[near]] = self._fit(image, uv_px[rows[near]], near, zoom[near])
        self.keep(self.ids[near])
        self.add(image, ids[rows[~near]], uv_px[rows[~near]], T_cam_local)
        return out

    def _zoom(self, points: FloatArray, T_cam_local: FloatArray) -> FloatArray:
        """Return how many times as large as at first each corner (n,) is seen."""
        X = np.c_[points, np.ones(len(points))]
        zoom = np.einsum("ni,ni->n", X, self._depth_row) / (X @ T_cam_local[2])
        return np.where(np.isfinite(zoom), zoom, 1.0)

    def _fit(
        self, image: np.ndarray, uv_px: FloatArray, rows: np.ndarray, zoom: FloatArray
    ) -> FloatArray:
        """Return the pixels (n, 2) at which the patches of some rows fit, or `uv_px`."""
        drawn = self._draw(rows, zoom)
        fitted = uv_px
        for _ in range(_ROUNDS):
            patches, contrast = _match_brightness(drawn, image, fitted)
            fitted, error = _flow_from(patches, image, fitted)
        good = error < _MAX_DISSIMILARITY * contrast
        good &= np.linalg.norm(fitted - uv_px, axis=1) < _MAX_CORRECTION_PX
        return np.where(good[:, None], fitted, uv_px)

    def _draw(self, rows: np.ndarray, zoom: FloatArray) -> NDArray[np.float32]:
        """Return the patches of some rows (n, 13, 13), drawn larger by `zoom` (n,)."""
        kept = self._patches[rows]
        k = np.arange(len(kept))
        offset = (np.arange(_DRAWN_PX) - _DRAWN_PX // 2)[None] / zoom[:, None]
        u = np.clip(self._center_px[rows, 0, None] + offset, 0, _KEPT_PX - 1)
        v = np.clip(self._center_px[rows, 1, None] + offset, 0, _KEPT_PX - 1)
        u += (k % _COLUMNS * _KEPT_PX)[:, None]
        v += (k // _COLUMNS * _KEPT_PX)[:, None]
        shape = (len(kept), _DRAWN_PX, _DRAWN_PX)
        map_u = np.broadcast_to(u[:, None, :], shape).reshape(len(kept), -1).astype(np.float32)
        map_v = np.broadcast_to(v[:, :, None], shape).reshape(len(kept), -1).astype(np.float32)
        size = (-(-len(kept) // _COLUMNS) * _KEPT_PX, _COLUMNS * _KEPT_PX)
        source = _sheet(kept, size).astype(np.float32)
        return cv2.remap(source, map_u, map_v, cv2.INTER_LINEAR).reshape(shape)


def _is_among(known: IntArray, ids: IntArray) -> NDArray[np.bool_]:
    """Return which ids (n,) are among known ones, ascending; faster than NumPy for a few."""
    return np.append(known, -1)[np.searchsorted(known, ids)] == ids


def _match_brightness(
    drawn: NDArray[np.float32], image: np.ndarray, uv_px: FloatArray
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Give patches (n, k, k) mean and contrast (n,) of the picture at uv_px (n, 2); return both.

    Exposure changes from keyframe to keyframe.
    """
    around = np.arange(_WINDOW_PX) - _WINDOW_PX // 2
    u = np.tile(uv_px[:, 0, None] + around, _WINDOW_PX)
    v = np.repeat(uv_px[:, 1, None] + around, _WINDOW_PX, axis=1)
    there = cv2.remap(
        image.astype(np.float32),
        u.astype(np.float32),
        v.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    own = drawn[:, 1:-1, 1:-1].reshape(-1, _WINDOW_PX**2)
    contrast = there.std(axis=1)
    gain = contrast / np.maximum(own.std(axis=1), 1.0)
    offset = there.mean(axis=1) - gain * own.mean(axis=1)
    patches = gain[:, None, None] * drawn + offset[:, None, None]
    return np.clip(np.round(patches), 0.0, 255.0).astype(np.uint8), contrast


def _flow_from(
    patches: NDArray[np.uint8], image: np.ndarray, uv_px: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return where patches (n, k, k) lie in a picture (n, 2), near `uv_px`, and how badly (n,).

    How badly is the mean difference of grey values; infinite where nothing was found.
    """
    height, width = image.shape
    columns = width // _DRAWN_PX
    at_once = columns * (height // _DRAWN_PX)
    fitted, error = np.empty(uv_px.shape), np.empty(len(uv_px))
    for low in range(0, len(uv_px), at_once):
        part = slice(low, low + at_once)
        k = np.arange(len(uv_px[part]))
        center = np.stack([k % columns, k // columns], axis=1) * _DRAWN_PX + _DRAWN_PX // 2
        there, ok, off = cv2.calcOpticalFlowPyrLK(
            _sheet(patches[part], image.shape),
            image,
            np.ascontiguousarray(center, dtype=np.float32)[:, None],
            np.ascontiguousarray(uv_px[part], dtype=np.float32)[:, None].copy(),
            winSize=(_WINDOW_PX, _WINDOW_PX),
            maxLevel=0,
            criteria=_CRITERIA,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        fitted[part] = there[:, 0]
        error[part] = np.where(ok[:, 0] > 0, off[:, 0], np.inf)
    return fitted, error


def _sheet(patches: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return patches (n, k, k) side by side in a picture of that height and width."""
    n, k = len(patches), patches.shape[1]
    rows, columns = size[0] // k, size[1] // k
    full = np.zeros((rows * columns, k, k), dtype=patches.dtype)
    full[:n] = patches
    sheet = np.zeros(size, dtype=patches.dtype)
    ordered = full.reshape(rows, columns, k, k).swapaxes(1, 2)
    sheet[: rows * k, : columns * k] = ordered.reshape(rows * k, columns * k)
    return sheet
