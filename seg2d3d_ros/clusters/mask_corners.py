"""Corners that buildings need: a plain facade beside a tree would get none of the common ones."""

from __future__ import annotations

import cv2
import numpy as np

from seg2d3d_ros.clusters.tracker import Tracker
from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry import masks
from seg2d3d_ros.types import FloatArray, IntArray, Segmentation

_AREA_PER_CORNER_PX = 150.0
_SILHOUETTE_PX = 3
_MAX_REGIONS = 30_000


class BuildingCorners:
    """Finds corners in the masks of buildings that hold too few tracks."""

    def __init__(self, config: Config) -> None:
        """Take the number of corners and the classes from the configuration."""
        self._max_corners = config.clusters.building_features
        # Not class 0: where nothing says what a building is, weak corners only harm the poses.
        self._classes = frozenset(config.segmentation.building_classes)

    def find(
        self, tracker: Tracker, regions: tuple[np.ndarray, IntArray], blocked: np.ndarray | None
    ) -> FloatArray:
        """Return new corners (k, 2) of the picture that the tracker saw last.

        Args:
            tracker: Tracks of the camera.
            regions: Masks of the picture, as `regions` gives them; blocked pixels are taken out.
            blocked: (h, w) uint8, non-zero where no landmark may be; None for nowhere.
        """
        region, num = regions
        if blocked is not None:
            region[blocked > 0] = 0
        u, v = np.round(tracker.uv_px).astype(np.int64).T
        have = np.bincount(region[v, u], minlength=len(num))
        return tracker.find_corners_in(region, np.maximum(num - have, 0))

    def regions(self, segmentation: Segmentation) -> tuple[np.ndarray, IntArray]:
        """Say which pixels belong to which mask, and how many corners each one should have.

        Where masks overlap, the smallest one counts. Silhouettes are left out: a corner there
        often belongs to what lies behind.

        Returns:
            (h, w) int16, 0 for no building, and the number (r,) by that value.
        """
        regions = np.zeros((segmentation.height_px, segmentation.width_px), dtype=np.int16)
        found = [m for m in segmentation.masks if m.class_id in self._classes][:_MAX_REGIONS]
        areas = [masks.area(m.bbox_px, m.runs) for m in found]
        order = sorted(range(len(found)), key=lambda k: (-areas[k], found[k].label))
        kernel = np.ones((2 * _SILHOUETTE_PX + 1,) * 2, np.uint8)
        for value, k in enumerate(order, start=1):
            x0, y0, x1, y1 = found[k].bbox_px
            crop = masks.decode_crop(found[k].bbox_px, found[k].runs).astype(np.uint8)
            inner = cv2.erode(crop, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
            regions[y0:y1, x0:x1][crop > 0] = 0
            regions[y0:y1, x0:x1][inner > 0] = value
        num = np.array([0.0, *(areas[k] / _AREA_PER_CORNER_PX for k in order)])
        return regions, np.minimum(num, self._max_corners).astype(np.int64)
