"""Pixel masks as runs: boundaries of alternating background and foreground in the bounding box.

The crop `[y0:y1, x0:x1]` is read row by row; `runs[0]` is the index of its first foreground pixel,
`runs[1]` that of the first background pixel after it, and so on; a last boundary equal to the size
of the crop is left out. Whether a pixel lies in the mask is the parity of the number of boundaries
at or before it, so keypoints are looked up by bisection, without decoding (`benchmarks/masks.py`
compares this with other representations).

Pixels follow the convention of the package: (0, 0) is the centre of the top-left pixel, so that
pixel (i, j) covers [i - 0.5, i + 0.5) x [j - 0.5, j + 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Box: TypeAlias = tuple[int, int, int, int]
Runs: TypeAlias = NDArray[np.uint32]


def encode(mask: NDArray[np.bool_]) -> tuple[Box, Runs]:
    """Encode a mask.

    Args:
        mask: (h, w) bool.

    Returns:
        Box (x0, y0, x1, y1), the last two exclusive, and the runs; (0, 0, 0, 0) and none if empty.
    """
    ys = np.flatnonzero(mask.any(axis=1))
    if not len(ys):
        return (0, 0, 0, 0), np.zeros(0, np.uint32)
    y0, y1 = int(ys[0]), int(ys[-1]) + 1
    xs = np.flatnonzero(mask[y0:y1].any(axis=0))
    x0, x1 = int(xs[0]), int(xs[-1]) + 1
    flat = np.ascontiguousarray(mask[y0:y1, x0:x1], dtype=bool).ravel()
    inner = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.concatenate(([0], inner)) if flat[0] else inner
    return (x0, y0, x1, y1), runs.astype(np.uint32)


def decode_crop(bbox_px: Box, runs: Runs) -> NDArray[np.bool_]:
    """Return the mask inside its box, (y1 - y0, x1 - x0) bool."""
    x0, y0, x1, y1 = bbox_px
    size = (y1 - y0) * (x1 - x0)
    bounds = np.concatenate(([0], runs.astype(np.int64), [size]))
    lengths = bounds[1:] - bounds[:-1]
    is_inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(is_inside, lengths).reshape(y1 - y0, x1 - x0)


def decode(bbox_px: Box, runs: Runs, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask in a picture of shape (h, w), bool."""
    x0, y0, x1, y1 = bbox_px
    mask = np.zeros(shape, bool)
    if x1 > x0:
        mask[y0:y1, x0:x1] = decode_crop(bbox_px, runs)
    return mask


def every_nth_pixel(bbox_px: Box, runs: Runs, step: int, first: int = 0) -> NDArray[np.int64]:
    """Return each `step`-th pixel (n, 2) of the mask in reading order, without decoding it."""
    x0, y0, x1, y1 = bbox_px
    bounds = runs.astype(np.int64)
    if len(bounds) % 2:
        bounds = np.concatenate([bounds, [(y1 - y0) * (x1 - x0)]])
    starts, lengths = bounds[::2], bounds[1::2] - bounds[::2]
    ends = np.cumsum(lengths)
    k = np.arange(first, int(ends[-1]) if len(ends) else 0, step)
    run = np.searchsorted(ends, k, side="right")
    row, column = np.divmod(starts[run] + k - ends[run] + lengths[run], max(x1 - x0, 1))
    return np.stack([column + x0, row + y0], axis=1)


def contains(bbox_px: Box, runs: Runs, uv_px: ArrayLike) -> NDArray[np.bool_]:
    """Return which pixels lie in the mask.

    Args:
        bbox_px: Box of the mask.
        runs: Runs of the mask.
        uv_px: (n, 2) pixels anywhere; NaN lies in no mask.

    Returns:
        (n,) bool.
    """
    x0, y0, x1, y1 = bbox_px
    uv = np.asarray(uv_px).reshape(-1, 2)
    u, v = uv[:, 0] + 0.5, uv[:, 1] + 0.5
    near = np.flatnonzero((u >= x0) & (u < x1) & (v >= y0) & (v < y1))
    inside = np.zeros(len(uv), bool)
    if len(near):
        at = (v[near].astype(np.int64) - y0) * (x1 - x0) + u[near].astype(np.int64) - x0
        inside[near] = np.searchsorted(runs, at.astype(np.uint32), side="right") & 1
    return inside


class MaskStack:
    """Masks one after another, so that one bisection looks pixels up in all of them."""

    def __init__(self, masks: Sequence[tuple[Box, Runs]]) -> None:
        """Stack masks, m pairs of box and runs."""
        self._boxes = np.array([box for box, _ in masks], dtype=np.int64).reshape(-1, 4)
        x0, y0, x1, y1 = self._boxes.T
        num_runs = np.array([len(runs) for _, runs in masks], dtype=np.int64)
        self._first = np.cumsum(num_runs) - num_runs
        self._width, size = x1 - x0, (x1 - x0) * (y1 - y0)
        base = np.cumsum(size) - size
        runs = np.concatenate([np.zeros(0, np.uint32), *(runs for _, runs in masks)])
        self._boundaries = runs + np.repeat(base, num_runs)
        # Where (0, 0) would be, were the row of the box as long as that.
        self._origin = base - y0 * self._width - x0
        self._size = int(size.sum())

    @classmethod
    def joined(cls, stacks: Sequence[MaskStack]) -> MaskStack:
        """Return all masks of some stacks, in their order."""
        out = cls([])
        out._boxes = np.concatenate([out._boxes, *(s._boxes for s in stacks)])
        out._width = np.concatenate([out._width, *(s._width for s in stacks)])
        sizes = np.array([s._size for s in stacks], dtype=np.int64)
        numbers = np.array([len(s._boundaries) for s in stacks], dtype=np.int64)
        size_before, num_before = np.cumsum(sizes) - sizes, np.cumsum(numbers) - numbers
        per_stack = [len(s) for s in stacks]
        first = np.concatenate([out._first, *(s._first for s in stacks)])
        out._first = first + np.repeat(num_before, per_stack)
        origin = np.concatenate([out._origin, *(s._origin for s in stacks)])
        out._origin = origin + np.repeat(size_before, per_stack)
        boundaries = np.concatenate([out._boundaries, *(s._boundaries for s in stacks)])
        out._boundaries = boundaries + np.repeat(size_before, numbers)
        out._size = int(sizes.sum())
        return out

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self._boxes)

    def hits(self, uv_px: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the mask (k,) and the pixel (k,), by position, of all that lie in masks.

        Args:
            uv_px: (n, 2) pixels anywhere, or (m, n, 2), n for each mask; NaN lies in no mask.
        """
        x0, y0, x1, y1 = self._boxes.T[:, :, None]
        u, v = uv_px[..., 0] + 0.5, uv_px[..., 1] + 0.5
        in_box = (u >= x0) & (u < x1)
        in_box &= (v >= y0) & (v < y1)
        mask, pixel = np.nonzero(in_box)
        at = pixel if uv_px.ndim == 2 else (mask, pixel)
        column, row = u[at].astype(np.int64), v[at].astype(np.int64)
        index = row * self._width[mask] + column + self._origin[mask]
        place = np.searchsorted(self._boundaries, index, side="right") - self._first[mask]
        is_inside = (place & 1).astype(bool)
        return mask[is_inside], pixel[is_inside]


def contains_each(
    masks: Sequence[tuple[Box, Runs]], uv_px: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Return which pixels lie in which of many masks of one picture, faster than one by one.

    Args:
        masks: m pairs of box and runs.
        uv_px: (n, 2) pixels anywhere; NaN lies in no mask.

    Returns:
        (m, n) bool.
    """
    found = np.zeros((len(masks), len(uv_px)), bool)
    found[MaskStack(masks).hits(uv_px)] = True
    return found


def area(bbox_px: Box, runs: Runs) -> int:
    """Return the number of pixels in the mask."""
    ends, starts = runs[1::2], runs[::2]
    total = int(np.add.reduce(ends, dtype=np.int64) - np.add.reduce(starts, dtype=np.int64))
    if len(runs) % 2:
        x0, y0, x1, y1 = bbox_px
        total += (x1 - x0) * (y1 - y0)
    return total


def is_deep(bbox_px: Box, runs: Runs, uv_px: ArrayLike, depth_px: float) -> NDArray[np.bool_]:
    """Return which pixels lie deep in the mask: points near a silhouette often belong behind it.

    Args:
        bbox_px: Box of the mask; beyond it, and beyond the picture, nothing is of the mask.
        runs: Runs of the mask.
        uv_px: (n, 2) pixels.
        depth_px: No pixel outside the mask may be nearer than that.

    Returns:
        (n,) bool.
    """
    x0, y0, x1, y1 = bbox_px
    uv = np.asarray(uv_px).reshape(-1, 2) + 0.5
    deep = np.zeros(len(uv), bool)
    u, v = uv.T
    near = np.flatnonzero((u >= x0) & (u < x1) & (v >= y0) & (v < y1))
    if not len(near):
        return deep
    around = _disc(int(np.ceil(depth_px**2)))
    room, height, width = int(around.max()), y1 - y0, x1 - x0
    crop = np.zeros((height + 2 * room, width + 2 * room), bool)
    crop[room : room + height, room : room + width] = decode_crop(bbox_px, runs)
    column, row = uv[near].astype(np.int64).T - [[x0 - room], [y0 - room]]
    at = row * crop.shape[1] + column
    deep[near] = crop.ravel()[at[:, None] + around @ [1, crop.shape[1]]].all(axis=1)
    return deep


@lru_cache
def _disc(radius2: int) -> NDArray[np.int64]:
    """Return the offsets (n, 2) in pixels whose length squared is less than `radius2`."""
    reach = np.arange(-radius2, radius2 + 1)
    x, y = np.meshgrid(reach, reach)
    return np.stack([x, y], axis=2)[x**2 + y**2 < radius2].reshape(-1, 2)
