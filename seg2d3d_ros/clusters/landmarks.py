"""The table of tracks and landmarks of the active window; ids are never reused."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.types import FloatArray, IntArray

DESCRIPTOR_SIZE = 128


class LandmarkTable:
    """Position (NaN until triangulated), uncertainty, colour and descriptor by id."""

    def __init__(self, first_id: int = 1) -> None:
        """Start empty; the first id created is `first_id`."""
        self._offset = first_id
        self._size = 0
        self._points = np.full((1024, 3), np.nan)
        self._sigma = np.full(1024, np.inf, dtype=np.float32)
        self._colors = np.zeros((1024, 3), dtype=np.uint8)
        self._descriptors = np.zeros((1024, DESCRIPTOR_SIZE), dtype=np.uint8)

    def create(self, num: int) -> IntArray:
        """Return `num` new ids."""
        first = self._offset + self._size
        self._size += num
        while self._size > len(self._points):
            grow = len(self._points)
            self._points = np.concatenate([self._points, np.full((grow, 3), np.nan)])
            self._sigma = np.concatenate([self._sigma, np.full(grow, np.inf, dtype=np.float32)])
            self._colors = np.concatenate([self._colors, np.zeros((grow, 3), dtype=np.uint8)])
            empty = np.zeros((grow, DESCRIPTOR_SIZE), dtype=np.uint8)
            self._descriptors = np.concatenate([self._descriptors, empty])
        return np.arange(first, first + num, dtype=np.int64)

    def points(self, ids: IntArray) -> FloatArray:
        """Return positions (n, 3), NaN where unknown."""
        return self._points[ids - self._offset]

    def sigma(self, ids: IntArray) -> np.ndarray:
        """Return standard deviations (n,) along the worst axis, metres."""
        return self._sigma[ids - self._offset]

    def colors(self, ids: IntArray) -> np.ndarray:
        """Return colours (n, 3) uint8, RGB."""
        return self._colors[ids - self._offset]

    def descriptors(self, ids: IntArray) -> np.ndarray:
        """Return descriptors (n, 128) uint8, zero where there is none yet."""
        return self._descriptors[ids - self._offset]

    def is_described(self, ids: IntArray) -> np.ndarray:
        """Return which landmarks (n,) have a descriptor."""
        return np.asarray(self.descriptors(ids).any(axis=1))

    def set_descriptors(self, ids: IntArray, descriptors: np.ndarray) -> None:
        """Store descriptors (n, 128) uint8."""
        self._descriptors[ids - self._offset] = descriptors

    def set_points(
        self, ids: IntArray, points: FloatArray, sigma: FloatArray | None = None
    ) -> None:
        """Store positions (n, 3) and, where given, their uncertainty (n,)."""
        self._points[ids - self._offset] = points
        if sigma is not None:
            self._sigma[ids - self._offset] = sigma

    def stretch(self, ratio: float, center: FloatArray) -> None:
        """Move all points so many times as far from a center (3,)."""
        self._points = center + ratio * (self._points - center)
        self._sigma *= np.float32(ratio)

    def set_colors(self, ids: IntArray, colors_rgb: np.ndarray) -> None:
        """Store colours (n, 3)."""
        self._colors[ids - self._offset] = colors_rgb

    def forget(self, ids: IntArray) -> None:
        """Take positions back: these tracks must be triangulated anew."""
        self._points[ids - self._offset] = np.nan

    def drop_before(self, first_id: int) -> None:
        """Free the rows of ids below `first_id`."""
        cut = min(max(first_id - self._offset, 0), self._size)
        if cut < 4096:
            return
        self._points = np.concatenate([self._points[cut : self._size], np.full((1024, 3), np.nan)])
        self._sigma = np.concatenate(
            [self._sigma[cut : self._size], np.full(1024, np.inf, dtype=np.float32)]
        )
        self._colors = np.concatenate(
            [self._colors[cut : self._size], np.zeros((1024, 3), dtype=np.uint8)]
        )
        empty = np.zeros((1024, DESCRIPTOR_SIZE), dtype=np.uint8)
        self._descriptors = np.concatenate([self._descriptors[cut : self._size], empty])
        self._offset += cut
        self._size -= cut

    @property
    def next_id(self) -> int:
        """Return the id that will be created next."""
        return self._offset + self._size


def colors_at(image: np.ndarray, uv_px: FloatArray) -> np.ndarray:
    """Return the red, green and blue (n, 3) of a picture, BGR or grey, at pixels (n, 2)."""
    at = np.round(uv_px).astype(int)
    values = image[at[:, 1], at[:, 0]]
    return np.repeat(values[:, None], 3, axis=1) if image.ndim == 2 else values[:, ::-1]


def is_among(known: IntArray, ids: IntArray) -> np.ndarray:
    """Return which ids (n,) are among known ones, ascending; faster than NumPy for a few."""
    among: np.ndarray = np.append(known, -1)[np.searchsorted(known, ids)] == ids
    return among
