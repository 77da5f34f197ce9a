"""The map as others get it: whole, or what a cluster changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from seg2d3d_ros.mapping.association.labels import LabelVotes
from seg2d3d_ros.mapping.instances.edits import Edits
from seg2d3d_ros.mapping.instances.roster import Roster
from seg2d3d_ros.mapping.placing.placing import Placing
from seg2d3d_ros.mapping.state import MapIncrement, MapState
from seg2d3d_ros.mapping.surface.boxes import SurfaceCells, draw_boxes
from seg2d3d_ros.mapping.surface.surface import Names, Surface, SurfaceMap, join
from seg2d3d_ros.types import (
    FloatArray,
    Instance,
    InstanceEvent,
    IntArray,
    MapUpdate,
    PointCloud,
    Trajectory,
)


@dataclass(frozen=True)
class Publication:
    """Makes updates out of the parts of a mapping stage; made anew for each, it keeps nothing.

    Attributes:
        sequence: Of the newest cluster.
        counts: Counters of the stage.
        state: Frames and landmarks.
        placing: Where they lie in the world.
        surface: What was measured between the landmarks.
        labels: Classes of the landmarks.
        roster: Instances, and the names of masks.
        edits: What was changed by hand.
    """

    sequence: int
    counts: dict[str, float]
    state: MapState
    placing: Placing
    surface: SurfaceMap
    labels: LabelVotes
    roster: Roster
    edits: Edits

    def whole(self, is_filled: bool, events: Sequence[InstanceEvent]) -> MapUpdate:
        """Return the whole map, facades filled where masks show them, or not yet."""
        shown = self.roster.shown
        before = set(shown)
        self.roster.describe()
        everything = range(len(self.state.frames))
        surface = self.surface.whole if is_filled else self.surface.measured
        return self._update(
            everything,
            self._cloud(self.state.landmark_ids(), surface),
            is_full=True,
            removed_points=np.zeros(0, dtype=np.int64),
            instances=tuple(shown[i] for i in sorted(shown)),
            removed_instances=tuple(sorted(before - set(shown))),
            events=tuple(events),
            assignments=self.roster.assignments_of(everything),
        )

    def change(
        self,
        increment: MapIncrement,
        relabelled: IntArray,
        known: Mapping[int, Instance],
        reviewed: tuple[Sequence[Instance], Sequence[int]],
        events: Sequence[InstanceEvent],
    ) -> MapUpdate:
        """Return what a cluster changed.

        Args:
            increment: Frames and landmarks that it touched.
            relabelled: Landmarks (n,) elsewhere that changed hands by it.
            known: Instances by id, as they were shown before.
            reviewed: Those that are shown and changed since, and the ids that no longer are.
            events: What was decided.
        """
        described, gone = reviewed
        flipped = [*(i.id for i in described if i.id not in known), *gone]
        ids = np.concatenate([relabelled, *(self.roster.members(i) for i in flipped)])
        ids = ids[np.isfinite(self.state.points(ids)[:, 0])]
        # Surfaces cannot be taken back: those of a new session wait for what would join it.
        surface = self.surface.none if increment.is_start else self.surface.recent
        return self._update(
            increment.frames,
            self._cloud(np.union1d(increment.landmark_ids, ids), surface),
            is_full=False,
            removed_points=increment.removed_ids,
            instances=tuple(i for i in described if _differs(known.get(i.id), i)),
            removed_instances=tuple(gone),
            events=tuple(events),
            assignments=self.roster.assignments_of(
                [*increment.frames, *self.roster.frames_of(flipped)]
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
            sequence=self.sequence,
            stamp_ns=self.state.now_ns,
            scale=self.placing.scale,
            origin=self.placing.origin,
            T_map_local=self.placing.T_world_local,
            trajectory=_trajectory_of(self.state, frames),
            cloud=cloud,
            counts=dict(self.counts),
            **changes,
        )

    def _cloud(
        self, ids: IntArray, surface: Callable[[Names, PointCloud], Surface]
    ) -> tuple[PointCloud, SurfaceCells | None]:
        """Return landmarks (n,) and the points between them that `surface` makes."""
        names, owners = self.roster.assignments, self.roster.owners(ids)
        landmarks = landmark_cloud(self.state, ids, self.labels.of(ids), owners)
        place = partial(self.edits.place, positions=self.state.points)
        return join(landmarks, surface(names, landmarks), self.roster.shown, place)


def _trajectory_of(state: MapState, frames: Sequence[int]) -> Trajectory:
    """Return the poses of frames, one per picture stamp, in stamp order."""
    stamps, poses, keyframe = [], [], []
    for k in sorted(frames, key=lambda k: state.frames[k].stamp_ns):
        f = state.frames[k]
        for stamp in sorted(set(f.picture_stamps_ns)):
            stamps.append(stamp)
            poses.append(f.T_world_base)
            keyframe.append(f.is_keyframe)
    T: FloatArray = np.stack(poses) if poses else np.zeros((0, 4, 4))
    return Trajectory(np.array(stamps, dtype=np.int64), T, np.array(keyframe, dtype=bool))


def landmark_cloud(
    state: MapState, ids: IntArray, labels: IntArray, instances: IntArray
) -> PointCloud:
    """Return landmarks (n,) as points with the class and the instance (n,) given for each."""
    return PointCloud(
        ids=ids,
        points_map=state.points(ids),
        colors_rgb=state.colors(ids),
        labels=labels.astype(np.uint32),
        instances=instances.astype(np.uint32),
        sigma_m=state.sigma(ids),
        num_views=state.num_views(ids),
    )


def _differs(before: Instance | None, now: Instance) -> bool:
    """Return whether an instance changed so that it is worth telling."""
    return (
        before is None
        or before.num_points != now.num_points
        or before.num_views != now.num_views
        or before.state != now.state
    )
