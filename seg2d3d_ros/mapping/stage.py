"""The third stage: where is it, and which one is it? Clusters in, updates of one map out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

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
from seg2d3d_ros.mapping.instances.explanation import Explanation
from seg2d3d_ros.mapping.loops.closer import LoopCloser
from seg2d3d_ros.mapping.persistence import decode, encode
from seg2d3d_ros.mapping.placing.georeference import GeoReference
from seg2d3d_ros.mapping.placing.placing import Placing
from seg2d3d_ros.mapping.presets import make_association
from seg2d3d_ros.mapping.publication import differs, landmark_cloud, trajectory_of
from seg2d3d_ros.mapping.refinement.refinement import retriangulate
from seg2d3d_ros.mapping.refinement.regions import refine_map
from seg2d3d_ros.mapping.refinement.sensor_check import SensorCheck
from seg2d3d_ros.mapping.state import MapIncrement, MapState
from seg2d3d_ros.mapping.surface.boxes import SurfaceCells, draw_boxes
from seg2d3d_ros.mapping.surface.surface import Names, Surface, SurfaceMap, join
from seg2d3d_ros.types import (
    Cluster,
    EventKind,
    FloatArray,
    InstanceEvent,
    IntArray,
    MapUpdate,
    PointCloud,
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
        news = self._take(cluster)
        return self.snapshot(is_filled=False) if news is None else self._change(*news)

    def take(self, cluster: Cluster) -> None:
        """Take a cluster in as `push` does, where nobody asks what changed."""
        if self._take(cluster) is None:
            self._roster.describe()
        else:
            self._tell(self._roster.review()[2])

    def _take(
        self, cluster: Cluster
    ) -> tuple[MapIncrement, IntArray, Sequence[InstanceEvent]] | None:
        """Take a cluster in.

        Returns:
            What it touched, landmarks (n,) elsewhere that changed hands by it, and what was
            decided; None if the whole map moved.
        """
        cluster = self._state.renamed(self._continuation.renumber(cluster, self._state.rig))
        self._full = None
        self._sequence = cluster.sequence
        increment = self._placing.add(cluster)
        self._surface.add(cluster, increment.frames)
        num_events = len(self._events)
        for fix in cluster.fixes:
            self._georeference.push(fix)
        is_moved = self._bend(self._loops.push(cluster, increment.frames, self._placing.positions))
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
        return None if is_moved else (increment, relabelled, self._events[num_events:])

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
            self._roster.forget_names()
            self._roster.name(self._associator.pictures, is_final=True)
            self._record(
                self._roster.tentative.take_events(self._now_ns), self._associator.pictures
            )
        self._tell(self._roster.review()[2])
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
        found = (*self._georeference.remarks, *self._sensors.remarks)
        parts = int(self.counts.get("parts", 1.0))
        if parts <= 1:
            return found
        return (
            *found,
            f"the map is in {parts} parts, and nothing tells how they lie to each other: tracking "
            "was lost in between, and no place was seen again that would join them",
        )

    @property
    def _now_ns(self) -> int:
        return self._state.frames[-1].stamp_ns if self._state.frames else 0

    def snapshot(self, is_filled: bool = True) -> MapUpdate:
        """Return the whole map as it is now, facades filled where masks show them, or not yet."""
        shown = self._roster.shown
        before = set(shown)
        self._roster.describe()
        everything = range(len(self._state.frames))
        surface = self._surface.whole if is_filled else self._surface.measured
        return self._update(
            everything,
            self._cloud(self._state.landmark_ids(), surface),
            is_full=True,
            removed_points=np.zeros(0, dtype=np.int64),
            instances=tuple(shown[i] for i in sorted(shown)),
            removed_instances=tuple(sorted(before - set(shown))),
            events=tuple(self._events),
            assignments=self._roster.assignments_of(everything),
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

    def _record(
        self, events: Sequence[InstanceEvent], pictures: Sequence[Picture]
    ) -> list[InstanceEvent]:
        """Add decisions of the association to the log, with what the masks of pictures say."""
        heard = testify(events, pictures, self._roster.members, self._roster.decided)
        first = len(self._events)
        numbered = [replace(e, sequence=first + k) for k, e in enumerate(heard)]
        self._events += numbered
        return numbered

    def _tell(self, fates: Sequence[tuple[EventKind, int]]) -> list[InstanceEvent]:
        """Add to the log what became of instances."""
        first = len(self._events)
        told = [
            InstanceEvent(first + k, self._now_ns, kind, i) for k, (kind, i) in enumerate(fates)
        ]
        self._events += told
        return told

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

    # ---------------------------------------------------------------- output

    def _change(
        self, increment: MapIncrement, relabelled: IntArray, events: Sequence[InstanceEvent]
    ) -> MapUpdate:
        """Return what a cluster changed; landmarks (n,) elsewhere may be relabelled by it, too."""
        known = dict(self._roster.shown)
        described, gone, fates = self._roster.review()
        told = (*events, *self._tell(fates))
        flipped = [*(i.id for i in described if i.id not in known), *gone]
        ids = np.concatenate([relabelled, *(self._roster.members(i) for i in flipped)])
        ids = ids[np.isfinite(self._state.points(ids)[:, 0])]
        # Surfaces cannot be taken back: those of a new session wait for what would join it.
        surface = self._surface.none if increment.is_start else self._surface.recent
        return self._update(
            increment.frames,
            self._cloud(np.union1d(increment.landmark_ids, ids), surface),
            is_full=False,
            removed_points=increment.removed_ids,
            instances=tuple(i for i in described if differs(known.get(i.id), i)),
            removed_instances=tuple(gone),
            events=told,
            assignments=self._roster.assignments_of(
                [*increment.frames, *self._roster.frames_of(flipped)]
            ),
        )

    def _update(
        self,
        frames: Sequence[int],
        points: tuple[PointCloud, SurfaceCells | None],
        **changes: Any,
    ) -> MapUpdate:
        """Return an update about frames and points, `changes` being its other fields."""
        cloud, cells = points
        if cells is not None:
            changes["instances"] = draw_boxes(changes["instances"], cells)
        return MapUpdate(
            sequence=self._sequence,
            stamp_ns=self._now_ns,
            scale=self._placing.scale,
            origin=self._placing.origin,
            T_map_local=self._placing.T_world_local,
            trajectory=trajectory_of(self._state, frames),
            cloud=cloud,
            counts=dict(self.counts),
            **changes,
        )

    def _cloud(
        self, ids: IntArray, surface: Callable[[Names, PointCloud], Surface]
    ) -> tuple[PointCloud, SurfaceCells | None]:
        """Return landmarks (n,) and the points between them that `surface` makes."""
        names, owners = self._roster.assignments, self._roster.owners(ids)
        landmarks = landmark_cloud(self._state, ids, self._labels.of(ids), owners)
        place = partial(self._edits.place, positions=self._state.points)
        return join(landmarks, surface(names, landmarks), self._roster.shown, place)

    def _count(self, cluster: Cluster) -> None:
        self.counts["clusters"] = self.counts.get("clusters", 0.0) + 1.0
        self.counts["keyframes"] = float(self._state.num_keyframes)
        self.counts.update(self._loops.counts)
        if self._placing.worst_residual_m is not None:
            self.counts["alignment_residual_m"] = self._placing.worst_residual_m
        self.counts["coasted"] = float(self._state.num_coasted)
