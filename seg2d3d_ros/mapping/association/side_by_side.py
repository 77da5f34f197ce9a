"""Which instances are seen side by side: as two tracks of masks in one picture, again and again.

Landmarks of two instances need not be followed at the same time to be told apart: the masks that
held the ones live on, picture by picture, beside the masks that hold the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from seg2d3d_ros.mapping.association.consensus import InMasks, count_pairs, split_mask_key
from seg2d3d_ros.mapping.association.identities import Picture
from seg2d3d_ros.mapping.masks.mask_links import MaskLinker, mask_keys, pictures_of
from seg2d3d_ros.mapping.masks.mask_tracks import find_tracks
from seg2d3d_ros.mapping.partition import Edges
from seg2d3d_ros.types import IntArray

# Of the landmarks of an instance that were followed in masks.
_MIN_SHARE_OF_INSTANCE = 0.2
# As much as landmarks that were followed in two masks of a picture (`consensus.py`).
_VOTE = -2.5


def side_by_side(
    followed: InMasks, instances: IntArray, pictures: Sequence[Picture], linker: MaskLinker
) -> Edges:
    """Vote against joining instances whose masks are of two tracks and seen in one picture.

    On eleven drives 61 of 63 pairs of one building that other votes would join share a track, and
    none is seen side by side more than once; of 19 pairs of two buildings 16 are, 8 to 62 times.

    Args:
        followed: Landmarks in masks, by the position of their picture.
        instances: (m,) instances to compare, sorted.
        pictures: All pictures.
        linker: Links between their masks.
    """
    track_of, of_picture = _tracks(followed, instances, pictures, linker)
    seen = ((track_of @ of_picture) > 0).astype(np.int64)
    together = (seen @ seen.T).tocsr()
    shares = (track_of @ track_of.T) > 0
    apart = sparse.triu(together - together.multiply(shares), k=1).tocoo()
    counts = apart.data > 0
    first, second = (v[counts].astype(np.int64) for v in (apart.row, apart.col))
    return Edges(len(instances), first, second, _VOTE * apart.data[counts])


def _tracks(
    followed: InMasks, instances: IntArray, pictures: Sequence[Picture], linker: MaskLinker
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Return the tracks of each instance (m, t), and the pictures of each track (t, p)."""
    row, owner = followed
    row, owner = (v[np.isin(owner, instances)] for v in (row, owner))
    none = np.zeros(1, dtype=np.int64)
    first = np.array([mask_keys(p.frame, p.camera, none)[0] for p in pictures], dtype=np.int64)
    number, mask = split_mask_key(row)
    key = first[number] + mask
    links = linker.among((p.frame, p.camera) for p in pictures)
    masks = np.unique(np.concatenate([key, links.a, links.b]))
    track = find_tracks(masks, links)
    num_tracks = int(track.max(initial=-1)) + 1
    owners, tracks, count = count_pairs(owner, track[np.searchsorted(masks, key)] + 1)
    at = np.searchsorted(instances, owners)
    total = np.bincount(at, count, minlength=len(instances))
    main = count >= _MIN_SHARE_OF_INSTANCE * total[at]
    of_instance = _flags(at[main], tracks[main] - 1, (len(instances), num_tracks))
    known, picture = np.unique(pictures_of(masks), return_inverse=True)
    return of_instance, _flags(track, picture, (num_tracks, len(known)))


def _flags(row: IntArray, column: IntArray, shape: tuple[int, int]) -> sparse.csr_array:
    """Return a matrix with 1 where a row and a column meet at least once."""
    found = sparse.coo_array((np.ones(len(row), dtype=np.int64), (row, column)), shape=shape)
    return (found.tocsr() > 0).astype(np.int64)
