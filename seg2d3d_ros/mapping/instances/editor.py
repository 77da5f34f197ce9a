"""Edits by hand: merge, split and undo, each as an event with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from seg2d3d_ros.errors import EditError
from seg2d3d_ros.mapping.association.cut import Cut, choose, choose_masks
from seg2d3d_ros.mapping.association.evidence import PictureIndex, compare
from seg2d3d_ros.mapping.association.identities import Association, Picture
from seg2d3d_ros.mapping.instances.edits import Edit, Edits, NamesByPicture
from seg2d3d_ros.mapping.instances.explanation import Explanation, explain
from seg2d3d_ros.mapping.instances.history import whereabouts
from seg2d3d_ros.mapping.instances.roster import Roster
from seg2d3d_ros.mapping.masks.mask_links import mask_keys
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import EventKind, InstanceEvent, IntArray


class Editor:
    """Changes identities by hand; the association below never learns of it."""

    def __init__(
        self,
        state: MapState,
        associator: Association,
        roster: Roster,
        edits: Edits,
        events: list[InstanceEvent],
    ) -> None:
        """Work on the parts of a mapping stage; events are added to its list."""
        self._state, self._associator, self._roster = state, associator, roster
        self._edits, self._events = edits, events

    def merge(self, instances: Sequence[int]) -> int:
        """Join instances; the oldest survives. Return its id.

        Raises:
            EditError: fewer than two are named, or one is not on the map.
        """
        chosen = sorted(set(instances))
        if len(chosen) < 2:
            raise EditError(f"{len(chosen)} instances are named; a merge needs two or more")
        for i in chosen:
            self._check(i)
        operation = len(self._events)
        for other in chosen[1:]:
            self._merge(chosen[0], other, operation)
        return chosen[0]

    def split(self, instance: int, cut: Cut) -> int:
        """Part an instance; the larger part keeps the id unless the cut says which one goes.

        Of one known from masks alone the masks of the cut go, and no others.

        Returns:
            The id of the part split off, never used before.

        Raises:
            EditError: it is not on the map, or a part would have too few landmarks, or no masks.
        """
        self._check(instance)
        if self._roster.is_bare(instance):
            return self._split_masks(instance, cut)
        ids = self._roster.members(instance)
        pictures = self._pictures_of(ids)
        is_other = choose(self._state, pictures, ids, cut)
        keeper_ids, other_ids = ids[~is_other], ids[is_other]
        for part, where in ((keeper_ids, "stay"), (other_ids, "go")):
            if len(part) < self._roster.min_points:
                raise EditError(
                    f"of the {len(ids)} points of instance {instance}, {len(part)} would {where}; "
                    f"{self._roster.min_points} are needed: cut elsewhere"
                )
        numbers = compare(pictures, keeper_ids, other_ids).numbers()
        other = self._associator.issue_id()
        event = self._record(EventKind.SPLIT, instance, other, numbers)
        edit = Edit(
            EventKind.SPLIT, event.sequence, event.sequence, instance, other, keeper_ids, other_ids
        )
        self._edits.journal.append(edit)
        self._look_again(ids)
        self._rename(edit, self._split_names(edit))
        return other

    def undo(self) -> InstanceEvent:
        """Take the last edit back; return the event of that edit.

        Raises:
            EditError: there is none.
        """
        if not self._edits.journal:
            raise EditError("no edit by hand is in force: there is nothing to undo")
        operation = self._edits.journal[-1].operation
        while self._edits.journal and self._edits.journal[-1].operation == operation:
            self._undo_one()
        return self._events[operation]

    def explain(self, instance: int) -> Explanation:
        """Say why an instance is what it is.

        Raises:
            EditError: it is not on the map.
        """
        self._check(instance)
        num_edits = sum(instance in (e.keeper, e.other) for e in self._edits.journal)
        shown, pictures = self._roster.shown[instance], self._associator.pictures
        return explain(shown, self._roster, pictures, self._events, num_edits)

    # ---------------------------------------------------------------- one edit

    def _merge(self, keeper: int, other: int, operation: int) -> None:
        ids, other_ids = self._roster.members(keeper), self._roster.members(other)
        both = np.concatenate([ids, other_ids])
        numbers = compare(self._pictures_of(both), ids, other_ids).numbers()
        event = self._record(EventKind.MERGED, keeper, other, numbers)
        edit = Edit(EventKind.MERGED, event.sequence, operation, keeper, other, ids, other_ids)
        self._edits.journal.append(edit)
        self._look_again(both)
        frames = self._roster.frames_of([other])
        names = {
            key: [replace(a, instance=keeper) if a.instance == other else a for a in named]
            for key, named in self._roster.assignments.items()
            if key[0] in frames
        }
        self._rename(edit, names)

    def _split_masks(self, instance: int, cut: Cut) -> int:
        """Part an instance that has no landmarks: masks change hands, and nothing else."""
        tentative, frames = self._roster.tentative, self._roster.frames_of([instance])
        pictures = {p: named for p, named in self._roster.assignments.items() if p[0] in frames}
        key_of = {
            (a.stamp_ns, a.camera, a.label): key
            for p, named in pictures.items()
            for a, key in zip(named, mask_keys(*p, np.arange(len(named))).tolist(), strict=True)
            if a.instance == instance
        }
        masks = tentative.masks_of(instance)
        goes = choose_masks({name for name, key in key_of.items() if key in masks}, cut)
        other = self._associator.issue_id()
        event = self._record(EventKind.SPLIT, instance, other, {"masks": float(len(goes))})
        edit = Edit(EventKind.SPLIT, event.sequence, event.sequence, instance, other)
        self._edits.journal.append(edit)
        tentative.hand_over(instance, other, np.array([key_of[name] for name in goes]))
        names = {
            picture: [
                replace(a, instance=other) if (a.stamp_ns, a.camera, a.label) in goes else a
                for a in named
            ]
            for picture, named in pictures.items()
        }
        self._rename(edit, names)
        return other

    def _split_names(self, edit: Edit) -> NamesByPicture:
        """Look again at the masks of an instance that was parted: each shows one of the parts.

        Pictures do not agree on it: masks of the whole would all go to the larger part.
        """
        frames = self._roster.frames_of([edit.keeper])
        pictures = [p for p in self._associator.pictures if p.frame in frames]
        names = {}
        for picture, found in zip(pictures, self._roster.find_names(pictures, True), strict=True):
            key = (picture.frame, picture.camera)
            parts = (edit.keeper, edit.other)
            names[key] = [
                new if old.instance == edit.keeper and new.instance in parts else old
                for old, new in zip(self._roster.assignments[key], found, strict=True)
            ]
        return names

    def _rename(self, edit: Edit, names: NamesByPicture) -> None:
        before = self._roster.assignments
        edit.names_before.update({key: before[key] for key in names if before[key] != names[key]})
        self._roster.replace_names({key: names[key] for key in edit.names_before})

    def _undo_one(self) -> None:
        edit = self._edits.journal.pop()
        if edit.parts_masks:
            masks = self._roster.tentative.masks_of(edit.other)
            self._roster.tentative.hand_over(edit.other, edit.keeper, masks)
        members = [self._roster.members(i) for i in (edit.keeper, edit.other)]
        self._look_again(np.concatenate([*members, edit.keeper_ids, edit.other_ids]))
        # Masks named since know nothing of the time before: they are named anew.
        num = len(self._edits.journal)
        later = {key for key, n in self._roster.num_edits.items() if n > num}
        before = {k: v for k, v in edit.names_before.items() if k not in later}
        self._roster.replace_names(before)
        pictures = [p for p in self._associator.pictures if (p.frame, p.camera) in later]
        if pictures:
            found = self._roster.find_names(pictures)
            keys = [(p.frame, p.camera) for p in pictures]
            self._roster.replace_names(dict(zip(keys, found, strict=True)))
            self._roster.num_edits.update(dict.fromkeys(keys, num))
        undone = {"undoes": float(edit.sequence)}
        self._record(EventKind.UNDONE, edit.keeper, edit.other, undone)

    # ------------------------------------------------------------------- parts

    def _check(self, instance: int) -> None:
        if instance not in self._roster.shown:
            raise EditError(whereabouts(instance, self._events, self._roster.shown))

    def _look_again(self, ids: IntArray) -> None:
        self._roster.touch(ids)
        self._roster.follow_edits()
        self._roster.weigh_again(self._associator.pictures)

    def _pictures_of(self, ids: IntArray) -> list[Picture]:
        return PictureIndex(self._associator.pictures).of(ids)

    def _record(
        self, kind: EventKind, instance: int, other: int, numbers: dict[str, float]
    ) -> InstanceEvent:
        evidence = {"manual": 1.0, **numbers}
        event = InstanceEvent(
            len(self._events), self._state.now_ns, kind, instance, other, evidence
        )
        self._events.append(event)
        return event
