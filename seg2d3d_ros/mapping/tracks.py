"""Tracks of buildings: the rays along which keyframes saw the landmarks of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.mapping.incidence import incidence
from seg2d3d_ros.mapping.map_frame import MapFrame
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, IntArray, MaskAssignment, PointCloud

Names: TypeAlias = Mapping[tuple[int, int], list[MaskAssignment]]

_LEAST_VIEWS, _MOST_VIEWS = 3, 10
_MOST_TRACKS = 200
# So often at least a landmark lies in masks of the building where such a picture shows it.
_OWN_SHARE = 0.5


@dataclass(frozen=True)
class Tracks:
    """Rays of n tracks, m in all, those of a track one after another in stamp order.

    Attributes:
        first: (n,) where each track begins.
        centers: (m, 3) of the cameras, metres.
        rays: (m, 3) unit, from them.
        focal_px: (m,) of the cameras.
    """

    first: IntArray
    centers: FloatArray
    rays: FloatArray
    focal_px: FloatArray

    @property
    def num_views(self) -> IntArray:
        """Return how many rays each track has (n,)."""
        return np.diff(np.append(self.first, len(self.rays)))

    def take(self, some: IntArray, most_views: int) -> Tracks:
        """Return some tracks (k,), ascending, thinned evenly to so many rays each."""
        num = self.num_views[some]
        kept = np.minimum(num, most_views)
        first = np.cumsum(kept) - kept
        place = np.arange(int(kept.sum())) - np.repeat(first, kept)
        step = np.repeat((num - 1) / np.maximum(kept - 1, 1), kept)
        rows = np.repeat(self.first[some], kept) + np.rint(place * step).astype(np.int64)
        return Tracks(first, self.centers[rows], self.rays[rows], self.focal_px[rows])


class TrackFinder:
    """Finds the tracks of buildings in what the keyframes of a map saw."""

    def __init__(self, state: MapState, landmarks: PointCloud, names: Names) -> None:
        """Look into a map.

        Args:
            state: The map.
            landmarks: Those of the map, with their instances.
            names: What the masks of each picture are called, by (frame, camera).
        """
        self._state, self._landmarks, self._names = state, landmarks, names
        self._keyframes = state.keyframes

    def by_landmark(self, wanted: Collection[int]) -> dict[int, Tracks]:
        """Return the tracks of the landmarks of some buildings."""
        own = np.isin(self._landmarks.instances, list(wanted))
        owner = np.zeros(self._state.num_ids, dtype=np.int64)
        owner[self._landmarks.ids[own]] = self._landmarks.instances[own]
        return self._gather(owner, self._keyframes if own.any() else [])

    def by_mask(self, wanted: Collection[int]) -> dict[int, Tracks]:
        """Return the tracks that lie in the masks of some buildings, triangulated or not."""
        shown = [k for k in self._keyframes if self._shows(k, frozenset(wanted))]
        total = np.zeros(self._state.num_ids, dtype=np.int64)
        found = [np.zeros((2, 0), dtype=np.int64)]
        for k in shown:
            frame = self._state.frames[k]
            total[self._state.canonical(frame.ids)] += 1
            found += [self._inside(k, frame, c, wanted) for c in frame.cameras]
        (ids, owners), num = np.unique(np.concatenate(found, axis=1), axis=1, return_counts=True)
        most = num > _OWN_SHARE * total[ids]
        owner = np.zeros(self._state.num_ids, dtype=np.int64)
        owner[ids[most]] = owners[most]
        return self._gather(owner, shown)

    def _shows(self, frame: int, wanted: frozenset[int]) -> bool:
        cameras = self._state.frames[frame].cameras
        named = (self._names.get((frame, c), []) for c in cameras)
        return any(a.instance in wanted for some in named for a in some)

    def _inside(self, k: int, frame: MapFrame, c: int, wanted: Collection[int]) -> IntArray:
        """Return the landmarks in masks of wanted buildings and these, (2, n)."""
        named = self._names.get((k, c), [])
        some = [j for j, a in enumerate(named) if a.instance in wanted]
        rows = np.flatnonzero(frame.camera == c)
        if not some or not len(rows):
            return np.zeros((2, 0), dtype=np.int64)
        masks = tuple(frame.masks[c][j] for j in some)
        classes = frozenset(m.class_id for m in masks)
        seen = self._state.canonical(frame.ids[rows])
        found = incidence(seen, frame.uv_px[rows], masks, classes)
        instance = np.array([named[j].instance for j in some], dtype=np.int64)
        return np.stack([found.ids, instance[found.mask]])

    def _gather(self, owner: IntArray, keyframes: Collection[int]) -> dict[int, Tracks]:
        """Return the rays to landmarks by their owner (num_ids,), by instance, 0 being none."""
        ids, columns = [np.zeros(0, np.int64)], [np.zeros((0, 7))]
        for k in keyframes:
            seen = self._state.frames[k].held.seen
            known = self._state.canonical(seen.ids)
            rows = np.flatnonzero(owner[known])
            for c in np.unique(seen.camera[rows]).tolist():
                some, camera = rows[seen.camera[rows] == c], self._state.cameras[c]
                T_world_cam = self._state.T_world_cam(k, c)
                ray = models.rays(camera, seen.uv_px[some]) @ T_world_cam[:3, :3].T
                ray /= np.linalg.norm(ray, axis=1, keepdims=True)
                center = np.broadcast_to(T_world_cam[:3, 3], ray.shape)
                ids.append(known[some])
                columns.append(np.c_[center, ray, np.full(len(some), models.focal_px(camera))])
        every = np.concatenate(ids)
        order = np.argsort(every, kind="stable")
        table = np.concatenate(columns)[order]
        found, first = np.unique(every[order], return_index=True)
        return _parted(Tracks(first, table[:, :3], table[:, 3:6], table[:, 6]), owner[found])


def _parted(tracks: Tracks, owner: IntArray) -> dict[int, Tracks]:
    """Return tracks by owner (n,): those of three rays or more, thinned."""
    enough = np.flatnonzero(tracks.num_views >= _LEAST_VIEWS)
    out = {}
    for i in np.unique(owner[enough]).tolist():
        own = enough[owner[enough] == i]
        some = np.linspace(0, len(own) - 1, min(len(own), _MOST_TRACKS)).astype(np.int64)
        out[i] = tracks.take(own[some], _MOST_VIEWS)
    return out
