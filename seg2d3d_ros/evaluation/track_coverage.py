"""Coverage over the pictures that truly show a building: the Seg2D3D paper's, and a sound one.

The paper's evaluation, kept as `legacy_coverage` and `legacy_adjusted_coverage`, averages over the
pairs (id, building) whose coverage is at least 0.3. So a building that nothing found does not
count, coverage is never below 0.3, a building split over two ids counts twice, and an id over two
buildings is not punished. Its adjustment leaves out the pictures in which that very id has no hit,
which makes it 1 by construction (the printed 0.841 comes from mask files that its lookup missed).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.evaluation.masks import MaskKey, MaskTruth
from seg2d3d_ros.types import IntArray

HIT_IOU = 0.5
LINK_SHARE = 0.3
MIN_VISIBLE_PX = 64


@dataclass(frozen=True)
class Sightings:
    """Where each building was visible and which masks hit it there.

    Attributes:
        num_visible: Pictures that show the building, by id.
        hit_mask: (h,) position of a mask that hits a building.
        hit_building: (h,) the building.
        hit_picture: (h,) the mask's picture.
    """

    num_visible: dict[int, int]
    hit_mask: IntArray
    hit_building: IntArray
    hit_picture: IntArray


def find_sightings(
    masks: MaskTruth,
    visible_px: Mapping[tuple[int, str, int], int],
    mask_px: Mapping[MaskKey, int] | None = None,
) -> Sightings:
    """Find the masks that hit a building: IoU with its visible region ≥ 0.5.

    A building is visible from 64 pixels on.

    Args:
        masks: Masks of the pictures that are judged.
        visible_px: Pixels of each building by (stamp_ns, camera, building_id).
        mask_px: Pixels of each mask; without it a mask hits where at least half of it shows the
            building.
    """
    pictures = masks.pictures
    num_visible: dict[int, int] = defaultdict(int)
    for (stamp_ns, camera, building), num_px in visible_px.items():
        if num_px >= MIN_VISIBLE_PX and (stamp_ns, camera) in pictures:
            num_visible[building] += 1
    hits = []
    for mask, building, share in zip(
        masks.share_mask.tolist(), masks.share_building.tolist(), masks.share.tolist(), strict=True
    ):
        key = masks.keys[mask]
        seen_px = visible_px.get((key[0], key[1], building), 0)
        if seen_px < MIN_VISIBLE_PX:
            continue
        quality = share if mask_px is None else _iou(share, mask_px.get(key, 0), seen_px)
        if quality >= HIT_IOU:
            hits.append((mask, building))
    table = np.array(hits, dtype=np.int64).reshape(-1, 2)
    return Sightings(dict(num_visible), table[:, 0], table[:, 1], masks.picture[table[:, 0]])


def _iou(share: float, mask_px: int, visible_px: int) -> float:
    intersection = share * mask_px
    return intersection / max(mask_px + visible_px - intersection, 1.0)


def score_track_coverage(sightings: Sightings, predicted: IntArray) -> dict[str, float | int]:
    """Score ids (n,) of the masks by the pictures in which they hit a building.

    Returns:
        `track_coverage`: best single id, mean over all visible buildings; `detection_recall`: any
        id or none; `adjusted_coverage`: as track coverage over the pictures with a hit at all,
        buildings without any left out (`num_undetected`); the paper's `legacy_coverage` and
        `legacy_adjusted_coverage` over `num_links` pairs.
    """
    matched: dict[tuple[int, int], set[int]] = defaultdict(set)
    detected: dict[int, set[int]] = defaultdict(set)
    for mask, building, picture in zip(
        sightings.hit_mask, sightings.hit_building, sightings.hit_picture, strict=True
    ):
        detected[int(building)].add(int(picture))
        if predicted[mask] != 0:
            matched[int(building), int(predicted[mask])].add(int(picture))
    best: dict[int, int] = defaultdict(int)
    for (building, _), pictures in matched.items():
        best[building] = max(best[building], len(pictures))
    visible = sightings.num_visible
    links = [(b, len(m)) for (b, _), m in matched.items() if len(m) >= LINK_SHARE * visible[b]]
    return {
        "track_coverage": _mean([best[b] / n for b, n in visible.items()]),
        "detection_recall": _mean([len(detected[b]) / n for b, n in visible.items()]),
        "adjusted_coverage": _mean([best[b] / len(detected[b]) for b in visible if detected[b]]),
        "legacy_coverage": _mean([num / visible[b] for b, num in links]),
        "legacy_adjusted_coverage": _mean([_legacy_adjusted(num, visible[b]) for b, num in links]),
        "num_links": len(links),
        "num_visible_buildings": len(visible),
        "num_undetected": sum(not detected[b] for b in visible),
    }


def _legacy_adjusted(num_matched: int, num_visible: int) -> float:
    """Return matched / (pictures - misdetections), always 1: those are not matched."""
    num_misdetected = num_visible - num_matched
    return num_matched / max(1, num_visible - num_misdetected)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0
