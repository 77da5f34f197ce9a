"""Which landmarks lie in which mask of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.geometry.masks import MaskStack
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
    stack = MaskStack([(m.bbox_px, m.runs) for m in masks])
    areas = stack.areas.tolist()
    order = sorted(range(len(masks)), key=lambda k: (-areas[k], masks[k].label))
    turn = np.empty(len(masks), dtype=np.int64)
    turn[order] = np.arange(len(masks))
    mask, point = stack.hits(uv_px)
    by_turn = np.argsort(turn[mask], kind="stable")
    smallest = np.full(len(ids), -1, dtype=np.int64)
    smallest[point[by_turn]] = mask[by_turn]  # the last one written stays
    # The last entry is for those outside all masks.
    class_id = np.array([*(m.class_id for m in masks), -1], dtype=np.int64)
    is_building = np.array([*(m.class_id in building_classes for m in masks), False])
    found = np.flatnonzero(is_building[smallest])
    margin_px = np.clip(_EDGE_RATIO * np.sqrt(stack.areas), 1.0, _MAX_EDGE_PX)
    found = found[stack.are_deep(smallest[found], uv_px[found], margin_px)]
    return Incidence(ids[found], smallest[found], ids, class_id[smallest])
