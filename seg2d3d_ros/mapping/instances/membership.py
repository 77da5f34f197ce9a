"""Landmarks by place and by instance, kept up with what each cluster touches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from seg2d3d_ros.mapping.association.identities import Association
from seg2d3d_ros.mapping.association.labels import LabelVotes
from seg2d3d_ros.mapping.association.owners import take_out
from seg2d3d_ros.mapping.instances.edits import Edits
from seg2d3d_ros.mapping.reserve import enlarged
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import EventKind, IntArray

_NO_PLACE = -1


class Membership:
    """Which landmarks each instance has, by the association, the edits and their classes.

    Attributes:
        changed: Instances that won, lost or moved a landmark since the set was last emptied.
    """

    def __init__(
        self, state: MapState, associator: Association, labels: LabelVotes, edits: Edits
    ) -> None:
        """Start empty, beside the parts of the mapping stage that decide."""
        self._state, self._associator = state, associator
        self._labels, self._edits = labels, edits
        self._anchored: tuple[int, ...] = ()
        self._clear()

    def _clear(self) -> None:
        self._place = np.full(4096, _NO_PLACE, dtype=np.int64)
        self._owner = np.zeros(4096, dtype=np.int64)
        # Mostly one or two at a place: a set would take five times the memory of a tuple.
        self._ids_at: dict[int, tuple[int, ...]] = {}
        self._members: dict[int, set[int]] = {}
        self.changed: set[int] = set()

    def touch(self, ids: IntArray) -> IntArray:
        """Look again at landmarks that moved or were seen, and at places that changed hands.

        Args:
            ids: (n,) landmarks with a new position or new votes for their class.

        Returns:
            Landmarks whose instance changed, sorted.
        """
        changed = self._associator.instance_of_place.changed
        there = [i for place in changed for i in self._ids_at.get(place, ())]
        changed.clear()
        ids = np.union1d(ids, np.array([*there, *self._about_edits()], dtype=np.int64))
        if not len(ids):
            return ids
        self._reserve(int(ids[-1]) + 1)
        self._settle_places(ids)
        owner = self.decided(ids)
        owner[~self._labels.is_building(ids, self._associator.building_classes)] = 0
        before = self._owner[ids]
        self.changed.update(np.union1d(owner, before).tolist())
        self.changed.discard(0)
        moved = owner != before
        if self._members:
            self._hand_over(ids[moved], before[moved], owner[moved])
        else:
            self._members = {i: set(of) for i, of in _grouped(ids[moved], owner[moved])}
        self._owner[ids] = owner
        return ids[moved]

    def rebuild(self) -> None:
        """Sort all landmarks anew after everything moved or was decided again."""
        self._clear()
        self._associator.instance_of_place.changed.clear()
        self.touch(self._state.landmark_ids())

    def last_places(self) -> tuple[IntArray, IntArray]:
        """Return landmarks (n,) that had a place when last looked at, and these places (n,)."""
        ids = np.flatnonzero(self._place != _NO_PLACE)
        return ids, self._place[ids]

    def count(self, instance: int) -> int:
        """Return how many landmarks an instance has."""
        return len(self._members.get(instance, ()))

    def of(self, instance: int) -> IntArray:
        """Return the landmarks of an instance, sorted."""
        ids = self._members.get(instance, ())
        return np.sort(np.fromiter(ids, dtype=np.int64, count=len(ids)))

    def owners(self, ids: IntArray) -> IntArray:
        """Return the instance (n,) of each landmark as last looked at, 0 for none."""
        out = np.zeros(len(ids), dtype=np.int64)
        known = ids < len(self._owner)
        out[known] = self._owner[ids[known]]
        return out

    def decided(self, ids: IntArray) -> IntArray:
        """Return the instance (n,) of landmarks as decided, by hand where it was."""
        return self._edits.relabel(ids, self.automatic, self._state.points)

    def class_of(self, instance: int) -> int:
        """Return the class of most landmarks of an instance; 0, any, if it was merged by hand."""
        if any(e.kind == EventKind.MERGED and e.keeper == instance for e in self._edits.journal):
            return 0
        votes = np.bincount(self._labels.of(self.of(instance)), minlength=1)
        votes[[k for k in range(len(votes)) if k not in self._associator.building_classes]] = 0
        return int(votes.argmax())

    def survivors(self, instances: IntArray) -> IntArray:
        """Return what instances without landmarks (n,) were merged into by hand."""
        return self._edits.survivors(instances, self.automatic, self._state.points)

    def automatic(self, ids: IntArray) -> IntArray:
        """Return the instance (n,) of landmarks by the association alone."""
        return self._associator.instances_of(self._state, ids)

    def _about_edits(self) -> list[int]:
        """Return the landmarks that edits may relabel since they mean other instances now."""
        now, before = self._edits.owners_of_anchors(self.automatic), self._anchored
        self._anchored = now
        if now == before:
            return []
        places = [p for i in {*now, *before} for p in self._associator.instance_of_place.places(i)]
        return [
            *(i for place in places for i in self._ids_at.get(place, ())),
            *(i for instance in self._edits.instances for i in self._members.get(instance, ())),
        ]

    def _hand_over(self, ids: IntArray, before: IntArray, owner: IntArray) -> None:
        """Move landmarks (n,) from instances (n,) to others (n,), 0 for none."""
        for landmark, old, new in zip(*(a.tolist() for a in (ids, before, owner)), strict=True):
            if old:
                take_out(self._members, old, landmark)
            if new:
                self._members.setdefault(new, set()).add(landmark)

    def _shift(self, ids: IntArray, before: IntArray, now: IntArray) -> None:
        """Move landmarks (n,) from places (n,) to others (n,), -1 for none."""
        for landmark, old, new in zip(*(a.tolist() for a in (ids, before, now)), strict=True):
            if old != _NO_PLACE:
                left = tuple(i for i in self._ids_at.pop(old) if i != landmark)
                self._ids_at.update({old: left} if left else {})
            if new != _NO_PLACE:
                self._ids_at[new] = tuple(sorted((*self._ids_at.get(new, ()), landmark)))

    def _settle_places(self, ids: IntArray) -> None:
        now = self._associator.places_of(self._state, ids)
        before = self._place[ids]
        moved = now != before
        if self._ids_at:
            self._shift(ids[moved], before[moved], now[moved])
        else:
            self._ids_at = {p: tuple(of) for p, of in _grouped(ids[moved], now[moved])}
        self._place[ids] = now

    def _reserve(self, size: int) -> None:
        self._owner = enlarged(self._owner, size)
        self._place = enlarged(self._place, size, _NO_PLACE)


def _grouped(ids: IntArray, keys: IntArray) -> Iterator[tuple[int, list[int]]]:
    """Yield each of keys (n,) with its ids, sorted, of ids (n,) that are sorted."""
    order = np.argsort(keys, kind="stable")
    firsts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    flat, names = ids[order].tolist(), keys[order][firsts].tolist()
    bounds = [*firsts.tolist(), len(flat)]
    for name, (low, high) in zip(names, pairwise(bounds), strict=True):
        yield name, flat[low:high]
