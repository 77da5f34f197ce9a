"""The third stage: where is it, and which one is it? Clusters in, updates of one map out."""

from __future__ import annotations

import logging
import time

import numpy as np

from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry import masks as pixel_masks
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.alignment import align_points
from seg2d3d_ros.mapping.association import Associator, Picture
from seg2d3d_ros.mapping.georeference import GeoReference
from seg2d3d_ros.mapping.instances import Support, describe
from seg2d3d_ros.mapping.labels import LabelVotes
from seg2d3d_ros.mapping.naming import name_masks
from seg2d3d_ros.mapping.refinement import refine, retriangulate
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.mapping.visibility import LabelledPoints
from seg2d3d_ros.types import (
    Cluster,
    FloatArray,
    Instance,
    InstanceEvent,
    IntArray,
    MapUpdate,
    MaskAssignment,
    PointCloud,
    Trajectory,
)

_LOG = logging.getLogger(__name__)
_MAX_RESIDUAL_M = 0.5
_MIN_SHARED = 30


class MappingStage:
    """Synchronous, seeded; the world is the first cluster's local frame until GNSS places it."""

    def __init__(self, config: Config) -> None:
        """Start with an empty map."""
        self._config = config
        self._state = MapState()
        self._associator = Associator(config)
        self._labels = LabelVotes()
        self._georeference = GeoReference(config.mapping)
        self._T_world_local = np.eye(4)
        self._scale = "metric"
        self._is_placed = False
        self._sequence = -1
        self._assignments: dict[tuple[int, int], list[MaskAssignment]] = {}
        self._known: dict[int, Instance] = {}
        self._events: list[InstanceEvent] = []
        self._full: MapUpdate | None = None
        self.counts: dict[str, float] = {}
        self.refinement_s = 0.0

    def push(self, cluster: Cluster) -> MapUpdate:
        """Take a cluster in and return what changed."""
        self._full = None
        self._sequence = cluster.sequence
        self._scale = cluster.scale
        self._align(cluster)
        increment = self._state.add(cluster, self._T_world_local)
        for fix in cluster.fixes:
            self._georeference.push(fix)
        is_moved = self._place()
        events = self._associator.add(self._state, increment.new_frames)
        self._events += events
        new = self._associator.pictures[len(self._assignments) :]
        for picture in new:
            self._labels.add(picture.seen)
        confirmed = self._name(new)
        self._count(cluster)
        if is_moved:
            return self.snapshot()
        instances = self._describe(confirmed)
        return self._update(
            increment.frames, increment.landmark_ids, instances, tuple(events), is_full=False
        )

    def finish(self) -> MapUpdate:
        """Refine the whole map, decide about identities again, return everything; idempotent."""
        if self._full is not None:
            return self._full
        start = time.perf_counter()
        if self._config.mapping.refine:
            factors = self._georeference.factors(self._state) if self._is_placed else ()
            self.counts.update(self._georeference.counts)
            refined = refine(self._state, factors)
            self.counts.update(refined.counts)
            self.counts["landmarks"] = float(retriangulate(self._state, refined.adjusted))
            self._events += self._associator.rebuild(self._state)
            self._assignments.clear()
            self._name(self._associator.pictures)
        self.refinement_s += time.perf_counter() - start
        self._full = self.snapshot()
        return self._full

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what was found about the sensors, as sentences; complete after `finish`."""
        return self._georeference.remarks

    def snapshot(self) -> MapUpdate:
        """Return the whole map as it is now."""
        ids = self._state.landmark_ids()
        frames = list(range(len(self._state.frames)))
        instances = self._describe(self._confirmed())
        return self._update(frames, ids, instances, tuple(self._events), is_full=True)

    # -------------------------------------------------------------- geometry

    def _align(self, cluster: Cluster) -> None:
        """Hold the cluster against what it shares with the map; realign after corrections."""
        ids = cluster.landmarks.ids
        known = self._state.points(ids)
        shared = np.isfinite(known[:, 0])
        if shared.sum() < _MIN_SHARED:
            return
        local = cluster.landmarks.points_local[shared]
        distance = np.linalg.norm(
            transforms.apply(self._T_world_local, local) - known[shared], axis=1
        )
        residual = float(np.median(distance))
        if residual > _MAX_RESIDUAL_M:
            found = align_points(known[shared], local, self._scale == "unknown", delta_m=0.3)
            if not found.is_degenerate and found.residual_m < residual:
                self._T_world_local, residual = found.S_a_b, found.residual_m
        self.counts["alignment_residual_m"] = max(
            self.counts.get("alignment_residual_m", 0.0), residual
        )

    def _place(self) -> bool:
        """Carry the map into ENU once the fixes tell where it lies; return whether it moved."""
        if self._is_placed or self._georeference.origin is None:
            return False
        found = self._georeference.fit(self._state, self._scale == "unknown")
        if found is None:
            return False
        S, scale = found
        self._state.transform(S, scale)
        self._T_world_local = S @ self._T_world_local
        self._is_placed = True
        self._events += self._associator.rebuild(self._state)
        _LOG.info("map placed by GNSS: heading %.1f deg", np.rad2deg(np.arctan2(S[1, 0], S[0, 0])))
        return True

    # ------------------------------------------------------------ identities

    def _confirmed(self) -> dict[int, IntArray]:
        """Return the landmarks of each instance with enough of them."""
        ids = self._state.landmark_ids()
        building = self._labels.is_building(ids, self._associator.building_classes)
        ids = ids[building]
        owner = self._associator.instances_of(self._state, ids)
        out = {}
        for i in np.unique(owner[owner > 0]):
            rows = ids[owner == i]
            if len(rows) >= self._config.mapping.min_instance_points:
                out[int(i)] = rows
        return out

    def _name(self, pictures: list[Picture]) -> dict[int, IntArray]:
        confirmed = self._confirmed()
        members = [np.full(len(v), k) for k, v in confirmed.items()]
        ids = (
            np.concatenate(list(confirmed.values())) if confirmed else np.zeros(0, dtype=np.int64)
        )
        owner = np.concatenate(members) if members else ids
        labelled = LabelledPoints.of(self._state.points(ids), self._state.sigma(ids), owner)
        known = np.array(sorted(confirmed), dtype=np.int64)
        for picture in pictures:
            instance_of = self._associator.instances_of(self._state, picture.seen.ids)
            instance_of[~np.isin(instance_of, known)] = 0
            self._assignments[(picture.frame, picture.camera)] = name_masks(
                self._state,
                picture,
                labelled,
                instance_of,
                self._associator.building_classes,
                self._config.mapping.naming_range_m,
            )
        return confirmed

    def _describe(self, confirmed: dict[int, IntArray]) -> tuple[Instance, ...]:
        """Return the confirmed instances that enough moments support."""
        support: dict[int, Support] = {i: Support() for i in confirmed}
        for (frame, camera), assignments in self._assignments.items():
            masks = self._state.frames[frame].masks[camera]
            for mask, a in zip(masks, assignments, strict=True):
                if a.instance in support:
                    area = (
                        float(pixel_masks.area(mask.bbox_px, mask.runs)) if mask.crop_jpeg else 0.0
                    )
                    support[a.instance].add(a, mask.crop_jpeg, area)
        return tuple(
            describe(i, self._state.points(ids), self._state.sigma(ids), support[i])
            for i, ids in sorted(confirmed.items())
            if len(support[i].stamps) >= self._config.mapping.min_instance_views
        )

    # ---------------------------------------------------------------- output

    def _update(
        self,
        frames: list[int],
        ids: IntArray,
        instances: tuple[Instance, ...],
        events: tuple[InstanceEvent, ...],
        is_full: bool,
    ) -> MapUpdate:
        state = self._state
        shown = {i.id for i in instances}
        removed = tuple(sorted(set(self._known) - shown))
        changed = (
            instances
            if is_full
            else tuple(i for i in instances if _differs(self._known.get(i.id), i))
        )
        self._known = {i.id: i for i in instances}
        wanted = set(frames)
        assignments = tuple(
            a if a.instance in shown or not a.instance else _unassigned(a)
            for (frame, _), found in sorted(self._assignments.items())
            if frame in wanted
            for a in found
        )
        return MapUpdate(
            sequence=self._sequence,
            stamp_ns=state.frames[-1].stamp_ns if state.frames else 0,
            is_full=is_full,
            scale="metric" if self._is_placed else self._scale,
            origin=self._georeference.origin if self._is_placed else None,
            T_map_local=self._T_world_local,
            trajectory=self._trajectory(frames),
            cloud=self._cloud(ids, shown),
            removed_points=np.zeros(0, dtype=np.int64),
            instances=changed,
            removed_instances=removed,
            events=events,
            assignments=assignments,
            counts=dict(self.counts),
        )

    def _trajectory(self, frames: list[int]) -> Trajectory:
        stamps, poses, keyframe = [], [], []
        for k in sorted(frames, key=lambda k: self._state.frames[k].stamp_ns):
            f = self._state.frames[k]
            for stamp in sorted(set(f.picture_stamps_ns)):
                stamps.append(stamp)
                poses.append(f.T_world_base)
                keyframe.append(f.is_keyframe)
        T: FloatArray = np.stack(poses) if poses else np.zeros((0, 4, 4))
        return Trajectory(np.array(stamps, dtype=np.int64), T, np.array(keyframe, dtype=bool))

    def _cloud(self, ids: IntArray, shown: set[int]) -> PointCloud:
        owner = self._associator.instances_of(self._state, ids)
        building = self._labels.is_building(ids, self._associator.building_classes)
        owner[~np.isin(owner, np.array(sorted(shown), dtype=np.int64)) | ~building] = 0
        return PointCloud(
            ids=ids,
            points_map=self._state.points(ids),
            colors_rgb=self._state.colors(ids),
            labels=self._labels.of(ids).astype(np.uint32),
            instances=owner.astype(np.uint32),
        )

    def _count(self, cluster: Cluster) -> None:
        self.counts["clusters"] = self.counts.get("clusters", 0.0) + 1.0
        self.counts["keyframes"] = float(sum(f.is_keyframe for f in self._state.frames))
        self.counts["sessions"] = float(cluster.session + 1)
        self.counts["coasted"] = float(sum(f.status == "coasted" for f in self._state.frames))


def _differs(before: Instance | None, now: Instance) -> bool:
    return (
        before is None or before.num_points != now.num_points or before.num_views != now.num_views
    )


def _unassigned(a: MaskAssignment) -> MaskAssignment:
    return MaskAssignment(a.stamp_ns, a.camera, a.label, 0, 0.0, a.num_landmarks, a.class_id)
