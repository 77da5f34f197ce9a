"""Which landmarks lie in which mask of a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.geometry import masks as pixel_masks
from seg2d3d_ros.types import IntArray, Mask

_EDGE_RATIO = 0.1
_MAX_EDGE_PX = 4.0


@dataclass(frozen=True)
class Incidence:
    """Landmarks of one picture inside masks that may be buildings.

    Attributes:
        ids: (n,) landmarks.
        mask: (n,) position of the mask in the picture's list of masks.
        all_ids: (m,) all landmarks seen in the picture.
        class_id: (m,) class of the smallest mask around each, -1 outside all.
    """

    ids: IntArray
    mask: IntArray
    all_ids: IntArray
    class_id: IntArray


def by_place(masks: tuple[Mask, ...]) -> tuple[Mask, ...]:
    """Return the masks of a picture in an order that their labels have no say in.

    Where two decisions are equally good the first mask wins: its name must not matter.
    """
    return tuple(sorted(masks, key=lambda m: (m.bbox_px, m.class_id, m.runs.tobytes(), m.label)))


def incidence(
    ids: IntArray, uv_px: np.ndarray, masks: tuple[Mask, ...], building_classes: frozenset[int]
) -> Incidence:
    """Look landmarks up in the masks; where masks overlap, the smallest one counts.

    Landmarks close to the border of a building mask are left out: at a silhouette a corner often
    belongs to what lies behind, at a hole to what stands before. In small masks close is closer.
    """
    owner = np.full(len(ids), -1, dtype=np.int64)
    class_id = np.full(len(ids), -1, dtype=np.int64)
    sizes = [pixel_masks.area(m.bbox_px, m.runs) for m in masks]
    inside = pixel_masks.contains_each([(m.bbox_px, m.runs) for m in masks], uv_px)
    for k in sorted(range(len(masks)), key=lambda k: (-sizes[k], masks[k].label)):
        mask, rows = masks[k], np.flatnonzero(inside[k])
        class_id[rows] = mask.class_id
        owner[rows] = -1
        if mask.class_id in building_classes and len(rows):
            margin_px = min(max(_EDGE_RATIO * math.sqrt(sizes[k]), 1.0), _MAX_EDGE_PX)
            owner[rows[pixel_masks.is_deep(mask.bbox_px, mask.runs, uv_px[rows], margin_px)]] = k
    found = np.flatnonzero(owner >= 0)
    return Incidence(ids[found], owner[found], ids, class_id)
