"""Which instances own masks of their own, and which only lie in the masks of others."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from scipy import sparse

from seg2d3d_ros.mapping.association.labels import may_join
from seg2d3d_ros.mapping.partition import Edges
from seg2d3d_ros.types import IntArray

_MIN_OWN_SHARE = 0.35
_HOST_SHARE = 0.6
_FOLLOWED_WEIGHT = 2.5
_MASKS_PER_PICTURE = 4096

# Masks (n,), by `mask_key`, and the instances (n,) of landmarks in them, 0 for none.
InMasks: TypeAlias = tuple[IntArray, IntArray]


def mask_key(picture: int, mask: IntArray) -> IntArray:
    """Return the names (n,) of masks (n,) of a picture, unique over all pictures."""
    return picture * _MASKS_PER_PICTURE + mask


def split_mask_key(key: IntArray) -> tuple[IntArray, IntArray]:
    """Return the picture (n,) and the mask (n,) that keys (n,) were made of."""
    return key // _MASKS_PER_PICTURE, key % _MASKS_PER_PICTURE


def count_pairs(a: IntArray, b: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Count equal pairs of a (n,) and b (n,), leaving out those with b = 0.

    Returns:
        The a (m,), b (m,) and count (m,) of each pair there is: sorted by a, the most frequent b
        of each a first, the smaller of equally frequent ones.
    """
    order = np.flatnonzero(b > 0)
    order = order[np.lexsort((b[order], a[order]))]
    start = _starts(a[order], b[order])
    count = np.diff(start, append=len(order))
    a, b = a[order[start]], b[order[start]]
    order = np.lexsort((b, -count, a))
    return a[order], b[order], count[order]


def majority(a: IntArray, b: IntArray) -> tuple[IntArray, IntArray]:
    """Return each different a of pairs (n,) with its most frequent b other than 0, sorted by a."""
    a, b, _ = count_pairs(a, b)
    first = _starts(a)
    return a[first], b[first]


class MaskTable:
    """Landmarks of instances in masks; kept up while instances are joined and dissolved."""

    def __init__(self, mask: IntArray, instance: IntArray) -> None:
        """Count landmarks by mask (n,) and instance (n,), leaving out instance 0."""
        self._rows: dict[int, Counter[int]] = {}
        self._masks_of: dict[int, set[int]] = {}
        self._num_owned: Counter[int] = Counter()
        self._hosts: dict[int, Counter[int]] = {}
        for m, i, n in zip(*(v.tolist() for v in count_pairs(mask, instance)), strict=True):
            self._rows.setdefault(m, Counter())[i] = n
            self._masks_of.setdefault(i, set()).add(m)
        for row in self._rows.values():
            self._judge(row, 1)

    def weakest(self) -> tuple[int, int] | None:
        """Return the instance that owns the smallest share of the masks it lies in, and its host.

        Returns:
            (instance, host), host 0 where no other instance holds it most of the time; None if
            every instance owns at least 35 % of its masks.
        """
        owned, seen = self._num_owned, {i: len(masks) for i, masks in self._masks_of.items()}
        weak = [i for i, n in seen.items() if owned[i] < _MIN_OWN_SHARE * n]
        if not weak:
            return None
        instance = min(weak, key=lambda i: (owned[i] / seen[i], seen[i], -i))
        host, times = min(self._hosts[instance].items(), key=lambda h: (-h[1], h[0]))
        return instance, host if times >= _HOST_SHARE * seen[instance] else 0

    def reassign(self, instance: int, host: int) -> None:
        """Count an instance as its host from now on, or not at all for host 0."""
        for mask in sorted(self._masks_of.pop(instance, ())):
            row = self._rows[mask]
            self._judge(row, -1)
            num = row.pop(instance)
            if host:
                row[host] += num
                self._masks_of.setdefault(host, set()).add(mask)
            self._judge(row, 1)
        self._num_owned.pop(instance, None)
        self._hosts.pop(instance, None)

    def _judge(self, row: Counter[int], sign: int) -> None:
        """Count who owns a mask and who is a guest in it, or take that back (sign -1)."""
        if not row:
            return
        owner = min(row, key=lambda i: (-row[i], i))
        self._num_owned[owner] += sign
        for i in row:
            if i != owner:
                self._hosts.setdefault(i, Counter())[owner] += sign


def companions(followed: InMasks, projected: InMasks) -> tuple[IntArray, Edges]:
    """Compare the masks of instances that are seen together, picture by picture.

    Args:
        followed: Instances in their `main_masks`, by landmarks in masks they were followed in.
        projected: The same by landmarks in masks that they should be seen in. What is hidden may
            seem to lie in the mask of what hides it, so what was followed says more.

    Returns:
        The instances (m,), sorted, and for each pair, as positions among them, the pictures in
        which both lie mainly in one mask less those in which they do not.
    """
    instances = np.unique(np.concatenate([projected[1], followed[1]]))
    votes = [_compared(*pairs, instances) for pairs in (projected, followed)]
    total = (votes[0] + _FOLLOWED_WEIGHT * votes[1]).tocoo()
    return instances, Edges(len(instances), total.row, total.col, total.data)


def encounters(one: InMasks, other: InMasks, instances: IntArray) -> Edges:
    """Compare the masks of instances known in one way with those of others known in another.

    Args:
        one: Instances in their `main_masks`.
        other: Instances in theirs, in the same pictures.
        instances: (m,) whom to compare, sorted.

    Returns:
        For each pair the pictures in which one and the other lie in one mask, less those in which
        they do not.
    """
    size = len(instances)
    mask, instance = (np.concatenate(v) for v in zip(one, other, strict=True))
    column = np.searchsorted(instances, instance)
    column[len(one[0]) :] += size
    known = np.isin(instance, instances)
    mask, column = mask[known], column[known]
    in_picture = _together(mask // _MASKS_PER_PICTURE, column, 2 * size)
    votes = (2 * _together(mask, column, 2 * size) - in_picture)[:size, size:]
    found = sparse.triu((votes + votes.T).astype(np.float64), k=1).tocoo()
    return Edges(size, found.row.astype(np.int64), found.col.astype(np.int64), found.data)


def followed_together(followed: InMasks, instances: IntArray) -> sparse.csr_array:
    """Return in how many pictures landmarks of two instances (m,) were followed, (m, m)."""
    mask, instance = followed
    known = np.isin(instance, instances)
    picture = mask[known] // _MASKS_PER_PICTURE
    column = np.searchsorted(instances, instance[known])
    size = max(len(instances), 1)
    picture, column = np.divmod(np.unique(picture * size + column), size)
    return _together(picture, column, len(instances))


def main_masks(mask: IntArray, instance: IntArray) -> InMasks:
    """Return of each instance that which of its masks (n,) in a picture has most of it.

    Instances with a single landmark in their mask say nothing.
    """
    mask, instance, count = count_pairs(mask, instance)
    mask, instance, count = (v[count >= 2] for v in (mask, instance, count))
    order = np.lexsort((mask, -count, instance, mask // _MASKS_PER_PICTURE))
    rows = order[_starts(mask[order] // _MASKS_PER_PICTURE, instance[order])]
    return mask[rows], instance[rows]


def _compared(mask: IntArray, instance: IntArray, instances: IntArray) -> sparse.coo_array:
    """Return the votes (m, m), above the diagonal, of instances (n,) in their masks."""
    column = np.searchsorted(instances, instance)
    in_picture = _together(mask // _MASKS_PER_PICTURE, column, len(instances))
    in_mask = _together(mask, column, len(instances))
    return sparse.triu((2 * in_mask - in_picture).astype(np.float64), k=1)


def within_classes(votes: Edges, classes: list[int]) -> Edges:
    """Turn votes for joining instances of two classes into votes against; 0 is of no class yet."""
    class_id = np.array(classes, dtype=np.int64)
    may = may_join(class_id[votes.first], class_id[votes.second])
    return replace(votes, weight=np.where(may, votes.weight, -np.abs(votes.weight)))


def _together(place: IntArray, column: IntArray, size: int) -> sparse.csr_array:
    """Return how often columns (n,) share a place (n,), as a matrix (size, size)."""
    places, row = np.unique(place, return_inverse=True)
    seen = sparse.csr_array(
        (np.ones(len(row), dtype=np.int64), (row, column)), shape=(len(places), size)
    )
    return (seen.T @ seen).tocsr()


def _starts(*columns: IntArray) -> IntArray:
    """Return where new values begin in columns (n,) that are sorted together."""
    changes = np.zeros(max(len(columns[0]) - 1, 0), dtype=bool)
    for column in columns:
        changes |= column[1:] != column[:-1]
    return np.flatnonzero(np.concatenate([np.ones(min(len(columns[0]), 1), bool), changes]))
