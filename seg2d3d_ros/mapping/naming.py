"""Name every mask after an instance: by its landmarks and by the map projected into it."""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy.spatial import cKDTree

from seg2d3d_ros.geometry import masks as pixel_masks
from seg2d3d_ros.mapping.association import Picture
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.mapping.visibility import LabelledPoints, show
from seg2d3d_ros.types import IntArray, Mask, MaskAssignment

_TRACKED_WEIGHT = 1.5
_ENOUGH_TRACKED = 6.0
_MIN_VOTES = 0.3
_NUM_SAMPLES = 80


def name_masks(
    state: MapState,
    picture: Picture,
    labelled: LabelledPoints,
    instance_of: IntArray,
    building_classes: frozenset[int],
    range_m: float,
) -> list[MaskAssignment]:
    """Assign each mask of a picture to the instance with most evidence, 0 with too little.

    Args:
        state: The map.
        picture: The picture with its incidence.
        labelled: Points with instances, confirmed ones only.
        instance_of: (n,) instance of the landmarks in `picture.seen.ids`.
        building_classes: Masks of other classes stay unassigned.
        range_m: Points further from the camera do not count.

    Returns:
        One assignment per mask of the picture.
    """
    frame = state.frames[picture.frame]
    masks = frame.masks[picture.camera]
    stamp = frame.picture_stamps_ns[frame.cameras.index(picture.camera)]
    camera = state.rig.cameras[picture.camera].name  # type: ignore[union-attr]
    shown = show(state, picture.frame, picture.camera, labelled, range_m)
    nearest = cKDTree(shown.uv_px) if len(shown.uv_px) else None
    out = []
    for k, mask in enumerate(masks):
        own = instance_of[picture.seen.mask == k]
        votes: Counter[int] = Counter()
        if mask.class_id in building_classes:
            votes = _tracked_votes(own[own > 0])
            if nearest is not None:
                votes.update(_projected_votes(mask, nearest, shown.instances))
        total = sum(votes.values())
        best = min(votes, key=lambda i: (-votes[i], i)) if votes else 0
        if not best or votes[best] < _MIN_VOTES:
            best = 0
        score = votes[best] / max(total, 1.0) if best else 0.0
        out.append(MaskAssignment(stamp, camera, mask.label, best, score, len(own), mask.class_id))
    return out


def _tracked_votes(instances: IntArray) -> Counter[int]:
    """Return shares of the landmarks tracked in a mask; a few weigh less than many."""
    weight = _TRACKED_WEIGHT * min(len(instances), _ENOUGH_TRACKED) / _ENOUGH_TRACKED
    found, count = np.unique(instances, return_counts=True)
    return Counter(
        {int(i): weight * n / len(instances) for i, n in zip(found, count, strict=True)}
    )


def _projected_votes(mask: Mask, nearest: cKDTree, shown: IntArray) -> Counter[int]:
    """Return shares of the mask's area, each pixel going to the nearest projected point."""
    crop = pixel_masks.decode_crop(mask.bbox_px, mask.runs)
    v, u = np.nonzero(crop)
    step = max(1, len(u) // _NUM_SAMPLES)
    pixels = np.stack([u[::step] + mask.bbox_px[0], v[::step] + mask.bbox_px[1]], axis=1)
    reach = max(4.0, 0.4 * float(np.sqrt(len(u))))
    distance, row = map(np.asarray, nearest.query(pixels, distance_upper_bound=reach))
    found, count = np.unique(shown[row[np.isfinite(distance)]], return_counts=True)
    return Counter({int(i): n / len(pixels) for i, n in zip(found, count, strict=True)})
