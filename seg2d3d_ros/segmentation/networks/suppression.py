"""Which of several overlapping boxes or masks stay."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONTAINED = 0.85  # share of a mask inside another that makes it a part of it
COVERED = 0.6  # share of a mask covered by its parts that makes it a group of them
OTHER_CLASS_OVERLAP = 0.9


def suppress_boxes(
    boxes_px: NDArray[np.float32], classes: NDArray[np.int64], overlap: float
) -> NDArray[np.int64]:
    """Keep boxes that overlap no better one of their class.

    Args:
        boxes_px: (n, 4) x0 y0 x1 y1, best first.
        classes: (n,) class of each.
        overlap: Intersection over union from which two are one.

    Returns:
        Positions of the boxes that stay, in order.
    """
    low = np.maximum(boxes_px[:, None, :2], boxes_px[None, :, :2])
    high = np.minimum(boxes_px[:, None, 2:], boxes_px[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    size = np.prod(boxes_px[:, 2:] - boxes_px[:, :2], axis=1)
    iou = shared / np.maximum(size[:, None] + size[None] - shared, 1e-6)
    return keep_best((iou > overlap) & (classes[:, None] == classes[None]))


def suppress_masks(
    masks: NDArray[np.bool_], classes: NDArray[np.int64], overlap: float
) -> NDArray[np.int64]:
    """Keep masks that neither double nor belong to another.

    Of two masks that overlap too much, the better stays. A mask inside another of its class goes
    (a door in a house), unless the outer one is mostly made of such masks: then the outer one goes
    (a row of houses), because association can join masks but nothing divides them.

    Args:
        masks: (n, h, w) bool, best first.
        classes: (n,) class of each.
        overlap: Intersection over union from which two of a class are one.

    Returns:
        Positions of the masks that stay, in order.
    """
    small = _thin(masks)
    size = small.sum(axis=1)
    shared = small @ small.T
    iou = shared / np.maximum(size[:, None] + size[None] - shared, 1)
    same = classes[:, None] == classes[None]
    doubles = (iou > overlap) & same | (iou > OTHER_CLASS_OVERLAP)
    kept = keep_best(doubles)
    small, size, shared, same = (
        small[kept],
        size[kept],
        shared[np.ix_(kept, kept)],
        same[kept][:, kept],
    )
    inside = (shared > CONTAINED * size[:, None]) & same & (size[:, None] < size[None])
    is_dropped = size == 0
    for outer in np.argsort(-size, kind="stable"):
        parts = np.flatnonzero(inside[:, outer] & ~is_dropped)
        if is_dropped[outer] or not len(parts):
            continue
        covered = (small[parts].any(axis=0) & (small[outer] > 0)).sum()
        if len(parts) >= 2 and covered > COVERED * size[outer]:
            is_dropped[outer] = True
        else:
            is_dropped[parts] = True
    return kept[~is_dropped]


def _thin(masks: NDArray[np.bool_], side: int = 256) -> NDArray[np.float32]:
    """Return every n-th pixel of each mask, (n, m), so that about `side` rows remain."""
    step = max(1, min(masks.shape[1:]) // side)
    thin = masks[:, ::step, ::step]
    return thin.reshape(len(masks), thin.shape[1] * thin.shape[2]).astype(np.float32)


def keep_best(doubles: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return positions that double no earlier kept one."""
    kept: list[int] = []
    for i in range(len(doubles)):
        if not doubles[i, kept].any():
            kept.append(i)
    return np.array(kept, dtype=np.int64)
