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
    if not len(value):
        return []
    row, column = np.divmod(start[order], w)
    end_column = column + length
    first = np.flatnonzero(np.concatenate(([True], value[1:] != value[:-1])))
    last = np.append(first[1:], len(value)) - 1
    x0, x1 = np.minimum.reduceat(column, first), np.maximum.reduceat(end_column, first)
    y0, y1 = row[first], row[last] + 1
    mask = np.repeat(np.arange(len(first)), last + 1 - first)
    begin = (row - y0[mask]) * (x1 - x0)[mask] - x0[mask]
    begin, end = begin + column, begin + end_column
    # Runs that touch across the end of a row of their box are one.
    is_apart = np.ones(len(begin) + 1, bool)
    np.not_equal(begin[1:], end[:-1], out=is_apart[1:-1])
    is_apart[first] = True
    runs = np.stack((begin[is_apart[:-1]], end[is_apart[1:]]), axis=1).astype(np.uint32).ravel()
    bounds = 2 * np.append(np.cumsum(is_apart[:-1])[first] - 1, len(runs) // 2)
    # The boundary at the end of a box is left out.
    stop = bounds[1:] - (end[last] == (x1 - x0) * (y1 - y0))
    boxes = np.stack((x0, y0, x1, y1), axis=1).tolist()
    return [
        (number, (left, top, right, bottom), runs[a:b])
        for number, (left, top, right, bottom), a, b in zip(
            value[first].tolist(), boxes, bounds[:-1].tolist(), stop.tolist(), strict=True
        )
    ]


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
