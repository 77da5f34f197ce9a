"""Making masks: from and to label pictures, PNG and COCO's run-length encoding.

The run encoding itself, and looking keypoints up in it, is `seg2d3d_ros.geometry.masks`: the
stages that look masks up live beside this room, not above it. Backends of other packages get
`encode` from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry.masks import Box, Runs, area, decode, decode_crop, encode
from seg2d3d_ros.types import Mask

__all__ = ["encode", "encode_labels", "to_coco", "to_label_image", "to_png"]


def encode_labels(labels: NDArray[np.uint16]) -> list[tuple[int, Box, Runs]]:
    """Encode every value but 0 of a label picture, all in one pass over its horizontal runs.

    Args:
        labels: (h, w) unsigned integers.

    Returns:
        (value, box, runs) in ascending value; the same box and runs as `encode(labels == value)`.
    """
    h, w = labels.shape
    if not labels.size:
        return []
    starts_run = np.empty((h, w), bool)
    starts_run[:, 0] = True
    np.not_equal(labels[:, 1:], labels[:, :-1], out=starts_run[:, 1:])
    start = np.flatnonzero(starts_run)
    value = np.ascontiguousarray(labels).ravel()[start]
    length = np.diff(start, append=h * w)
    order = np.argsort(value, kind="stable")
    order = order[np.searchsorted(value[order], 0, side="right") :]
    value, length = value[order], length[order]
    row, column = np.divmod(start[order], w)
    first = np.flatnonzero(value[1:] != value[:-1]) + 1
    bounds = np.concatenate(([0], first, [len(value)])) if len(value) else np.zeros(1, np.int64)
    return [
        (int(value[a]), *_encode_rows(row[a:b], column[a:b], length[a:b]))
        for a, b in zip(bounds[:-1], bounds[1:], strict=True)
    ]


def _encode_rows(
    row: NDArray[np.int64], column: NDArray[np.int64], length: NDArray[np.int64]
) -> tuple[Box, Runs]:
    """Encode horizontal runs in reading order; runs that touch across a row's end become one."""
    x0, y0 = int(column.min()), int(row[0])
    x1, y1 = int((column + length).max()), int(row[-1]) + 1
    width = x1 - x0
    start = (row - y0) * width + column - x0
    end = start + length
    is_apart = np.ones(len(start) + 1, bool)
    np.not_equal(start[1:], end[:-1], out=is_apart[1:-1])
    runs = np.stack((start[is_apart[:-1]], end[is_apart[1:]]), axis=1).ravel()
    if runs[-1] == width * (y1 - y0):
        runs = runs[:-1]
    return (x0, y0, x1, y1), runs.astype(np.uint32)


def to_label_image(masks: Sequence[Mask], shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Paint masks into one (h, w) uint16 label picture, large ones first; overlaps are lost."""
    labels = np.zeros(shape, np.uint16)
    for mask in sorted(masks, key=lambda m: (-area(m.bbox_px, m.runs), m.label)):
        x0, y0, x1, y1 = mask.bbox_px
        if x1 > x0:
            labels[y0:y1, x0:x1][decode_crop(mask.bbox_px, mask.runs)] = mask.label
    return labels


def to_png(masks: Sequence[Mask], shape: tuple[int, int]) -> bytes:
    """Return masks as a label picture of shape (h, w) in a PNG of 16 bits; overlaps are lost."""
    import cv2

    return cv2.imencode(".png", to_label_image(masks, shape))[1].tobytes()


def to_coco(bbox_px: Box, runs: Runs, shape: tuple[int, int]) -> dict[str, Any]:
    """Return the mask as COCO's compressed run-length encoding of the whole picture, for JSON."""
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(decode(bbox_px, runs, shape), dtype=np.uint8))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
