"""The true buildings of each mask: the table that all mask metrics count on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from seg2d3d_ros.segmentation.classes import BUILDING
from seg2d3d_ros.types import FloatArray, IntArray

MaskKey: TypeAlias = tuple[int, str, int]
"""(stamp_ns, camera, label): a mask of a picture."""

BUILDING_CLASSES = (BUILDING,)


@dataclass(frozen=True)
class MaskTruth:
    """Masks with their true owners, n masks and r shares; masks are sorted by key.

    A mask over two houses has two shares. Its building is the one with the larger share (the
    smaller id of equals); `share_*` keep every owner for the metrics that count all of them.

    Attributes:
        keys: The masks.
        picture: (n,) index of the mask's picture, in order of stamp, then camera.
        building: (n,) main owner, 0 none.
        share_mask: (r,) position of a mask.
        share_building: (r,) a building under it.
        share: (r,) part of the mask's pixels that show it.
    """

    keys: tuple[MaskKey, ...]
    picture: IntArray
    building: IntArray
    share_mask: IntArray
    share_building: IntArray
    share: FloatArray

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self.keys)

    def in_pictures(self, pictures: Iterable[tuple[int, str]]) -> MaskTruth:
        """Return the masks of the given pictures (stamp_ns, camera) alone."""
        wanted = set(pictures)
        keep = np.array([key[:2] in wanted for key in self.keys], dtype=bool)
        position = np.cumsum(keep) - 1
        rows = keep[self.share_mask]
        _, picture = np.unique(self.picture[keep], return_inverse=True)
        return MaskTruth(
            tuple(k for k, kept in zip(self.keys, keep, strict=True) if kept),
            picture,
            self.building[keep],
            position[self.share_mask[rows]],
            self.share_building[rows],
            self.share[rows],
        )

    @property
    def pictures(self) -> set[tuple[int, str]]:
        """Return the pictures (stamp_ns, camera) that carry a mask."""
        return {key[:2] for key in self.keys}

    @property
    def stream(self) -> IntArray:
        """Return the index of each mask's camera, (n,)."""
        cameras = np.array([camera for _, camera, _ in self.keys], dtype=str)
        return np.asarray(np.unique(cameras, return_inverse=True)[1], dtype=np.int64)

    def owner_rows(self, min_share: float) -> IntArray:
        """Return the positions of shares that make an owner: large enough, or the main one."""
        is_main = self.share_building == self.building[self.share_mask]
        return np.flatnonzero(is_main | (self.share >= min_share))

    def ids(self, assignment: Mapping[MaskKey, int]) -> IntArray:
        """Return the id that an assignment gives each mask, (n,); 0 where it gives none."""
        return np.array([assignment.get(key, 0) for key in self.keys], dtype=np.int64)


def build_mask_truth(
    rows: Iterable[tuple[int, str, int, int, float]],
    building_classes: Iterable[int] | None = BUILDING_CLASSES,
) -> MaskTruth:
    """Build the table from rows (stamp_ns, camera, label, building_id, share).

    Args:
        rows: One per mask and building under it; building 0 = none.
        building_classes: Classes (label // 1000) that are counted; None counts all.
    """
    classes = None if building_classes is None else set(building_classes)
    owners: dict[MaskKey, dict[int, float]] = {}
    for stamp_ns, camera, label, building, share in rows:
        if classes is not None and label // 1000 not in classes:
            continue
        shares = owners.setdefault((stamp_ns, camera, label), {})
        if building != 0:
            shares[building] = shares.get(building, 0.0) + share
    keys = tuple(sorted(owners))
    flat = [(i, b, s) for i, key in enumerate(keys) for b, s in sorted(owners[key].items())]
    main = [max(owners[k].items(), key=lambda o: (o[1], -o[0]), default=(0, 0.0))[0] for k in keys]
    order = {picture: i for i, picture in enumerate(sorted({k[:2] for k in keys}))}
    return MaskTruth(
        keys,
        np.array([order[k[:2]] for k in keys], dtype=np.int64),
        np.array(main, dtype=np.int64),
        np.array([f[0] for f in flat], dtype=np.int64),
        np.array([f[1] for f in flat], dtype=np.int64),
        np.array([f[2] for f in flat], dtype=np.float64),
    )
