"""Evidence for and against "same building", between places on facades seen in the same picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from seg2d3d_ros.mapping.packed_rows import PackedRows
from seg2d3d_ros.types import FloatArray, IntArray

_NEAR = 6
_FAR_RANKS = (12, 20, 32, 48)
_BITS = 20
_LONE = 1 << 62


@dataclass(frozen=True)
class PictureVotes:
    """Pairs (n, 2) of places in a picture and their votes (n,): +1 same mask, -1 different."""

    pairs: IntArray
    weight: FloatArray


def place_keys(ids: IntArray, points: FloatArray, sigma_m: FloatArray, voxel_m: float) -> IntArray:
    """Return one integer per landmark (n,) that names its place.

    A landmark that is better known than a voxel is wide shares its voxel's key with all others in
    there, so that what was seen on another pass is the same place; an uncertain one is a place of
    its own.
    """
    cell = np.floor(np.nan_to_num(points) / voxel_m).astype(np.int64) + (1 << (_BITS - 1))
    cell = np.clip(cell, 0, (1 << _BITS) - 1)
    voxel = (cell[:, 0] << (2 * _BITS)) | (cell[:, 1] << _BITS) | cell[:, 2]
    return np.where(sigma_m <= voxel_m, voxel, ids | _LONE)


def picture_votes(
    keys: IntArray, points: FloatArray, sigma_m: FloatArray, mask: IntArray, reach_m: float
) -> PictureVotes:
    """Pair each place of a picture with near ones and a few further ones, and compare their masks.

    Args:
        keys: (n,) places of landmarks in masks of the picture.
        points: (n, 3) their positions, world frame.
        sigma_m: (n,) their uncertainty.
        mask: (n,) mask of each.
        reach_m: Pairs further apart say nothing; uncertain ones reach ten times their sigma.

    Returns:
        The votes of this picture; the mask of a place is that of most of its landmarks.
    """
    keys, first, index = np.unique(keys, return_index=True, return_inverse=True)
    if len(keys) < 2:
        return PictureVotes(np.zeros((0, 2), dtype=np.int64), np.zeros(0))
    num_masks = int(mask.max()) + 1
    table = np.bincount(index * num_masks + mask, minlength=len(keys) * num_masks)
    owner = table.reshape(len(keys), num_masks).argmax(axis=1)
    places = points[first]
    ranks = [r for r in (*range(2, 2 + _NEAR), *_FAR_RANKS) if r <= len(keys)]
    reach = np.maximum(reach_m, 10.0 * np.minimum(sigma_m[first], 10.0))
    distance, other = cKDTree(places).query(
        places, k=ranks, distance_upper_bound=float(reach.max())
    )
    a = np.repeat(np.arange(len(keys)), len(ranks))
    b = np.asarray(other).ravel()
    # Where places coincide, the nearest one need not be the place itself.
    near = (np.asarray(distance).ravel() <= reach[a]) & (a != b)
    a, b = a[near], b[near]
    low, high = np.minimum(a, b), np.maximum(a, b)
    joined = np.unique(low * len(keys) + high)
    low, high = joined // len(keys), joined % len(keys)
    weight = np.where(owner[low] == owner[high], 1.0, -1.0)
    return PictureVotes(np.stack([keys[low], keys[high]], axis=1), weight)


class VoteGraph:
    """Sums of votes between places; those of places not touched last are packed away."""

    def __init__(self) -> None:
        """Start without votes."""
        self.edges = PackedRows()

    def add(self, votes: list[PictureVotes]) -> set[int]:
        """Add the votes of pictures; return the places they touch."""
        if not votes:
            return set()
        pairs = np.concatenate([v.pairs for v in votes])
        if not len(pairs):
            return set()
        weight = np.concatenate([v.weight for v in votes])
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        pairs, weight = pairs[order], weight[order]
        start = np.flatnonzero(np.r_[True, (np.diff(pairs, axis=0) != 0).any(axis=1)])
        sums = np.add.reduceat(weight, start)
        touched = set(np.unique(pairs).tolist())
        rows = self.edges.opened(touched)
        for (a, b), w in zip(pairs[start].tolist(), sums.tolist(), strict=True):
            row = rows[a]
            row[b] = rows[b][a] = row.get(b, 0.0) + w
        self.edges.pack(touched)
        return touched
