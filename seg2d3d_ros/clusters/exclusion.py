"""Where landmarks must never be: on what moves, in the sky, and on what is fixed to the camera."""

from __future__ import annotations

import cv2
import numpy as np

from seg2d3d_ros.config import SegmentationConfig
from seg2d3d_ros.geometry import masks
from seg2d3d_ros.types import FloatArray, Segmentation, SegmentationStatus

_MARGIN_PX = 2
# Where a picture brings no masks those of the one before serve, grown by what may have moved.
_MAX_AGE_NS = 1_000_000_000
_GROWTH_WIDTHS_PER_S = 0.15
# What is fixed to the camera is asked anew after half a minute: drops dry.
_HELD_NS = 30_000_000_000
_HELD_PX = 10


class Exclusion:
    """Pictures of where no landmark may be, by camera; remembers the last for want of masks."""

    def __init__(self, config: SegmentationConfig) -> None:
        """Exclude the configured moving and ignored classes."""
        self._never = {*config.dynamic_classes, *config.ignored_classes}
        self._last: dict[int, tuple[int, np.ndarray]] = {}
        self._held: dict[int, np.ndarray] = {}

    def clear(self) -> None:
        """Forget what moved; what is fixed to a camera stays so."""
        self._last.clear()

    def look(self, camera: int, segmentation: Segmentation | None) -> np.ndarray | None:
        """Return (h, w) uint8, non-zero where tracks must end; None if nowhere or unknown."""
        if segmentation is None or segmentation.status != SegmentationStatus.OK:
            return None
        picture = np.zeros((segmentation.height_px, segmentation.width_px), np.uint8)
        for mask in segmentation.masks:
            if mask.class_id in self._never:
                x0, y0, x1, y1 = mask.bbox_px
                picture[y0:y1, x0:x1] |= masks.decode_crop(mask.bbox_px, mask.runs).astype(
                    np.uint8
                )
        self._last.pop(camera, None)
        if not picture.any():
            return None
        self._last[camera] = (segmentation.stamp_ns, picture)
        return _grown(picture, _MARGIN_PX)

    def hold(self, camera: int, stamp_ns: int, uv_px: FloatArray, shape: tuple[int, int]) -> None:
        """Let no track start around pixels (n, 2) of a picture (h, w) for half a minute."""
        until_ns = self._held.setdefault(camera, np.zeros(shape, dtype=np.int64))
        u, v = np.clip(np.round(uv_px), 0, (shape[1] - 1, shape[0] - 1)).astype(int).T
        until_ns[v, u] = stamp_ns + _HELD_NS

    def forbid(self, camera: int, stamp_ns: int) -> np.ndarray | None:
        """Return (h, w) uint8, non-zero where no track may start; None if anywhere is allowed.

        Args:
            camera: Index of the camera.
            stamp_ns: Stamp of its picture.
        """
        moving = self._moving(camera, stamp_ns)
        if camera not in self._held:
            return moving
        left_ns = self._held[camera] - stamp_ns
        held = ((left_ns > 0) & (left_ns <= _HELD_NS)).astype(np.uint8)
        fixed = _grown(held, _HELD_PX)
        return fixed if moving is None else fixed | moving

    def _moving(self, camera: int, stamp_ns: int) -> np.ndarray | None:
        if camera not in self._last:
            return None
        since_ns, picture = self._last[camera]
        age_ns = stamp_ns - since_ns
        if not 0 <= age_ns <= _MAX_AGE_NS:
            return None
        growth = _GROWTH_WIDTHS_PER_S * picture.shape[1] * age_ns * 1e-9
        return _grown(picture, _MARGIN_PX + round(growth))

    def allow(self, camera: int, stamp_ns: int) -> np.ndarray | None:
        """Return (h, w) uint8, zero where no track may start; None if anywhere is allowed."""
        picture = self.forbid(camera, stamp_ns)
        return None if picture is None else (picture == 0).astype(np.uint8)


def _grown(picture: np.ndarray, margin_px: int) -> np.ndarray:
    size = 2 * margin_px + 1
    return np.asarray(cv2.dilate(picture, np.ones((size, size), np.uint8)))
