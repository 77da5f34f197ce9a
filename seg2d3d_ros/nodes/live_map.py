"""The map as its updates tell it, cut into tiles and thinned for those who look at it."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.types import FloatArray, Instance, IntArray, MapUpdate, PointCloud, Trajectory


class LiveMap:
    """The map as the updates tell it.

    Attributes:
        cloud: All points, by ascending id.
        trajectory: All poses, in stamp order.
        instances: Confirmed instances by id.
        stamp_ns: Newest picture.
    """

    def __init__(self, tile_m: float) -> None:
        """Start empty; `tile_m` is the edge of the tiles, metres."""
        self._tile_m = tile_m
        self.cloud = _no_points()
        self.trajectory = Trajectory(
            np.zeros(0, dtype=np.int64), np.zeros((0, 4, 4)), np.zeros(0, dtype=bool)
        )
        self.instances: dict[int, Instance] = {}
        self.stamp_ns = 0

    def apply(self, update: MapUpdate) -> PointCloud:
        """Take an update in; return all points of the tiles in which anything changed."""
        before = self.cloud
        if update.is_full:
            self.cloud = _sorted(update.cloud)
            touched = np.concatenate([self.cloud.points_map, before.points_map])
            self.instances = {instance.id: instance for instance in update.instances}
            self.trajectory = update.trajectory
        else:
            old_ids = np.concatenate([update.cloud.ids, update.removed_points])
            is_old = np.isin(before.ids, old_ids)
            touched = np.concatenate([before.points_map[is_old], update.cloud.points_map])
            self.cloud = _sorted(_join(_take(before, ~is_old), update.cloud))
            for id in update.removed_instances:
                self.instances.pop(id, None)
            self.instances.update({instance.id: instance for instance in update.instances})
            self.trajectory = _merge(self.trajectory, update.trajectory)
        self.stamp_ns = max(self.stamp_ns, update.stamp_ns)
        tiles = np.unique(self._tiles(touched))
        return _take(self.cloud, np.isin(self._tiles(self.cloud.points_map), tiles))

    def _tiles(self, points_map: FloatArray) -> IntArray:
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


def _join(a: PointCloud, b: PointCloud) -> PointCloud:
    pairs = zip(_columns(a), _columns(b), strict=True)
    return PointCloud(*(np.concatenate(pair) for pair in pairs))


def _sorted(cloud: PointCloud) -> PointCloud:
    return _take(cloud, np.argsort(cloud.ids, kind="stable"))


def _merge(old: Trajectory, new: Trajectory) -> Trajectory:
    """Return both in stamp order, the new pose where a stamp is in both."""
    kept = ~np.isin(old.stamps_ns, new.stamps_ns)
    stamps_ns = np.concatenate([old.stamps_ns[kept], new.stamps_ns])
    T_map_base = np.concatenate([old.T_map_base[kept], new.T_map_base])
    is_keyframe = np.concatenate([old.is_keyframe[kept], new.is_keyframe])
    order = np.argsort(stamps_ns, kind="stable")
    return Trajectory(stamps_ns[order], T_map_base[order], is_keyframe[order])
