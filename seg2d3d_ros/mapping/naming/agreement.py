"""Names that linked masks agree on.

Masks of one track share one name, that with the most evidence, unless a mask is sure to be of
another. Where most of those that speak for another are sure, the others follow them. Evidence that
is hardly better than a guess stays silent at first. It speaks only for what no other evidence
names, and not for an instance that has masks of its own in the same pictures: that is a neighbour.
What is still open are orphans.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from seg2d3d_ros.mapping.masks.mask_links import MaskLinks, pictures_of
from seg2d3d_ros.mapping.masks.mask_tracks import find_tracks
from seg2d3d_ros.types import IntArray

# What speaks for each instance, by id.
Evidence: TypeAlias = Counter[int]

# Per mask: six in ten are right from 0.3 to 0.5, nine in ten from 0.5 on.
_WEAK_EVIDENCE = 0.5
SURE_EVIDENCE = 2.0
_SHARE_OF_TRACK = 0.1
# For one that follows others of its track, which are sure; it takes more than half of them.
_SHARE_OF_FOLLOWER, _MIN_SURE = 1.0 / 3.0, 0.5
_MIN_HINT = 0.01
# Of the pictures of a group or of those of the instance, whatever are fewer.
_MAX_PRESENCE = 0.5


@dataclass(frozen=True)
class Name:
    """Instance of a mask, 0 for none, and its share of the evidence in 0..1."""

    instance: int
    score: float


_NO_NAME = Name(0, 0.0)


@dataclass(frozen=True)
class Names:
    """Names of masks (n,), and groups of linked masks, by position, that nothing explains."""

    names: list[Name]
    orphans: list[IntArray]


def name_masks(keys: IntArray, evidence: list[Evidence], links: MaskLinks) -> Names:
    """Name masks (n,) so that those of one track agree.

    Args:
        keys: (n,) names of masks as `mask_keys` makes them, each once.
        evidence: What speaks for which instance in each of them; masks without any may be of
            classes that have none.
        links: Links between them; those to other masks are left out.
    """
    links = links.between(keys)
    names = [_NO_NAME] * len(keys)
    # Most masks are of other classes: nothing speaks for an instance, nothing is linked.
    is_told = np.array([bool(e) for e in evidence], dtype=bool)
    is_told |= np.isin(keys, np.concatenate([links.a, links.b]))
    rows = np.flatnonzero(is_told)
    if not len(rows):
        return Names(names, [])
    keys, told = keys[rows], [evidence[k] for k in rows.tolist()]
    track = find_tracks(keys, links)
    of_track = _names(told, track)
    own = _own_names(told, track, of_track)
    groups = _groups(keys, links, track, np.array([not n.instance for n in of_track]))
    heirs = _heirs(keys, groups, told, [n.instance for n in own])
    for group, heir in zip(groups, heirs, strict=True):
        for k in group.tolist():
            own[k] = heir
    for k, name in zip(rows.tolist(), own, strict=True):
        names[k] = name
    orphans = [rows[g] for g, heir in zip(groups, heirs, strict=True) if not heir.instance]
    return Names(names, orphans)


def _names(evidence: list[Evidence], track: IntArray) -> list[Name]:
    """Return the name of each track by the evidence of its masks (n,), none where it is weak."""
    masks = np.split(np.argsort(track, kind="stable"), np.cumsum(np.bincount(track))[:-1])
    of_track = [_sum(evidence, m) for m in masks]
    return [
        _best(e, e) if max(e.values(), default=0.0) >= _WEAK_EVIDENCE * len(m) else _NO_NAME
        for e, m in zip(of_track, masks, strict=True)
    ]


def _own_names(evidence: list[Evidence], track: IntArray, of_track: list[Name]) -> list[Name]:
    """Return the names of masks (n,): that of their track, if their own evidence allows it.

    A mask that is sure to be of another instance is named after that. So are the other masks of
    its track that speak for the same one, where most of them are sure: the track passes from one
    building to another.
    """
    own = [of_track[t] for t in track.tolist()]
    strays: dict[tuple[int, int], list[int]] = {}
    for k, (t, e) in enumerate(zip(track.tolist(), evidence, strict=True)):
        rival = min(e, key=lambda i: (-e[i], i), default=0)
        share = _SHARE_OF_FOLLOWER * e[rival]
        if e[rival] >= _WEAK_EVIDENCE and e[of_track[t].instance] <= share:
            strays.setdefault((t, rival), []).append(k)
    for (t, rival), masks in strays.items():
        name = of_track[t].instance
        sure = [k for k in masks if _is_sure(evidence[k], rival, name)]
        for k in masks if len(sure) > _MIN_SURE * len(masks) else sure:
            own[k] = _best(evidence[k], [rival])
    return own


def _is_sure(evidence: Evidence, rival: int, name: int) -> bool:
    """Return whether a mask leaves no doubt: it is of a rival, not of the name of its track."""
    weight = evidence[rival]
    return weight >= SURE_EVIDENCE and evidence[name] <= _SHARE_OF_TRACK * weight


def _sum(evidence: list[Evidence], masks: IntArray) -> Evidence:
    """Return what speaks for which instance in some masks (m,) together."""
    total: Evidence = Counter()
    for k in masks.tolist():
        total.update(evidence[k])
    return total


def _best(evidence: Evidence, among: Iterable[int]) -> Name:
    """Return the instance for which most speaks, among some, and its share of the evidence."""
    instance = min(among, key=lambda i: (-evidence[i], i))
    return Name(instance, evidence[instance] / sum(evidence.values()))


def _groups(
    keys: IntArray, links: MaskLinks, track: IntArray, is_open: np.ndarray
) -> list[IntArray]:
    """Return the masks, by position, of open tracks that links hold together."""
    order = np.argsort(keys)
    a, b = (track[order[np.searchsorted(keys, k, sorter=order)]] for k in (links.a, links.b))
    both = is_open[a] & is_open[b]
    size = len(is_open)
    graph = sparse.coo_array((both[both], (a[both], b[both])), shape=(size, size))
    label = connected_components(graph, directed=False)[1]
    rows = np.flatnonzero(is_open[track])
    rows = rows[np.argsort(label[track[rows]], kind="stable")]
    starts = np.flatnonzero(np.diff(label[track[rows]])) + 1
    return np.split(rows, starts) if len(rows) else []


def _heirs(
    keys: IntArray, groups: list[IntArray], evidence: list[Evidence], named: list[int]
) -> list[Name]:
    """Return for each group the instance its weak evidence points at.

    Instances that have masks of their own in most pictures of the group are passed over, and those
    of whose pictures most show the group, too: they stand side by side. The largest group chooses
    first.
    """
    picture = pictures_of(keys)
    present = set(zip(picture.tolist(), named, strict=True))
    num_pictures = Counter(i for _, i in present)
    heirs = [_NO_NAME] * len(groups)
    for g in sorted(
        range(len(groups)), key=lambda g: (-len(groups[g]), int(keys[groups[g]].min()))
    ):
        hints = _sum(evidence, groups[g])
        pictures = np.unique(picture[groups[g]]).tolist()
        free = [
            i
            for i, weight in hints.items()
            if weight >= _MIN_HINT * len(groups[g])
            and sum((p, i) in present for p in pictures)
            <= _MAX_PRESENCE * min(len(pictures), num_pictures[i] or len(pictures))
        ]
        if free:
            heirs[g] = _best(hints, free)
            taken = {(p, heirs[g].instance) for p in pictures}
            num_pictures[heirs[g].instance] += len(taken - present)
            present |= taken
    return heirs
