"""All textures in one picture, shrunk beforehand so that far facades do not shimmer."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.errors import ConfigError

# OpenCV looks things up in pictures of less than 32767 px a side and 2 GiB.
_WIDTHS_PX = (12288, 32766)
_MOST_PX, _MOST_BYTES = 32766, 2**31 - 1
_MAX_LEVELS = 11


class Atlas:
    """A rip map: every texture in all combinations of horizontally and vertically halved sizes.

    Facades seen along the street are squeezed in one direction only; halving both directions
    alike (a mip map) would blur or shimmer there. Level (i, j) of a texture lies in column i and
    row j of its block.
    """

    def __init__(self, textures: list[tuple[NDArray[np.uint8], bool]]) -> None:
        """Pack textures, each (h, w, 3) uint8 BGR with True where it repeats.

        Raises:
            ConfigError: they are too many or too large.
        """
        blocks = [_ripmap(image, repeats) for image, repeats in textures]
        places, height = _packed([b.shape[:2] for b in blocks])
        width = max(x + b.shape[1] for (x, _), b in zip(places, blocks, strict=True))
        self._image = np.zeros((height, width, 3), np.uint8)
        n = len(textures)
        self._repeats = np.array([repeats for _, repeats in textures])
        self._num_levels = np.zeros((n, 2), np.int64)
        self._offset = np.zeros((n, 2, _MAX_LEVELS), np.float32)
        self._size = np.ones((n, 2, _MAX_LEVELS), np.float32)
        for k, ((x, y), block) in enumerate(zip(places, blocks, strict=True)):
            self._image[y : y + block.shape[0], x : x + block.shape[1]] = block
            for axis, start in enumerate((x, y)):
                sizes = _level_sizes(textures[k][0].shape[1 - axis])
                self._num_levels[k, axis] = len(sizes)
                self._size[k, axis, : len(sizes)] = sizes
                offsets = start + np.cumsum([0] + [s + 2 for s in sizes[:-1]]) + 0.5
                self._offset[k, axis, : len(sizes)] = offsets

    def sample(self, texture: NDArray, uv: NDArray, footprint: NDArray) -> NDArray[np.float32]:
        """Return colours (n, 3).

        Args:
            texture: (n,) indices.
            uv: (n, 2) places; 0 to 1 is one repeat.
            footprint: (n, 2) extents in u and v to average over.
        """
        level, place = [], []
        uv = np.where(self._repeats[texture][:, None], uv - np.floor(uv), np.clip(uv, 0.0, 1.0))
        for axis in range(2):
            texels = footprint[:, axis] * self._size[texture, axis, 0]
            level.append(np.log2(np.maximum(texels, 1.0)))
            place.append(self._num_levels[texture, axis] - 1)
        j = np.minimum(np.rint(level[1]).astype(np.int64), place[1])
        y = self._offset[texture, 1, j] + uv[:, 1] * self._size[texture, 1, j]
        i = np.minimum(level[0].astype(np.int64), place[0])
        fine = self._row(texture, uv[:, 0], i, y)
        coarse = self._row(texture, uv[:, 0], np.minimum(i + 1, place[0]), y)
        ratio = np.clip(level[0] - i, 0.0, 1.0)[:, None].astype(np.float32)
        return fine + (coarse - fine) * ratio

    def _row(self, texture: NDArray, u: NDArray, i: NDArray, y: NDArray) -> NDArray[np.float32]:
        x = self._offset[texture, 0, i] + u * self._size[texture, 0, i]
        return _lookup(self._image, x, y)


def _lookup(image: NDArray[np.uint8], x: NDArray, y: NDArray) -> NDArray[np.float32]:
    n, row = len(x), 1024
    height = n // row + 1
    xy = np.zeros((height * row, 2), np.float32)
    xy[:n, 0], xy[:n, 1] = x, y
    out = cv2.remap(image, xy.reshape(height, row, 2), None, cv2.INTER_LINEAR)
    return out.reshape(-1, 3)[:n].astype(np.float32)


def _level_sizes(size: int) -> list[int]:
    sizes = [size]
    while sizes[-1] > 1 and len(sizes) < _MAX_LEVELS:
        sizes.append(max(1, sizes[-1] // 2))
    return sizes


def _ripmap(image: NDArray[np.uint8], repeats: bool) -> NDArray[np.uint8]:
    widths, heights = _level_sizes(image.shape[1]), _level_sizes(image.shape[0])
    border = cv2.BORDER_WRAP if repeats else cv2.BORDER_REPLICATE
    rows, tall = [], image
    for h in heights:
        tall = (
            tall
            if tall.shape[0] == h
            else cv2.resize(tall, (image.shape[1], h), interpolation=cv2.INTER_AREA)
        )
        cells, wide = [], tall
        for w in widths:
            wide = (
                wide
                if wide.shape[1] == w
                else cv2.resize(wide, (w, h), interpolation=cv2.INTER_AREA)
            )
            cells.append(cv2.copyMakeBorder(wide, 1, 1, 1, 1, border))
        rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows, axis=0)


def _packed(shapes: list[tuple[int, ...]]) -> tuple[list[tuple[int, int]], int]:
    """Place blocks (h, w) in one picture: (x, y) of each and the total height."""
    for width in _WIDTHS_PX:
        places, height = _shelves(shapes, width)
        if height <= _MOST_PX and 3 * width * height <= _MOST_BYTES:
            return places, height
    raise ConfigError(
        f"the {len(shapes)} textures of this street take {3 * width * height / 2**30:.1f} GiB, "
        "more than the 2 that can be drawn from; lower length_m or texture_px_per_m"
    )


def _shelves(shapes: list[tuple[int, ...]], width: int) -> tuple[list[tuple[int, int]], int]:
    """Place blocks (h, w) on shelves of a width, tallest first: (x, y) of each, total height."""
    places = [(0, 0)] * len(shapes)
    x = y = shelf = 0
    for k in sorted(range(len(shapes)), key=lambda k: -shapes[k][0]):
        h, w = shapes[k][:2]
        if x and x + w > width:
            x, y, shelf = 0, y + shelf, 0
        places[k] = (x, y)
        x, shelf = x + w, max(shelf, h)
    return places, y + shelf
