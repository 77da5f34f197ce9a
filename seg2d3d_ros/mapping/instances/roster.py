"""Who is who: the masks of each instance, their names, and what is shown of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np

from seg2d3d_ros.config import Config
from seg2d3d_ros.mapping import forks
from seg2d3d_ros.mapping.association.identities import Association, Picture
from seg2d3d_ros.mapping.association.labels import LabelVotes
from seg2d3d_ros.mapping.instances.edits import Edits
from seg2d3d_ros.mapping.instances.explained import Claims
from seg2d3d_ros.mapping.instances.instances import describe
from seg2d3d_ros.mapping.instances.lifecycle import Lifecycle
from seg2d3d_ros.mapping.instances.membership import Membership
from seg2d3d_ros.mapping.instances.supports import Supports
from seg2d3d_ros.mapping.instances.tentative import Hosts, TentativeInstances
from seg2d3d_ros.mapping.instances.tiles import TileIndex
from seg2d3d_ros.mapping.masks.mask_links import MaskLinks, mask_keys
from seg2d3d_ros.mapping.masks.visibility import LabelledPoints, labelled_points
from seg2d3d_ros.mapping.naming.agreement import Evidence, Name, Names, name_masks
from seg2d3d_ros.mapping.naming.class_naming import name_within_classes
from seg2d3d_ros.mapping.naming.naming import PictureEvidence, weigh_picture
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import EventKind, Instance, InstanceState, IntArray, MaskAssignment

_MANY_PICTURES = 256
_LIVE_SHARE = 0.5


class Roster:
    """Names of masks, and what is shown of each instance.

    Attributes:
        membership: The landmarks of each instance.
        assignments: Names of the masks of each picture, by (frame, camera).
        shown: Confirmed instances by id, as `describe` last found them.
        num_edits: How many edits were in force when the masks of a picture were named, likewise.
    """

    def __init__(
        self,
        config: Config,
        state: MapState,
        associator: Association,
        labels: LabelVotes,
        edits: Edits,
    ) -> None:
        """Start empty, beside the parts of the mapping stage that decide."""
        self._options = config.mapping
        self._edits = edits
        self._state, self._associator = state, associator
        self.membership = Membership(state, associator, labels, edits)
        self.assignments: dict[tuple[int, int], list[MaskAssignment]] = {}
        self.shown: dict[int, Instance] = {}
        self.num_edits: dict[tuple[int, int], int] = {}
        self.tentative = TentativeInstances(state, config.mapping.min_tentative_views)
        self.lifecycle = Lifecycle(state, config.mapping.archive_after_m)
        self._unreviewed: set[int] = set()
        self._is_live = False
        self._evidence: dict[tuple[int, int], PictureEvidence] = {}
        self._supports = Supports(state)
        self._tiles = TileIndex()
        self._dirty: set[int] = set()

    # ------------------------------------------------------------- landmarks

    def touch(self, ids: IntArray) -> IntArray:
        """Look again at landmarks (n,) that moved or were seen; return which changed hands."""
        moved = self.membership.touch(ids)
        self._dirty |= self.membership.changed
        self.membership.changed.clear()
        return moved

    def rebuild(self) -> None:
        """Sort all landmarks anew after everything moved or was decided again."""
        self._tiles = TileIndex()
        self.membership.rebuild()
        self._dirty |= {*self.membership.changed, *self.shown}
        self.membership.changed.clear()

    @property
    def min_points(self) -> int:
        """Return how many landmarks an instance needs to be shown."""
        return self._options.min_instance_points

    def is_confirmed(self, instance: int) -> bool:
        """Return whether an instance has enough landmarks."""
        return self.membership.count(instance) >= self.min_points

    def members(self, instance: int) -> IntArray:
        """Return the landmarks of an instance, sorted."""
        return self.membership.of(instance)

    def decided(self, ids: IntArray) -> IntArray:
        """Return the instance (n,) of landmarks as decided, by hand where it was."""
        return self.membership.decided(ids)

    def owners(self, ids: IntArray) -> IntArray:
        """Return the instance (n,) that is shown for each landmark, 0 for none."""
        out = self.membership.owners(ids)
        shown = np.array([i for i in np.unique(out).tolist() if i in self.shown], dtype=np.int64)
        out[~np.isin(out, shown)] = 0
        return out

    # ----------------------------------------------------------------- masks

    def forget_names(self) -> None:
        """Take the names of all masks back."""
        self.assignments.clear()
        self.num_edits.clear()
        self._evidence.clear()
        self.tentative.leave_hosts()
        self._dirty.update(self._supports)
        self._supports = Supports(self._state)

    def link(self, pictures: list[Picture]) -> None:
        """Link the masks of new pictures with those before them, in stamp order."""
        for picture in pictures:
            self._associator.linker.add(self._state, picture.frame, picture.camera)

    def name(
        self,
        pictures: list[Picture],
        window: Collection[int] | None = None,
        is_final: bool = False,
    ) -> None:
        """Name the masks of pictures so that they agree with those named before.

        Args:
            pictures: Their masks have no names yet.
            window: Frames whose masks have a say and are named again; without it, all.
            is_final: Masks that nothing on the map explains become tentative instances.
        """
        self._is_live = self._is_live or window is not None
        self._weigh(pictures, self._evidence)
        if window is not None:
            self._evidence = {k: e for k, e in self._evidence.items() if k[0] in window}
        self._take_names(self._agree(self._evidence, is_final))

    def claims(self, pictures: list[Picture]) -> Claims:
        """Weigh what speaks for whom in all pictures, whose masks have no names yet."""
        self._weigh(pictures, self._evidence)
        names = self._agree(self._evidence)
        return Claims((e.votes, names[k]) for k, e in self._evidence.items())

    def unite(self, merged: Iterable[tuple[int, int]]) -> None:
        """Follow the association, which merged others into instances (instance, other)."""
        for instance, other in merged:
            for votes in (v for e in self._evidence.values() for v in e.votes if other in v):
                votes[instance] += votes.pop(other)
        self.touch(np.zeros(0, dtype=np.int64))

    def _take_names(self, names: Mapping[tuple[int, int], list[MaskAssignment]]) -> None:
        """Name the masks of pictures (frame, camera), at first or otherwise than so far."""
        self.num_edits.update(dict.fromkeys(names, len(self._edits.journal)))
        new = sorted(names.keys() - self.assignments.keys())
        self.replace_names({k: v for k, v in names.items() if self._is_renamed(k, v)})
        for key in new:
            self.assignments[key] = names[key]
            self._dirty |= self._supports.add(key, names[key])

    def _is_renamed(self, picture: tuple[int, int], named: list[MaskAssignment]) -> bool:
        """Return whether masks of a picture (frame, camera) had other names so far."""
        pairs = zip(self.assignments.get(picture, ()), named, strict=False)
        return any(a.instance != b.instance for a, b in pairs)

    def find_names(
        self, pictures: list[Picture], is_alone: bool = False
    ) -> list[list[MaskAssignment]]:
        """Return the names that masks would get now, with those of other pictures or without."""
        evidence: dict[tuple[int, int], PictureEvidence] = {}
        self._weigh(pictures, evidence)
        if is_alone:
            names = {key: self._agree({key: e})[key] for key, e in evidence.items()}
        else:
            names = self._agree(evidence)
        return [names[p.frame, p.camera] for p in pictures]

    def follow_edits(self) -> None:
        """Tell tentative instances what by hand they were merged into, and which were parted."""
        bare = self.tentative.spoken_for
        survivors = self.membership.survivors(bare)
        self.tentative.survivors = dict(zip(bare.tolist(), survivors.tolist(), strict=True))
        self.tentative.parted = self._edits.parted_masks()

    def weigh_again(self, pictures: list[Picture]) -> None:
        """Look again at pictures whose evidence is kept, after instances changed by hand."""
        kept = [p for p in pictures if (p.frame, p.camera) in self._evidence]
        self._weigh(kept, self._evidence)

    def _weigh(
        self, pictures: list[Picture], evidence: dict[tuple[int, int], PictureEvidence]
    ) -> None:
        """Add what the confirmed instances around pictures say about their masks."""
        if not pictures:
            return
        self._index()
        labelled = self._labelled(pictures)
        weigh = partial(self._weigh_picture, labelled, *self._confirmed(pictures))
        found = forks.in_order(weigh, pictures, _MANY_PICTURES)
        for picture, of_picture in zip(pictures, found, strict=True):
            evidence[picture.frame, picture.camera] = of_picture

    def _confirmed(self, pictures: list[Picture]) -> tuple[IntArray, IntArray]:
        """Return the landmarks in masks of pictures (n,), sorted, and their instance, if shown."""
        ids = np.unique(np.concatenate([p.seen.ids for p in pictures]))
        instance_of = self.decided(ids)
        known = [i for i in np.unique(instance_of).tolist() if self.is_confirmed(i)]
        instance_of[~np.isin(instance_of, np.array(known, dtype=np.int64))] = 0
        return ids, instance_of

    def _weigh_picture(
        self, labelled: LabelledPoints, ids: IntArray, instance_of: IntArray, picture: Picture
    ) -> PictureEvidence:
        votes = weigh_picture(
            self._state,
            picture,
            labelled,
            instance_of[np.searchsorted(ids, picture.seen.ids)],
            self._associator.building_classes,
            self._range,
        )
        num_tracked = np.bincount(picture.seen.mask, minlength=len(votes))
        return PictureEvidence(votes, num_tracked.tolist())

    def _agree(
        self, evidence: Mapping[tuple[int, int], PictureEvidence], is_final: bool = False
    ) -> dict[tuple[int, int], list[MaskAssignment]]:
        """Return the names of masks that their evidence and their links agree on."""
        self.follow_edits()
        keys = [mask_keys(f, c, np.arange(len(e.votes))) for (f, c), e in evidence.items()]
        flat = [v for e in evidence.values() for v in e.votes]
        links = self._associator.linker.among(evidence)
        joined = np.concatenate([np.zeros(0, dtype=np.int64), *keys])
        agreed = self._name(joined, flat, links, evidence)
        if is_final:
            orphans = [joined[group] for group in agreed.orphans]
            hosts = Hosts(joined, agreed.names, self._state, self.membership)
            self.tentative.adopt(orphans, self._associator.issue_id, hosts)
            agreed = self._name(joined, flat, links, evidence)
            self.tentative.keep_only({n.instance for n in agreed.names})
        names = iter(agreed.names)
        return {
            key: self._assigned(*key, islice(names, len(e.votes)), e.num_tracked)
            for key, e in evidence.items()
        }

    def _name(
        self,
        keys: IntArray,
        evidence: list[Evidence],
        links: MaskLinks,
        pictures: Iterable[tuple[int, int]],
    ) -> Names:
        """Return what masks (n,) of pictures (frame, camera) agree on; within classes, if many."""
        evidence = self.tentative.testify(keys, evidence)
        buildings = self._associator.building_classes
        if len(buildings - {0}) < 2:
            return name_masks(keys, evidence, links)
        masks = [m for f, c in pictures for m in self._state.frames[f].masks[c]]
        of_mask = [m.class_id if m.class_id in buildings else 0 for m in masks]
        spoken_of = sorted({i for e in evidence for i in e})
        class_of = {i: self._class_of(i) for i in spoken_of}
        return name_within_classes(keys, evidence, links, np.array(of_mask), class_of)

    def _class_of(self, instance: int) -> int:
        bare = instance in self.tentative.ids
        return (self.tentative if bare else self.membership).class_of(instance)

    def _assigned(
        self, frame: int, camera: int, names: Iterable[Name], num_tracked: list[int]
    ) -> list[MaskAssignment]:
        """Return the masks of a picture with their names."""
        taken, masks = self._state.picture(frame, camera), self._state.frames[frame].masks[camera]
        return [
            MaskAssignment(*taken, m.label, n.instance, n.score, num, m.class_id)
            for m, n, num in zip(masks, names, num_tracked, strict=True)
        ]

    def replace_names(self, names: Mapping[tuple[int, int], list[MaskAssignment]]) -> None:
        """Put other names on the masks of pictures, by (frame, camera)."""
        changed = {
            i
            for key, named in names.items()
            for a, b in zip(self.assignments[key], named, strict=True)
            if a != b
            for i in (a.instance, b.instance)
        }
        self.assignments.update(names)
        changed.discard(0)
        self._supports.count_again(changed, {frame for frame, _ in names}, self.assignments)
        self._dirty |= changed

    @property
    def _range(self) -> float:
        """Return how far known points may be to name masks, in units of the map.

        Live half as far: what is farther is small, has hardly been seen unless the street is
        driven again, and gets its name at `finish`.
        """
        reach_m = self._options.naming_range_m * (_LIVE_SHARE if self._is_live else 1.0)
        return reach_m * self._state.unit

    def _index(self) -> None:
        """Say where the instances that changed are now."""
        for instance in self._dirty:
            self._tiles.put(instance, self._state.points(self.members(instance)))

    def _labelled(self, pictures: list[Picture]) -> LabelledPoints:
        """Return what is known of confirmed instances within range of the pictures."""
        frames = {p.frame for p in pictures}
        centers = np.stack([self._state.frames[k].T_world_base[:3, 3] for k in sorted(frames)])
        # A camera sits within metres of base_link; the tiles reach further than that.
        near = self._tiles.near(centers, self._range + 10.0)
        confirmed = {i: self.members(i) for i in near if self.is_confirmed(i)}
        return labelled_points(self._state, confirmed, self._range)

    # ---------------------------------------------------------- descriptions

    def describe(self) -> tuple[list[Instance], list[int]]:
        """Describe the instances that changed.

        Those seen at too few moments are tentative, and gone when the run ends.

        Returns:
            Those that are shown, by id, and the ids that no longer are.
        """
        self._index()
        now, gone = [], []
        least = self._options.min_instance_views
        for i in sorted(self._dirty):
            support = self._supports.of(i)
            stamps = len(support.stamps) if support is not None else 0
            if support and self.is_bare(i):
                found = self.tentative.describe(i, support)
            elif support and self.is_confirmed(i) and (self._is_live or stamps >= least):
                ids = self.members(i)
                found = describe(i, self._state.points(ids), self._state.sigma(ids), support)
                is_seen = stamps >= least
                state = self.lifecycle.state_of(i) if is_seen else InstanceState.TENTATIVE
                found = replace(found, state=state)
            else:
                found = None
            if found is not None:
                self.shown[i] = found
                now.append(found)
            elif self.shown.pop(i, None) is not None:
                gone.append(i)
        self._unreviewed.update(gone, (i.id for i in now))
        self._dirty.clear()
        return now, gone

    def review(self) -> tuple[list[Instance], list[int], list[tuple[EventKind, int]]]:
        """Describe what changed, and see who was confirmed, seen again or lost from sight.

        Returns:
            Instances that are shown and changed, by id; the ids that no longer are; what became
            of whom.
        """
        described, gone = self.describe()
        fates = self.lifecycle.review(self._unreviewed - self._tentative(), self.shown)
        self._unreviewed.clear()
        turned = {i for _, i in fates if i in self.shown}
        for i in turned:
            self.shown[i] = replace(self.shown[i], state=self.lifecycle.state_of(i))
        changed = sorted({i.id for i in described} | turned)
        return [self.shown[i] for i in changed], gone, fates

    def close(self) -> None:
        """Show no longer what was seen at too few moments: the run is over."""
        self._is_live = False
        self._dirty |= self._tentative()

    def _tentative(self) -> set[int]:
        return {i for i, found in self.shown.items() if found.state == InstanceState.TENTATIVE}

    def is_bare(self, instance: int) -> bool:
        """Return whether an instance is known from masks alone."""
        return instance in self.tentative.ids and not self.membership.count(instance)

    def frames_of(self, instances: Iterable[int]) -> set[int]:
        """Return the frames with masks that carry one of these names."""
        return self._supports.frames_of(instances)

    def assignments_of(self, frames: Iterable[int]) -> tuple[MaskAssignment, ...]:
        """Return the names of masks of frames, by label; instances not shown count as none."""
        cameras = range(len(self._state.cameras))
        return tuple(
            a if a.instance in self.shown or not a.instance else replace(a, instance=0, score=0.0)
            for frame in sorted(set(frames))
            for camera in cameras
            for a in sorted(self.assignments.get((frame, camera), ()), key=lambda a: a.label)
        )
