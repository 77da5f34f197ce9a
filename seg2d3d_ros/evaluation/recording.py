"""What the baselines need of the recording itself: the masks as boxes, and the dead reckoning."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.evaluation.masks import BUILDING_CLASSES, MaskKey
from seg2d3d_ros.evaluation.trajectory import Poses
from seg2d3d_ros.geometry.masks import area
from seg2d3d_ros.segmentation.masks import encode_labels
from seg2d3d_ros.types import Item, LabelImage, Odometry

_LOG = logging.getLogger(__name__)

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Recording:
    """Masks and odometry of a recording.

    Attributes:
        boxes: (x0, y0, x1, y1) of each mask, the last two exclusive.
        num_px: Pixels of each mask.
        pictures: Stamps of the label pictures by camera, increasing; those without masks too.
        odometry: T_odom_base at the stamps of the messages; empty without odometry.
        counts: Odometry and label pictures that were read and left out, by reason.
    """

    boxes: dict[MaskKey, Box]
    num_px: dict[MaskKey, int]
    pictures: dict[str, list[int]]
    odometry: Poses
    counts: dict[str, int] = field(default_factory=dict)

    def masks_of(self, camera: str, stamp_ns: int) -> list[MaskKey]:
        """Return the masks of a picture in ascending label."""
        return list(self._by_picture.get((camera, stamp_ns), ()))

    def check_masks(self, keys: Collection[MaskKey], is_needed: bool) -> None:
        """Check that the masks are those of a truth.

        Args:
            keys: Masks that the truth knows.
            is_needed: Something runs on the masks, so that there have to be some.

        Raises:
            InputError: there are none, or none of them is known.
        """
        if is_needed and not self.boxes:
            raise InputError("baselines run on masks, and the recording has no label pictures")
        if self.boxes and keys and self.boxes.keys().isdisjoint(keys):
            raise InputError(
                f"none of the {len(self.boxes)} masks of the recording is among the {len(keys)} "
                "of the truth; are they of the same drive?"
            )

    def __post_init__(self) -> None:
        """Index the masks by picture."""
        index: dict[tuple[str, int], list[MaskKey]] = {}
        for key in sorted(self.boxes):
            index.setdefault((key[1], key[0]), []).append(key)
        object.__setattr__(self, "_by_picture", index)

    _by_picture: dict[tuple[str, int], list[MaskKey]] = field(init=False, repr=False)


def collect(items: Iterable[Item]) -> Recording:
    """Collect the masks of buildings, and odometry, from items in stamp order."""
    boxes: dict[MaskKey, Box] = {}
    num_px: dict[MaskKey, int] = {}
    pictures: dict[str, list[int]] = {}
    odometry: dict[int, np.ndarray] = {}
    counts: Counter[str] = Counter()
    for item in items:
        if isinstance(item, LabelImage):
            pictures.setdefault(item.camera, []).append(item.stamp_ns)
            for value, box, runs in encode_labels(item.labels):
                if value // 1000 in BUILDING_CLASSES:
                    boxes[item.stamp_ns, item.camera, value] = box
                    num_px[item.stamp_ns, item.camera, value] = area(box, runs)
        elif isinstance(item, Odometry):
            if np.isfinite(item.T_odom_base).all():
                odometry[item.stamp_ns] = item.T_odom_base
            else:
                counts["odometry_not_finite"] += 1
    if counts:
        _LOG.warning("left out of the comparison: %s", dict(counts))
    stamps = np.array(sorted(odometry), dtype=np.int64)
    poses = np.array([odometry[s] for s in stamps.tolist()]).reshape(-1, 4, 4)
    return Recording(boxes, num_px, pictures, Poses(stamps, poses), dict(counts))
