"""Appearance of landmarks: one upright SIFT descriptor each, at the size it has in the world."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.clusters.landmarks import DESCRIPTOR_SIZE, LandmarkTable
from seg2d3d_ros.clusters.threads import Threads
from seg2d3d_ros.clusters.window import LocalFrame
from seg2d3d_ros.types import Camera, FloatArray, IntArray

_EVERY = 2
# What is small in the picture costs most, and most of it soon comes nearer: it waits for longer.
_SMALL_EVERY = 8
_PATCH_M = 0.5
TYPICAL_DEPTH_M = 20.0
_SIZE_PX = 4.0
_LEVELS = 4


class Describer:
    """Describes each landmark once, as soon as its depth is known, on every second keyframe.

    One whose patch is small in the picture is described on every eighth keyframe only.
    The patch that is described is as large in the world for every landmark, so that it looks the
    same from near and far. Where the scale is unknown, depths are taken as multiples of the first
    ones of the session, which are those of a typical street.
    """

    def __init__(self, cameras: tuple[Camera, ...], beside: Threads) -> None:
        """Prepare for the cameras of a rig; describe in these threads."""
        self._cameras = cameras
        self._sifts = [cv2.SIFT.create() for _ in cameras]
        self._beside = beside
        self._begun: Callable[[], None] | None = None
        self.start()

    def start(self) -> None:
        """Forget the unit of depth: a new session has its own."""
        self.settle()
        self._unit: float | None = None
        self._num_keyframes = 0

    def begin(
        self,
        keyframe: LocalFrame,
        grays: dict[int, np.ndarray],
        table: LandmarkTable,
        is_metric: bool,
    ) -> None:
        """Begin to describe the landmarks of a keyframe that are not described yet.

        Args:
            keyframe: The newest keyframe; changes nothing.
            grays: Its pictures (h, w) uint8 by camera.
            table: Landmarks with their positions in the local frame; takes the descriptors when
                they are settled.
            is_metric: The positions are in metres.
        """
        self._num_keyframes += 1
        if self._num_keyframes % _EVERY:
            return
        self.settle()
        seen = keyframe.seen
        points = table.points(seen.ids)
        wanted = np.isfinite(points[:, 0]) & ~table.is_described(seen.ids)
        patches: list[tuple[int, IntArray, FloatArray, FloatArray]] = []
        for c in sorted(grays):
            rows = np.flatnonzero(wanted & (seen.camera == c))
            if not len(rows):
                continue
            T_local_cam = keyframe.T_local_base @ self._cameras[c].T_base_cam
            depth = np.linalg.norm(points[rows] - T_local_cam[:3, 3], axis=1)
            if self._unit is None and not is_metric:
                self._unit = float(np.median(depth)) / TYPICAL_DEPTH_M
            unit = 1.0 if is_metric or self._unit is None else self._unit
            size_px = patch_px(self._cameras[c], depth, unit)
            if self._num_keyframes % _SMALL_EVERY:
                large = size_px >= 2.0 * _SIZE_PX
                rows, size_px = rows[large], size_px[large]
            patches.append((c, seen.ids[rows], seen.uv_px[rows], size_px))
        described = self._beside.begin(
            lambda p: describe(self._sifts[p[0]], grays[p[0]], p[2], p[3]), patches
        )

        def store() -> None:
            for (_, ids, _, _), found in zip(patches, described(), strict=True):
                table.set_descriptors(ids, found)

        self._begun = store

    def settle(self) -> None:
        """Wait for the descriptors that were begun, and store them."""
        if self._begun is not None:
            store, self._begun = self._begun, None
            store()


def patch_px(camera: Camera, depth: FloatArray, unit: float) -> FloatArray:
    """Return how large the patches of landmarks (n,) at some depth are in a picture.

    Args:
        camera: The camera.
        depth: (n,) distances in the unit of the map.
        unit: What counts as a metre in it.
    """
    return np.asarray(camera.K[0, 0] * _PATCH_M * unit / np.maximum(depth, 1e-6))


def describe(
    sift: cv2.SIFT, gray: np.ndarray, uv_px: FloatArray, size_px: FloatArray
) -> NDArray[np.uint8]:
    """Describe patches of a picture, each on the level of a pyramid where it is small.

    Args:
        sift: What describes.
        gray: (h, w) uint8.
        uv_px: (n, 2) middles of the patches.
        size_px: (n,) their sizes.

    Returns:
        Descriptors (n, 128), zero where a patch is too near to the border.
    """
    out = np.zeros((len(uv_px), DESCRIPTOR_SIZE), dtype=np.uint8)
    level = np.floor(np.log2(np.maximum(size_px / _SIZE_PX, 1.0))).astype(np.int64)
    level = np.minimum(level, _LEVELS - 1)
    image = gray
    for k in range(int(level.max(initial=-1)) + 1):
        if k:
            half = (image.shape[1] // 2, image.shape[0] // 2)
            image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
        rows = np.flatnonzero(level == k)
        if not len(rows):
            continue
        ratio = np.array([image.shape[1] / gray.shape[1], image.shape[0] / gray.shape[0]])
        uv = (uv_px[rows] + 0.5) * ratio - 0.5
        size = np.clip(size_px[rows] * ratio[0], _SIZE_PX, 3.0 * _SIZE_PX)
        keypoints = [
            cv2.KeyPoint(float(u), float(v), float(s), 0.0, 0.0, 0, int(row))
            for (u, v), s, row in zip(uv, size, rows, strict=True)
        ]
        described, found = sift.compute(image, keypoints)
        if len(described):
            out[[p.class_id for p in described]] = np.round(found).astype(np.uint8)
    return out
