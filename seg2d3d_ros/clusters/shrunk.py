"""A camera's pictures made small and free of distortion, and a lattice of pixels in them."""

from __future__ import annotations

import cv2
import numpy as np

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.types import Camera, Distortion, FloatArray

_MAX_WIDTH_PX = 640
_LATTICE_PX = 4
_NODE_PX = 4


class ShrunkCamera:
    """A pinhole camera of a half of the size or less, and where its pixels come from.

    Attributes:
        size: Width and height of the small pictures.
        focal_px: (2,) focal lengths in them.
        center_px: (2,) principal point in them.
        lattice_shape: Rows and columns of the lattice.
        lattice_px: (n, 2) its pixels in the picture as received, row by row.
        lattice_xy: (n, 2) their ideal image coordinates.
        lattice_small_px: (n, 2) float32, where they lie in the small picture.
        nodes_xy: (r, c, 2) ideal image coordinates of a coarse grid over the small picture.
    """

    def __init__(self, camera: Camera) -> None:
        """Prepare for a camera; pictures are at most 640 px wide and at most half as large."""
        ratio = max(2, -(-camera.width_px // _MAX_WIDTH_PX))
        self._ratio = ratio
        self.size = (camera.width_px // ratio, camera.height_px // ratio)
        # (0, 0) is the centre of a pixel: what covers `ratio` of them has its centre between.
        self.focal_px = np.array([camera.K[0, 0], camera.K[1, 1]]) / ratio
        self.center_px = (camera.K[:2, 2] + 0.5) / ratio - 0.5
        self._lay_lattice(camera)
        num = [-(-n // _NODE_PX) for n in self.size]
        axes = [(np.arange(k) + 0.5) * n / k - 0.5 for k, n in zip(num, self.size, strict=True)]
        nodes_px = np.stack(np.meshgrid(*axes), axis=-1)
        self.nodes_xy: FloatArray = (nodes_px - self.center_px) / self.focal_px
        self._map = None if camera.distortion == Distortion.NONE else self._undistortion(camera)

    def _lay_lattice(self, camera: Camera) -> None:
        step = _LATTICE_PX * self._ratio
        u = np.arange(step // 2, camera.width_px, step)
        v = np.arange(step // 2, camera.height_px, step)
        self.lattice_shape = (len(v), len(u))
        self.lattice_px = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
        self.lattice_xy = models.normalize(camera, self.lattice_px.astype(np.float64))
        small = self.lattice_xy * self.focal_px + self.center_px
        self.lattice_small_px = small.astype(np.float32)

    def _undistortion(self, camera: Camera) -> np.ndarray:
        grid = np.stack(np.meshgrid(np.arange(self.size[0]), np.arange(self.size[1])), axis=-1)
        xy = (grid.reshape(-1, 2) - self.center_px) / self.focal_px
        raw = (models.distort(camera, xy) + 0.5) / self._ratio - 0.5
        return raw.reshape(grid.shape).astype(np.float32)

    def shrink(self, image: np.ndarray) -> np.ndarray:
        """Return the small grey picture (h, w) uint8 of a picture as received."""
        gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        small = cv2.resize(gray, self.size, interpolation=cv2.INTER_AREA)
        return small if self._map is None else cv2.remap(small, self._map, None, cv2.INTER_LINEAR)

    def fill(self, xy: FloatArray, values: FloatArray) -> FloatArray:
        """Spread values (k,) at ideal image coordinates (k, 2) over the nodes (r, c), smoothly.

        Each node takes a mean weighted by distance; what is near outweighs what is farther by far.
        """
        shape = self.nodes_xy.shape[:2]
        node = np.floor((xy * self.focal_px + self.center_px + 0.5) / _NODE_PX).astype(np.int64)
        column, row = np.clip(node, 0, [shape[1] - 1, shape[0] - 1]).T
        at, num = row * shape[1] + column, shape[0] * shape[1]
        sums = np.stack([np.bincount(at, values, num), np.bincount(at, None, num)], axis=1)
        sums = sums.reshape(*shape, 2).astype(np.float32)
        total, weight = sums.copy(), 1.0
        for sigma in (1.0, 2.0, 4.0, 8.0, 24.0):
            weight *= 0.03
            total += weight * cv2.GaussianBlur(sums, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        reached = total[..., 1] > 1e-12
        fallback = float(np.median(values))
        return np.where(reached, total[..., 0] / np.maximum(total[..., 1], 1e-12), fallback)
