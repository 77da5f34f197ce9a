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
from functools import cached_property
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
        self._width, size = x1 - x0, (x1 - x0) * (y1 - y0)
        # With the boundary at the end of the crop, so that foreground runs are pairs throughout.
        closed = [np.zeros(0, np.uint32)]
        for (_, runs), end in zip(masks, size.tolist(), strict=True):
            closed += [runs, np.array([end], np.uint32)] if len(runs) % 2 else [runs]
        num_runs = np.array([len(runs) + len(runs) % 2 for _, runs in masks], dtype=np.int64)
        self._first = np.cumsum(num_runs) - num_runs
        base = np.cumsum(size) - size
        # Half as long numbers are found in three quarters of the time.
        kind: type[np.signedinteger] = np.int32 if size.sum() < 1 << 31 else np.int64
        self._boundaries = np.concatenate(closed).astype(kind)
        self._boundaries += np.repeat(base.astype(kind), num_runs)
        # Where (0, 0) would be, were the row of the box as long as that.
        self._origin = base - y0 * self._width - x0

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self._boxes)

    @cached_property
    def _filled(self) -> NDArray[np.int64]:
        """Return how many pixels of masks come before each foreground run, and in all (r + 1,)."""
        lengths = self._boundaries[1::2] - self._boundaries[::2]
        return np.concatenate([[0], np.cumsum(lengths)])

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """Return the number of pixels of each mask (m,)."""
        ends = np.append(self._first, len(self._boundaries)) // 2
        return np.diff(self._filled[ends])

    def every_nth_pixel(
        self, step: NDArray[np.int64], first: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return pixels of all masks as the function of that name does of one.

        Args:
            step: (m,) which pixels of each mask, in reading order.
            first: (m,) the first of them.

        Returns:
            The mask (k,), ascending, and the pixel (k, 2).
        """
        num = np.maximum(-((first - self.areas) // step), 0)
        mask = np.repeat(np.arange(len(num)), num)
        place = np.arange(len(mask)) - (np.cumsum(num) - num)[mask]
        k = (self._filled[self._first // 2] + first)[mask] + step[mask] * place
        run = np.searchsorted(self._filled[1:], k, side="right")
        x0, y0 = self._boxes[mask, :2].T
        width = self._width[mask]
        start = self._boundaries[2 * run] - self._origin[mask] - y0 * width - x0
        row, column = np.divmod(start + k - self._filled[run], width)
        return mask, np.stack([column + x0, row + y0], axis=1)

    def are_deep(
        self, mask: NDArray[np.int64], uv_px: ArrayLike, depth_px: ArrayLike
    ) -> NDArray[np.bool_]:
        """Return which pixels lie deep in their masks: near a silhouette is often what is behind.

        Args:
            mask: (n,) mask of each, by position; beyond its box, and beyond the picture, nothing
                is of it.
            uv_px: (n, 2) pixels, finite.
            depth_px: (m,) no pixel outside a mask may be nearer than that, above 0.

        Returns:
            (n,) bool.
        """
        # Rows of the disc around each, as far as they have to be inside.
        farthest = np.ceil(np.square(depth_px)).astype(np.int64)[mask] - 1
        reach = int(_root(farthest.max(initial=0)))
        rise = np.arange(-reach, reach + 1)
        room = farthest - np.square(rise)[:, None]
        half = _root(np.maximum(room, 0))
        column, row = np.floor(np.asarray(uv_px).reshape(-1, 2).T + 0.5).astype(np.int64)
        left, row = column - half, row + rise[:, None]
        x0, y0, x1, y1 = self._boxes[mask].T
        in_box = (left >= x0) & (left + 2 * half < x1) & (row >= y0) & (row < y1)
        index = row * self._width[mask] + left + self._origin[mask]
        place = self._place(index)
        end = np.append(self._boundaries, 0)[place]
        is_inside = in_box & ((place & 1) == 1) & (index + 2 * half < end)
        return np.asarray((is_inside | (room < 0)).all(axis=0))

    def hits(self, uv_px: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the mask (k,) and the pixel (k,), by position, of all that lie in masks.

        Args:
            uv_px: (n, 2) pixels anywhere; NaN lies in no mask.
        """
        u, v = uv_px[:, 0] + 0.5, uv_px[:, 1] + 0.5
        x0, y0, x1, y1 = self._boxes.T[:, :, None].astype(u.dtype)
        in_box = (u >= x0) & (u < x1)
        in_box &= v >= y0
        in_box &= v < y1
        pair = np.flatnonzero(in_box)
        mask = pair // max(len(u), 1)
        pixel = pair - mask * len(u)
        column, row = u[pixel].astype(np.int64), v[pixel].astype(np.int64)
        # Each mask has an even number of boundaries.
        place = self._place(row * self._width[mask] + column + self._origin[mask])
        is_inside = (place & 1).astype(bool)
        return mask[is_inside], pixel[is_inside]

    def _place(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many boundaries lie at or before places in the stack (n,)."""
        return self._boundaries.searchsorted(index.astype(self._boundaries.dtype), side="right")

    def contain(self, uv_px: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which pixels (n, 2) lie in which mask, (m, n)."""
        found = np.zeros((len(self), len(uv_px)), bool)
        found[self.hits(uv_px)] = True
        return found


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
    return MaskStack(masks).contain(uv_px)


def area(bbox_px: Box, runs: Runs) -> int:
    """Return the number of pixels in the mask."""
    ends, starts = runs[1::2], runs[::2]
    total = int(np.add.reduce(ends, dtype=np.int64) - np.add.reduce(starts, dtype=np.int64))
    if len(runs) % 2:
        x0, y0, x1, y1 = bbox_px
        total += (x1 - x0) * (y1 - y0)
    return total


def _root(value: ArrayLike) -> NDArray[np.int64]:
    """Return the largest integers whose square is no more than small ones."""
    return np.sqrt(value).astype(np.int64)
