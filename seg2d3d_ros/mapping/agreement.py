"""Names that linked masks agree on.

A chain of masks shares one name. Strong evidence decides alone; evidence that is hardly better
than a guess stays silent, and the links to other chains decide. What these leave open goes to the
instance that the weak evidence points at, unless that one has masks of its own in the same
pictures: then it is a neighbour. What is still open are orphans.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from seg2d3d_ros.mapping.mask_links import MaskLinks, pictures_of
from seg2d3d_ros.types import FloatArray, IntArray

# What speaks for each instance, by id.
Evidence: TypeAlias = Counter[int]

_CHAIN_OVERLAP = 0.55
_LINK_WEIGHT = 2.0
_NUM_ROUNDS = 12
_MIN_EVIDENCE = 0.1
# Evidence per mask: silent up to here, counted in full from twice that on.
_WEAK_EVIDENCE = 0.5
_SILENT_SIZE = 0.25
_MIN_HINT = 0.01
_MAX_PRESENCE = 0.5


@dataclass(frozen=True)
class Name:
    """Instance of a mask, 0 for none, and its share of the evidence in 0..1."""

    instance: int
    score: float


@dataclass(frozen=True)
class Names:
    """Names of masks (n,), and groups of linked masks, by position, that nothing explains."""

    names: list[Name]
    orphans: list[IntArray]


def name_masks(keys: IntArray, evidence: list[Evidence], links: MaskLinks) -> Names:
    """Name masks (n,) so that those which are linked agree.

    Args:
        keys: (n,) names of masks as `mask_keys` makes them, each once.
        evidence: What speaks for which instance in each of them; masks without any may be of
            classes that have none.
        links: Links between them; those to other masks are left out.
    """
    if not len(keys):
        return Names([], [])
    chain, between = _chains(keys, links)
    instances, raw = _sum_up(evidence, chain)
    sums = _without_weak(raw, chain)
    strength = np.asarray(sums.sum(axis=1)).ravel()
    size = np.maximum(np.minimum(strength, np.bincount(chain)), _SILENT_SIZE)
    mean = _spread(sums, size, between)
    is_open = _best(mean)[1] < _MIN_EVIDENCE
    groups = _groups(chain, between, is_open)
    named = np.where(is_open, 0, instances[_best(mean)[0]])[chain]
    heirs = _heirs(keys, groups, evidence, named)
    if any(heirs):
        mean = _spread(_with_heirs(sums, size, chain, groups, heirs, instances), size, between)
    column, top = _best(mean)
    score = top / np.maximum(np.asarray(mean.sum(axis=1)).ravel(), 1e-9)
    found = [
        Name(int(instances[i]), float(s)) if t >= _MIN_EVIDENCE else Name(0, 0.0)
        for i, t, s in zip(column, top, score, strict=True)
    ]
    names = [found[c] for c in chain]
    orphans = [g for g in groups if not any(names[k].instance for k in g)]
    return Names(names, orphans)


def _chains(keys: IntArray, links: MaskLinks) -> tuple[IntArray, sparse.csr_array]:
    """Return the chain (n,) of each mask, and the weights (c, c) of links between chains."""
    order = np.argsort(keys)
    known = np.isin(links.a, keys) & np.isin(links.b, keys)
    a, b = (order[np.searchsorted(keys, k[known], sorter=order)] for k in (links.a, links.b))
    overlap = links.overlap[known]
    strong = overlap >= _CHAIN_OVERLAP
    graph = _graph(a[strong], b[strong], overlap[strong], len(keys))
    num, label = connected_components(graph, directed=False)
    chain = label.astype(np.int64)
    weight = overlap**2 * (chain[a] != chain[b])
    return chain, _graph(chain[a], chain[b], weight, num)


def _graph(a: IntArray, b: IntArray, weight: FloatArray, size: int) -> sparse.csr_array:
    """Return the symmetric weights (size, size) of links."""
    rows, columns = np.concatenate([a, b]), np.concatenate([b, a])
    return sparse.coo_array((np.tile(weight, 2), (rows, columns)), shape=(size, size)).tocsr()


def _sum_up(evidence: list[Evidence], chain: IntArray) -> tuple[IntArray, sparse.csr_array]:
    """Return the instances (i,), ascending from 0, and their evidence by chain (c, i)."""
    rows = [(c, i, w) for c, e in zip(chain.tolist(), evidence, strict=True) for i, w in e.items()]
    row, instance, weight = np.array([(0, 0, 0.0), *rows], dtype=float).T
    instances, column = np.unique(instance.astype(np.int64), return_inverse=True)
    shape = (int(chain.max()) + 1, len(instances))
    return instances, sparse.coo_array((weight, (row.astype(np.int64), column)), shape).tocsr()


def _without_weak(sums: sparse.csr_array, chain: IntArray) -> sparse.csr_array:
    """Return the evidence (c, i) without that of chains in which it is little per mask."""
    per_mask = _best(sums)[1] / np.bincount(chain)
    trust = np.clip(per_mask / _WEAK_EVIDENCE - 1.0, 0.0, 1.0)
    return sparse.csr_array(sparse.diags_array(trust) @ sums)


def _best(evidence: sparse.csr_array) -> tuple[IntArray, FloatArray]:
    """Return the strongest column of each row (c,) and what it holds."""
    column = np.asarray(evidence.argmax(axis=1)).ravel().astype(np.int64)
    return column, np.asarray(evidence.max(axis=1).todense()).ravel()


def _spread(sums: sparse.csr_array, size: FloatArray, links: sparse.csr_array) -> sparse.csr_array:
    """Return the mean evidence of chains (c, i) after linked ones had a say.

    Label propagation (Zhou et al. 2004); `size` (c,) says how much a chain holds to its own.
    """
    degree = np.asarray(links.sum(axis=1)).ravel()
    norm = sparse.diags_array(1.0 / (size + _LINK_WEIGHT * degree))
    mean = sparse.diags_array(1.0 / size) @ sums
    for _ in range(_NUM_ROUNDS):
        mean = norm @ (sums + _LINK_WEIGHT * (links @ mean))
    return sparse.csr_array(mean)


def _groups(chain: IntArray, links: sparse.csr_array, is_open: np.ndarray) -> list[IntArray]:
    """Return the masks, by position, of open chains that links hold together."""
    chains = np.flatnonzero(is_open)
    label = np.full(len(is_open), -1)
    label[chains] = connected_components(links[chains][:, chains], directed=False)[1]
    group = label[chain]
    order = np.argsort(group, kind="stable")
    order = order[group[order] >= 0]
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else []


def _heirs(
    keys: IntArray, groups: list[IntArray], evidence: list[Evidence], named: IntArray
) -> list[int]:
    """Return for each group the instance its weak evidence points at, 0 for none.

    Instances that have masks of their own in most pictures of the group are passed over. The
    largest group chooses first.
    """
    picture = pictures_of(keys)
    present = set(zip(picture.tolist(), named.tolist(), strict=True))
    heirs = [0] * len(groups)
    for g in sorted(
        range(len(groups)), key=lambda g: (-len(groups[g]), int(keys[groups[g]].min()))
    ):
        hints: Evidence = Counter()
        for k in groups[g].tolist():
            hints.update(evidence[k])
        pictures = np.unique(picture[groups[g]]).tolist()
        free = [
            i
            for i, weight in hints.items()
            if weight >= _MIN_HINT * len(groups[g])
            and sum((p, i) in present for p in pictures) <= _MAX_PRESENCE * len(pictures)
        ]
        if free:
            heirs[g] = min(free, key=lambda i: (-hints[i], i))
            present.update((p, heirs[g]) for p in pictures)
    return heirs


def _with_heirs(
    sums: sparse.csr_array,
    size: FloatArray,
    chain: IntArray,
    groups: list[IntArray],
    heirs: list[int],
    instances: IntArray,
) -> sparse.csr_array:
    """Return the evidence (c, i) with all of a group's chains speaking for its heir."""
    pairs = [(c, i) for g, i in zip(groups, heirs, strict=True) if i for c in np.unique(chain[g])]
    row, heir = np.array(pairs, dtype=np.int64).T
    kept = np.ones(len(size))
    kept[row] = 0.0
    column = np.searchsorted(instances, heir)
    given = sparse.coo_array((size[row], (row, column)), shape=sums.shape).tocsr()
    return sparse.csr_array(sparse.diags_array(kept) @ sums + given)
