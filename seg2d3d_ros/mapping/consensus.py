"""Which instances own masks of their own, and which only lie in the masks of others."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import TypeAlias

import numpy as np

from seg2d3d_ros.mapping.partition import Edges
from seg2d3d_ros.types import IntArray

# Landmarks by instance, for every mask that holds any; masks are named by `mask_key`.
MaskTable: TypeAlias = dict[int, Counter[int]]

_MIN_OWN_SHARE = 0.35
_HOST_SHARE = 0.6
_MASKS_PER_PICTURE = 4096


def mask_key(picture: int, mask: IntArray) -> IntArray:
    """Return the names (n,) of masks (n,) of a picture, unique over all pictures."""
    return picture * _MASKS_PER_PICTURE + mask


def build_table(mask: IntArray, instance: IntArray) -> MaskTable:
    """Count landmarks by mask (n,) and instance (n,), leaving out instance 0."""
    keep = instance > 0
    pairs, count = np.unique(
        np.stack([mask[keep], instance[keep]], axis=1), axis=0, return_counts=True
    )
    table: MaskTable = {}
    for (m, i), n in zip(pairs.tolist(), count.tolist(), strict=True):
        table.setdefault(m, Counter())[i] = n
    return table


def weakest(table: MaskTable) -> tuple[int, int] | None:
    """Return the instance that owns the smallest share of the masks it lies in, with its host.

    Returns:
        (instance, host), host 0 where no other instance holds it most of the time; None if every
        instance owns at least 35 % of its masks.
    """
    seen: Counter[int] = Counter()
    owned: Counter[int] = Counter()
    hosts: dict[int, Counter[int]] = {}
    for row in table.values():
        owner = min(row, key=lambda i: (-row[i], i))
        owned[owner] += 1
        for i in row:
            seen[i] += 1
            if i != owner:
                hosts.setdefault(i, Counter())[owner] += 1
    weak = [i for i in seen if owned[i] < _MIN_OWN_SHARE * seen[i]]
    if not weak:
        return None
    instance = min(weak, key=lambda i: (owned[i] / seen[i], seen[i], -i))
    host, times = min(hosts[instance].items(), key=lambda h: (-h[1], h[0]))
    return instance, host if times >= _HOST_SHARE * seen[instance] else 0


def reassign(table: MaskTable, instance: int, host: int) -> MaskTable:
    """Return the table with an instance counted as its host, or not at all for host 0."""
    out: MaskTable = {}
    for m, row in table.items():
        if instance in row:
            row = row.copy()
            n = row.pop(instance)
            if host:
                row[host] += n
        if row:
            out[m] = row
    return out


def companions(table: MaskTable) -> Edges:
    """Compare the masks of instances that are seen together, picture by picture.

    Returns:
        For each pair, the pictures in which both lie mainly in one mask less those in which they
        do not; only instances with at least two landmarks in their mask are compared.
    """
    pictures: dict[int, dict[int, tuple[int, int]]] = {}
    for key in sorted(table):
        main = pictures.setdefault(key // _MASKS_PER_PICTURE, {})
        for i, n in table[key].items():
            if n >= 2 and n > main.get(i, (0, 0))[0]:
                main[i] = (n, key)
    edges: Edges = {}
    for main in pictures.values():
        for a, b in combinations(sorted(main), 2):
            vote = 1.0 if main[a][1] == main[b][1] else -1.0
            row = edges.setdefault(a, {})
            row[b] = edges.setdefault(b, {})[a] = row.get(b, 0.0) + vote
    return edges
