"""The third stage: where is it, and which one is it? Clusters in, updates of one map out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.mapping import heap
from seg2d3d_ros.mapping.archive import Archive, BlockStore, MemoryStore
from seg2d3d_ros.mapping.association.cut import Cut
from seg2d3d_ros.mapping.association.evidence import testify
from seg2d3d_ros.mapping.association.identities import Picture
from seg2d3d_ros.mapping.association.labels import LabelVotes
from seg2d3d_ros.mapping.continuation import Continuation
from seg2d3d_ros.mapping.instances.editor import Editor
from seg2d3d_ros.mapping.instances.edits import Edits
from seg2d3d_ros.mapping.instances.explained import find_explained
from seg2d3d_ros.mapping.instances.explanation import Explanation
from seg2d3d_ros.mapping.loops.closer import LoopCloser
from seg2d3d_ros.mapping.persistence import decode, encode
from seg2d3d_ros.mapping.placing.georeference import GeoReference
from seg2d3d_ros.mapping.placing.placing import Placing
from seg2d3d_ros.mapping.presets import make_association
from seg2d3d_ros.mapping.publication import Publication
from seg2d3d_ros.mapping.refinement.refinement import retriangulate
from seg2d3d_ros.mapping.refinement.regions import refine_map
from seg2d3d_ros.mapping.refinement.sensor_check import SensorCheck
from seg2d3d_ros.mapping.state import MapIncrement, MapState
from seg2d3d_ros.mapping.surface.surface import SurfaceMap
from seg2d3d_ros.types import (
    Cluster,
    FloatArray,
    Instance,
    InstanceEvent,
    IntArray,
    MapUpdate,
)

_WITNESSES = 96
_KEPT = "stage/state"


class MappingStage:
    """Synchronous, seeded; the world is the first cluster's local frame until GNSS places it."""

    def __init__(self, config: Config, store: BlockStore | None = None) -> None:
        """Start with an empty map; frozen frames go to the store, in memory without one."""
        self._config = config
        self._state = MapState(Archive(store or MemoryStore()))
        self._surface = SurfaceMap(config.mapping, self._state)
        self._labels = LabelVotes()
        self._georeference = GeoReference(config.mapping)
        self._sensors = SensorCheck(config.mapping)
        buildings = frozenset({0, *config.segmentation.building_classes})
        self._loops = LoopCloser(self._state, config.runtime.seed, buildings)
        self._placing = Placing(self._state, self._georeference)
        self._sequence = -1
        self._edits = Edits()
        self._associator, self._roster = make_association(
            config, self._state, self._labels, self._edits
        )
        self._events: list[InstanceEvent] = []
        self._continuation = Continuation()
        self._editor = Editor(
            self._state, self._associator, self._roster, self._edits, self._events
        )
        self._full: MapUpdate | None = None
        self.counts: dict[str, float] = {}
        self.refinement_s = 0.0

    def push(self, cluster: Cluster) -> MapUpdate:
        """Take a cluster in and return what changed."""
        first, known = len(self._events), dict(self._roster.shown)
        moved = self._take(cluster)
        if moved is None:
            return self.snapshot(is_filled=False)
        described, gone = self._review()
        return self._publication.change(*moved, known, (described, gone), self._events[first:])

    def take(self, cluster: Cluster) -> None:
        """Take a cluster in as `push` does, where nobody asks what changed."""
        if self._take(cluster) is None:
            self._roster.describe()
        else:
            self._review()

    def _take(self, cluster: Cluster) -> tuple[MapIncrement, IntArray] | None:
        """Take a cluster in.

        Returns:
            What it touched, and landmarks (n,) elsewhere that changed hands by it; None if the
            whole map moved.
        """
        cluster = self._state.renamed(self._continuation.renumber(cluster, self._state.rig))
        self._full = None
        self._sequence = cluster.sequence
        increment, is_moved = self._placing.add(cluster)
        self._surface.add(cluster, increment.frames)
        for fix in cluster.fixes:
            self._georeference.push(fix)
        if is_moved:
            self._follow()
        is_moved |= self._bend(
            self._loops.push(cluster, increment.frames, self._placing.positions)
        )
        if self._placing.place():
            self._follow()
            is_moved = True
        window = frozenset(increment.frames)
        increment = self._state.widened(increment, self._loops.carried)
        num_pictures = len(self._associator.pictures)
        events = self._associator.add(self._state, increment.new_frames)
        new = self._associator.pictures[num_pictures:]
        self._record(events, self._associator.pictures[-max(_WITNESSES, len(new)) :])
        touched = np.union1d(cluster.landmarks.ids, increment.landmark_ids)
        relabelled = self._roster.touch(touched)
        self._roster.link(new)
        self._roster.name(new, window)
        self._count(cluster)
        return None if is_moved else (increment, relabelled)

    def finish(self) -> MapUpdate:
        """Refine the whole map, decide about identities again, return everything; idempotent."""
        if self._full is not None:
            return self._full
        start = time.perf_counter()
        self._roster.close()
        if self._config.mapping.refine:
            self._sensors.check(self._state)
            self._placing.take_scale_of_ground(self._sensors)
            self._placing.place_again()
            self._bend(self._loops.finish(self._placing.positions))
            self.counts.update(self._loops.counts)
            factors = self._placing.positions()
            self.counts.update({**self._georeference.counts, **self._sensors.counts})
            refined = refine_map(self._state, factors)
            if self._sensors.has_turned_cameras:
                # They bent the map too far for one adjustment.
                refined = refine_map(self._state, factors)
            self.counts.update(refined.counts)
            self._sensors.compare(self._state, refined.counts.get("odometry_scale", 1.0))
            self.counts["landmarks"] = float(retriangulate(self._state, refined.adjusted))
            self._decide_anew()
            self._join_explained()
            self._roster.name([], is_final=True)
            self._record(
                self._roster.tentative.take_events(self._state.now_ns), self._associator.pictures
            )
        self._review()
        self.refinement_s += time.perf_counter() - start
        self._full = self.snapshot()
        return self._full

    @property
    def state(self) -> MapState:
        """Return frames, landmarks and what was seen; to be read, not changed."""
        return self._state

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what was found about sensors and map, as sentences; complete after `finish`."""
        return (*self._georeference.remarks, *self._sensors.remarks, *self._loops.remarks)

    def snapshot(self, is_filled: bool = True) -> MapUpdate:
        """Return the whole map as it is now, facades filled where masks show them, or not yet."""
        return self._publication.whole(is_filled, self._events)

    @property
    def _publication(self) -> Publication:
        return Publication(
            self._sequence,
            self.counts,
            self._state,
            self._placing,
            self._surface,
            self._labels,
            self._roster,
            self._edits,
        )

    def keep(self) -> BlockStore:
        """Write all that is not frozen into the store, so that `restore` goes on from here."""
        store, full, seconds = self._state.archive.store, self._full, self.refinement_s
        # Not what can be made again, and no times: the same run leaves the same bytes.
        self._full, self.refinement_s = None, 0.0
        self._state.archive.forget()
        try:
            state = encode(self, store)
        finally:
            self._full, self.refinement_s = full, seconds
        store.put(_KEPT, {**state, "is_finished": np.array(full is not None)})
        return store

    @staticmethod
    def restore(store: BlockStore) -> MappingStage:
        """Return the stage that `keep` wrote into a store.

        Raises:
            ResultError: there is none, or it is of another version.
        """
        try:
            kept = dict(store.get(_KEPT))
        except KeyError:
            raise ResultError(
                "the map was written without its state and can only be looked at: map again"
            ) from None
        is_finished = bool(kept.pop("is_finished"))
        stage = decode(kept, store)
        stage._continuation.is_restored = True
        stage._full = stage.snapshot() if is_finished else None
        return stage

    # -------------------------------------------------------------- geometry

    def _bend(self, motion: FloatArray | None) -> bool:
        """Follow the newest frame that loops moved (4, 4); return whether old ones moved, too."""
        if motion is None:
            if self._loops.drift is not None:
                self._placing.follow(self._loops.drift)
            return False
        self._placing.follow(motion)
        carried = self._loops.carried
        is_part = bool(carried) and self._surface.is_recent(min(carried))
        self._follow(is_part)
        heap.give_back()
        return not is_part

    # ------------------------------------------------------------ identities

    def _follow(self, is_part: bool = False) -> None:
        """Let identities follow the map, which moved or did in part; masks keep their names."""
        self._loops.moved()
        landmarks = self._roster.membership.last_places()
        events = self._associator.follow(self._state, *landmarks, is_part)
        self._record(events, self._associator.pictures[-_WITNESSES:])
        if not is_part:
            self._roster.rebuild()

    def _decide_anew(self) -> None:
        """Decide about all identities again after the whole map moved; masks keep their names."""
        self._loops.moved()
        self._record(self._associator.rebuild(self._state), self._associator.pictures)
        self._roster.rebuild()

    def _join_explained(self) -> None:
        """Weigh all pictures anew; join instances that cannot tell their place with others."""
        pictures, members = self._associator.pictures, self._roster.membership
        self._roster.forget_names()
        claims = self._roster.claims(pictures)
        by_hand = self._edits.instances
        pairs = find_explained(claims, self._state, members, self._config.mapping, by_hand)
        numbers = [claims.numbers(*pair) for pair in pairs]
        events = self._associator.join(pairs, numbers, self._state.now_ns)
        self._record(events, pictures)
        self._roster.unite((e.instance, e.other) for e in events)

    def _record(self, events: Sequence[InstanceEvent], pictures: Sequence[Picture]) -> None:
        """Add decisions of the association to the log, with what the masks of pictures say."""
        heard = testify(events, pictures, self._roster.members, self._roster.decided)
        first = len(self._events)
        self._events += [replace(e, sequence=first + k) for k, e in enumerate(heard)]

    def _review(self) -> tuple[list[Instance], list[int]]:
        """Describe instances that changed, and add to the log what became of them.

        Returns:
            Those that are shown, by id, and the ids that no longer are.
        """
        described, gone, fates = self._roster.review()
        first, now_ns = len(self._events), self._state.now_ns
        self._events += [
            InstanceEvent(first + k, now_ns, kind, i) for k, (kind, i) in enumerate(fates)
        ]
        return described, gone

    # ------------------------------------------------------------- edits by hand

    def merge(self, instances: Sequence[int]) -> tuple[int, MapUpdate]:
        """Join instances by hand for good; the oldest survives.

        Returns:
            Its id, and the whole map.

        Raises:
            EditError: fewer than two are named, or one is not on the map.
        """
        keeper = self._editor.merge(instances)
        return keeper, self._edited()

    def split(self, instance: int, cut: Cut) -> tuple[int, MapUpdate]:
        """Part an instance by hand for good.

        Returns:
            The id of the part split off, and the whole map.

        Raises:
            EditError: it is not on the map, or the cut leaves too little on one side.
        """
        other = self._editor.split(instance, cut)
        return other, self._edited()

    def undo(self) -> tuple[InstanceEvent, MapUpdate]:
        """Take the last merge or split by hand back, exactly.

        Returns:
            The event that was taken back, and the whole map.

        Raises:
            EditError: no edit is in force.
        """
        event = self._editor.undo()
        return event, self._edited()

    def explain(self, instance: int) -> Explanation:
        """Say why an instance is what it is.

        Raises:
            EditError: it is not on the map; the message says what became of it.
        """
        return self._editor.explain(instance)

    @property
    def num_edits(self) -> int:
        """Return how many edits by hand are in force."""
        return len(self._edits.journal)

    def _edited(self) -> MapUpdate:
        full = self.snapshot()
        self._full = full if self._full is not None else None
        return full

    def _count(self, cluster: Cluster) -> None:
        self.counts["clusters"] = self.counts.get("clusters", 0.0) + 1.0
        self.counts["keyframes"] = float(self._state.num_keyframes)
        self.counts.update(self._loops.counts)
        if self._placing.worst_residual_m is not None:
            self.counts["alignment_residual_m"] = self._placing.worst_residual_m
        self.counts["coasted"] = float(self._state.num_coasted)
