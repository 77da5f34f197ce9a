"""The map as its updates tell it, cut into tiles and thinned for those who look at it."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.types import FloatArray, Instance, IntArray, MapUpdate, PointCloud, Trajectory


class LiveMap:
    """The map as the updates tell it, kept by tiles: an update costs what it changes.

    Attributes:
        instances: Confirmed instances by id.
        stamp_ns: Newest picture.
    """

    def __init__(self, tile_m: float) -> None:
        """Start empty; `tile_m` is the edge of the tiles, metres."""
        self._tile_m = tile_m
        self._tiles: dict[int, PointCloud] = {}
        # Where each point is, by ascending id: a dict would take four times the memory.
        self._ids, self._tile_at = np.zeros((2, 0), dtype=np.int64)
        self._poses: dict[int, tuple[FloatArray, bool]] = {}
        self.instances: dict[int, Instance] = {}
        self.stamp_ns = 0

    @property
    def cloud(self) -> PointCloud:
        """Return all points, by ascending id."""
        return _joined(list(self._tiles.values()))

    @property
    def trajectory(self) -> Trajectory:
        """Return all poses, in stamp order."""
        stamps = sorted(self._poses)
        poses = [self._poses[s] for s in stamps]
        return Trajectory(
            np.array(stamps, dtype=np.int64),
            np.stack([T for T, _ in poses]) if poses else np.zeros((0, 4, 4)),
            np.array([is_keyframe for _, is_keyframe in poses], dtype=bool),
        )

    def apply(self, update: MapUpdate) -> PointCloud:
        """Take an update in; return all points of the tiles in which anything changed."""
        gone = update.removed_points
        if update.is_full:
            gone = self._ids
            self._poses.clear()
            self.instances.clear()
        for id in update.removed_instances:
            self.instances.pop(id, None)
        self.instances.update({instance.id: instance for instance in update.instances})
        path = update.trajectory
        for stamp, T, is_keyframe in zip(
            path.stamps_ns.tolist(), path.T_map_base, path.is_keyframe.tolist(), strict=True
        ):
            self._poses[stamp] = (T, is_keyframe)
        self.stamp_ns = max(self.stamp_ns, update.stamp_ns)
        return _joined([self._tiles[t] for t in self._put(update.cloud, gone) if t in self._tiles])

    def _put(self, cloud: PointCloud, gone: IntArray) -> list[int]:
        """Take points (n,) away, and put others where they are; return the tiles that changed."""
        away = np.union1d(cloud.ids, gone)
        rows = np.searchsorted(self._ids, away)
        rows = rows[np.append(self._ids, -1)[rows] == away]
        left = np.unique(self._tile_at[rows]).tolist()
        for tile in left:
            kept = _take(self._tiles[tile], ~np.isin(self._tiles[tile].ids, away))
            if len(kept.ids):
                self._tiles[tile] = kept
            else:
                del self._tiles[tile]
        into, order = self._tile(cloud.points_map), np.argsort(cloud.ids)
        ids, tile_at = np.delete(self._ids, rows), np.delete(self._tile_at, rows)
        at = np.searchsorted(ids, cloud.ids[order])
        self._ids = np.insert(ids, at, cloud.ids[order])
        self._tile_at = np.insert(tile_at, at, into[order])
        entered = np.unique(into).tolist()
        for tile in entered:
            new = _take(cloud, into == tile)
            self._tiles[tile] = _joined([self._tiles.get(tile, _no_points()), new])
        return sorted({*left, *entered})

    def _tile(self, points_map: FloatArray) -> IntArray:
        """Return one number per point (n,): that of its tile in the ground plane."""
        index = np.floor(points_map[:, :2] / self._tile_m).astype(np.int64)
        return (index[:, 0] << 32) + index[:, 1]


def thin(cloud: PointCloud, voxel_m: float) -> PointCloud:
    """Return one point per voxel, the one of the smallest id; all for a voxel of 0."""
    if voxel_m <= 0 or not len(cloud.ids):
        return cloud
    voxels = np.floor(cloud.points_map / voxel_m).astype(np.int64)
    _, first = np.unique(voxels, axis=0, return_index=True)
    chosen = np.zeros(len(cloud.ids), dtype=bool)
    chosen[first] = True
    return _take(cloud, chosen)


def _no_points() -> PointCloud:
    return PointCloud(
        ids=np.zeros(0, dtype=np.int64),
        points_map=np.zeros((0, 3)),
        colors_rgb=np.zeros((0, 3), dtype=np.uint8),
        labels=np.zeros(0, dtype=np.uint32),
        instances=np.zeros(0, dtype=np.uint32),
        sigma_m=np.zeros(0, dtype=np.float32),
        num_views=np.zeros(0, dtype=np.uint32),
    )


def _columns(cloud: PointCloud) -> tuple[NDArray, ...]:
    return tuple(getattr(cloud, f.name) for f in dataclasses.fields(cloud))


def _take(cloud: PointCloud, rows: NDArray) -> PointCloud:
    return PointCloud(*(column[rows] for column in _columns(cloud)))


def _joined(parts: list[PointCloud]) -> PointCloud:
    """Return all points of clouds, by ascending id."""
    columns = zip(*(_columns(part) for part in (_no_points(), *parts)), strict=True)
    cloud = PointCloud(*(np.concatenate(column) for column in columns))
    return _take(cloud, np.argsort(cloud.ids, kind="stable"))
