"""The numbers behind decisions about identities: what two sets of landmarks share in the masks.

Numbers of an event, by name (an event holds those that apply):

| name | what |
|---|---|
| `points_a`, `points_b` | landmarks in masks of the one and of the other |
| `shared_points` | landmarks in masks of both |
| `jaccard` | shared / all of both |
| `containment` | shared / those of the smaller one |
| `views_for` | pictures in which both lie mainly in one mask |
| `views_against` | pictures in which they lie mainly in two |
| `rival`, `rival_containment`, `rival_views_…` | the best other candidate and its scores |
| `points` | landmarks of an instance that is new or gone |
| `places` | places on facades that changed hands |
| `masks` | masks of an instance that others explain, or that is known from masks alone |
| `evidence_per_mask` | what speaks in them for the instance that explains them, on average |
| `manual` | 1 for an edit by hand |
| `undoes` | sequence of the event that is taken back |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.mapping.association.identities import Picture
from seg2d3d_ros.types import EventKind, InstanceEvent, IntArray

_MAX_PICTURES = 96
_MIN_IN_MASK = 2


@dataclass(frozen=True)
class Comparison:
    """How far masks tell two sets of landmarks apart; a picture may speak for or against both.

    Attributes:
        points_a: Landmarks in masks that show mainly the first set.
        points_b: Landmarks in masks that show mainly the second set.
        shared_points: Landmarks in masks of both kinds.
        views_for: Pictures in which both sets lie mainly in one mask.
        views_against: Pictures in which they lie mainly in two.
    """

    points_a: int
    points_b: int
    shared_points: int
    views_for: int
    views_against: int

    @property
    def jaccard(self) -> float:
        """Return shared landmarks over all landmarks, 0 without any."""
        either = self.points_a + self.points_b - self.shared_points
        return self.shared_points / either if either else 0.0

    @property
    def containment(self) -> float:
        """Return shared landmarks over those of the smaller set, 0 without any."""
        smaller = min(self.points_a, self.points_b)
        return self.shared_points / smaller if smaller else 0.0

    def numbers(self) -> dict[str, float]:
        """Return the numbers as they stand in an event."""
        return {
            "points_a": float(self.points_a),
            "points_b": float(self.points_b),
            "shared_points": float(self.shared_points),
            "jaccard": self.jaccard,
            "containment": self.containment,
            "views_for": float(self.views_for),
            "views_against": float(self.views_against),
        }


@dataclass(frozen=True)
class _Sights:
    """Landmarks (n,) in masks of pictures, their mask (n,), and the first mask of each (p,)."""

    ids: IntArray
    mask: IntArray
    starts: IntArray

    @staticmethod
    def of(pictures: Sequence[Picture]) -> _Sights:
        """Look into at most 96 pictures, evenly spread."""
        seen = [p.seen for p in _spread(pictures) if len(p.seen.ids)]
        sizes = np.array([int(s.mask.max()) + 1 for s in seen], dtype=np.int64)
        starts = np.cumsum(sizes) - sizes
        masks = [s.mask + first for s, first in zip(seen, starts, strict=True)]
        none = np.zeros(0, dtype=np.int64)
        ids = np.concatenate([none, *(s.ids for s in seen)])
        return _Sights(ids, np.concatenate([none, *masks]), starts)

    def compare(self, of_a: NDArray[np.bool_], of_b: NDArray[np.bool_]) -> Comparison:
        """Compare two sets of landmarks, given as rows (n,) each."""
        if not len(self.ids):
            return Comparison(0, 0, 0, 0, 0)
        num = int(self.mask.max()) + 1
        count_a, count_b = (np.bincount(self.mask[rows], minlength=num) for rows in (of_a, of_b))
        is_a = (count_a > 0) & (count_a >= count_b)
        is_b = (count_b > 0) & ~is_a
        points_a, points_b = (np.unique(self.ids[m[self.mask]]) for m in (is_a, is_b))
        shared = len(np.intersect1d(points_a, points_b, assume_unique=True))
        (most_a, main_a), (most_b, main_b) = (
            _main_masks(c, self.starts) for c in (count_a, count_b)
        )
        both = (most_a >= _MIN_IN_MASK) & (most_b >= _MIN_IN_MASK)
        views_for = int((both & (main_a == main_b)).sum())
        against = int(both.sum()) - views_for
        return Comparison(len(points_a), len(points_b), shared, views_for, against)


def compare(pictures: Sequence[Picture], a: IntArray, b: IntArray) -> Comparison:
    """Look two disjoint sets of landmarks up in the masks of pictures.

    Args:
        pictures: At most 96 of them, evenly spread, are looked at.
        a: (n,) landmarks.
        b: (m,) other landmarks.
    """
    sights = _Sights.of(pictures)
    return sights.compare(np.isin(sights.ids, a), np.isin(sights.ids, b))


def _main_masks(count: IntArray, starts: IntArray) -> tuple[IntArray, IntArray]:
    """Return the largest count of each picture's masks, and the first mask that has it."""
    size = len(count)
    best = np.maximum.reduceat(count * size + np.arange(size)[::-1], starts)
    return best // size, size - 1 - best % size


def rivals(
    pictures: Sequence[Picture], mine: IntArray, owners: IntArray, ids: IntArray
) -> list[tuple[int, Comparison]]:
    """Compare a set of landmarks with every instance seen in the same pictures.

    Args:
        pictures: Where to look.
        mine: (n,) landmarks of the one.
        owners: (m,) instance of the landmarks `ids`, 0 none; rows of `mine` do not count.
        ids: (m,) all landmarks in question.

    Returns:
        Instance and comparison, the strongest candidate first.
    """
    if not len(ids):
        return []
    sights = _Sights.of(pictures)
    is_mine = np.isin(sights.ids, mine)
    order = np.argsort(ids)
    at = order[np.searchsorted(ids, sights.ids, sorter=order) % len(ids)]
    owner = np.where(ids[at] == sights.ids, owners[at], 0)
    others = [int(i) for i in np.unique(owner[~is_mine]) if i]
    found = [(i, sights.compare(is_mine, owner == i)) for i in others]
    seen = [(i, c) for i, c in found if c.shared_points or c.views_for or c.views_against]
    return sorted(seen, key=lambda r: (-r[1].containment, -r[1].views_for, r[0]))


class PictureIndex:
    """Finds the pictures that saw any of some landmarks."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        """Index pictures by the landmarks in their building masks."""
        self._pictures = pictures
        ids = [p.seen.ids for p in pictures]
        row = np.repeat(np.arange(len(ids)), [len(i) for i in ids])
        joined = np.concatenate([np.zeros(0, dtype=np.int64), *ids])
        order = np.argsort(joined, kind="stable")
        self._ids, self._row = joined[order], row[order]

    def of(self, ids: IntArray) -> list[Picture]:
        """Return the pictures that saw any of the landmarks (n,), in order."""
        low, high = (np.searchsorted(self._ids, ids, side) for side in ("left", "right"))
        rows = [self._row[a:b] for a, b in zip(low, high, strict=True)]
        found = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *rows]))
        return [self._pictures[k] for k in found.tolist()]


def testify(
    events: Sequence[InstanceEvent],
    pictures: Sequence[Picture],
    before: Callable[[int], IntArray],
    now: Callable[[IntArray], IntArray],
) -> list[InstanceEvent]:
    """Add what the masks say to automatic decisions, in pictures of the time.

    Args:
        events: Decisions just taken.
        pictures: Where to look.
        before: Returns the landmarks (n,) that an instance had before.
        now: Returns the instance (m,) of landmarks (m,) after the decisions.
    """
    if not events:
        return []
    index = PictureIndex(pictures)
    seen = np.unique(
        np.concatenate([np.zeros(0, dtype=np.int64), *(p.seen.ids for p in pictures)])
    )
    owners = now(seen)
    out = []
    for e in events:
        a, b = before(e.instance), before(e.other)
        if e.kind == EventKind.SPLIT:
            a, b = seen[owners == e.instance], seen[owners == e.other]
        elif e.kind == EventKind.CREATED:
            a, b = seen[owners == e.instance], a
        numbers: dict[str, float] = {}
        if len(a) and len(b):
            numbers = compare(index.of(np.concatenate([a, b])), a, b).numbers()
        elif len(a) and e.kind != EventKind.MERGED:
            found = rivals(index.of(a), a, owners, seen)
            numbers = {"points": float(len(a)), **as_rival(next(iter(found), None))}
        out.append(replace(e, evidence={**e.evidence, **numbers}))
    return out


def as_rival(rival: tuple[int, Comparison] | None) -> dict[str, float]:
    """Return the numbers of the best other candidate as they stand in an event."""
    if rival is None:
        return {}
    instance, comparison = rival
    return {
        "rival": float(instance),
        "rival_containment": comparison.containment,
        "rival_views_for": float(comparison.views_for),
        "rival_views_against": float(comparison.views_against),
    }


def _spread(pictures: Sequence[Picture]) -> Iterable[Picture]:
    if len(pictures) <= _MAX_PICTURES:
        return pictures
    rows = np.linspace(0, len(pictures) - 1, _MAX_PICTURES).astype(int)
    return [pictures[k] for k in rows]
