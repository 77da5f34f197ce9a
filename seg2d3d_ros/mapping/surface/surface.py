"""Surfaces between the landmarks: depth samples on their keyframes, fused on demand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.config import MappingConfig
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.mapping.surface.boxes import SurfaceCells
from seg2d3d_ros.mapping.surface.fusion import (
    Chunk,
    FusedPoints,
    PlacedSamples,
    add_up,
    by_id,
    fuse,
    sum_up,
)
from seg2d3d_ros.mapping.surface.squares import SquareSums
from seg2d3d_ros.mapping.surface.walls import raise_walls
from seg2d3d_ros.mapping.tracks import Names
from seg2d3d_ros.types import Cluster, FloatArray, IntArray, MaskAssignment, PointCloud

_RECENT_CLUSTERS = 2
_LEAST_PATH_M = 1e-3


Place: TypeAlias = Callable[[FloatArray, NDArray[np.uint32]], NDArray[np.uint32]]


@dataclass(frozen=True)
class Surface:
    """Fused points, None without any sample, and the cells of walls and roofs they are part of."""

    points: FusedPoints | None
    cells: SurfaceCells | None = None


class SurfaceMap:
    """Depth samples of all clusters, in the store; positions follow from today's poses.

    Samples take no part in alignment, adjustment or association: masks tell whose they are.
    """

    def __init__(self, options: MappingConfig, state: MapState) -> None:
        """Start empty, beside the frames that samples hang on."""
        self._options, self._state = options, state
        self._blocks: list[int] = []

    def add(self, cluster: Cluster, frames: list[int]) -> None:
        """Keep the samples of a cluster, `frames` being the positions of its frames in the map."""
        samples = cluster.depths
        if not len(samples.label) or self._options.surface_voxel_m <= 0:
            return
        index = np.array(frames, dtype=np.int64)
        keyframes = [k for k, f in enumerate(cluster.frames) if f.is_keyframe]
        path = np.stack([cluster.frames[k].T_local_base[:3, 3] for k in keyframes])
        arrays = {
            **vars(samples),
            "frame": index[samples.frame],
            "path_frame": index[keyframes],
            "path_m": np.array(_length(path)),
        }
        self._state.archive.store.put(_block(cluster.sequence), arrays)
        self._blocks.append(cluster.sequence)

    @staticmethod
    def none(names: Names, landmarks: PointCloud | None = None) -> Surface:
        """Return no points."""
        return Surface(None)

    def recent(self, names: Names, landmarks: PointCloud | None = None) -> Surface:
        """Return the points of the newest clusters alone, whatever the landmarks."""
        newest = [self._sum_up(block, names) for block in self._blocks[-_RECENT_CLUSTERS:]]
        return Surface(self._fuse([add_up(newest)]) if newest else None)

    def is_recent(self, frame: int) -> bool:
        """Return whether `recent` tells of all samples since a frame of the map."""
        older = self._blocks[:-_RECENT_CLUSTERS][-1:]
        paths = (self._state.archive.store.get(_block(block))["path_frame"] for block in older)
        return all(int(path.max()) < frame for path in paths)

    def whole(self, names: Names, landmarks: PointCloud) -> Surface:
        """Return all points, facades filled where masks show them.

        Args:
            names: What the masks of each picture are called, by (frame, camera).
            landmarks: All of the map, with their instances.
        """
        surface = self.measured(names)
        measured = surface.points
        if measured is None or not len(measured.ids) or self._options.facade_reach_m <= 0:
            return surface
        reach_m = self._options.facade_reach_m
        filled, cells = raise_walls(self._state, measured, landmarks, names, reach_m)
        return Surface(by_id([measured, filled]), cells)

    def measured(self, names: Names, landmarks: PointCloud | None = None) -> Surface:
        """Return all points that were measured, facades as they are."""
        with SquareSums(self._state.archive.store) as sums:
            for block in self._blocks:
                sums.add(self._sum_up(block, names))
            return Surface(self._fuse(sums))

    def _sum_up(self, block: int, names: Names) -> Chunk:
        return sum_up(self._place(block, names), self._options.surface_voxel_m)

    def _fuse(self, sums: Iterable[Chunk]) -> FusedPoints | None:
        parts = [fuse(chunk, self._options.min_surface_views) for chunk in sums]
        return by_id(parts) if parts else None

    def _place(self, block: int, names: Names) -> PlacedSamples:
        """Carry the samples of a block into the world with today's poses and names."""
        a = self._state.archive.store.get(_block(block))
        cameras = self._state.cameras
        unit = self._unit(a["path_frame"], float(a["path_m"]))
        depth = a["depth_m"].astype(np.float64) * unit
        points, toward = np.zeros((2, len(depth), 3))
        instance = np.zeros(len(depth), dtype=np.int64)
        order = np.lexsort((a["camera"], a["frame"]))
        frames, by = a["frame"][order], a["camera"][order]
        ends = np.flatnonzero((np.diff(frames) != 0) | (np.diff(by) != 0)) + 1
        for rows in np.split(order, ends) if len(order) else []:
            frame, c = int(a["frame"][rows[0]]), int(a["camera"][rows[0]])
            T_world_cam = self._state.T_world_cam(frame, c)
            p_cam = models.rays(cameras[c], a["uv_px"][rows]) * depth[rows, None]
            points[rows] = transforms.apply(T_world_cam, p_cam)
            away = points[rows] - T_world_cam[:3, 3]
            toward[rows] = -away / np.linalg.norm(away, axis=1, keepdims=True)
            instance[rows] = _look_up(names.get((frame, c), []), a["label"][rows])
        return PlacedSamples(
            points=points,
            sigma_m=a["sigma_m"].astype(np.float64) * unit,
            keyframe=a["frame"],
            instance=instance,
            class_id=a["label"].astype(np.int64) // 1000,
            colors_rgb=a["colors_rgb"],
            toward=toward,
        )

    def _unit(self, keyframes: IntArray, path_m: float) -> float:
        """Return by how much the map has grown where keyframes lie since they measured depths.

        Depth goes with the way between the pictures. That way gets longer or shorter as the scale
        of the odometry is corrected, the map is placed, or a loop is closed.
        """
        if path_m < _LEAST_PATH_M:
            return 1.0
        now = np.stack([self._state.frames[k].T_world_base[:3, 3] for k in keyframes.tolist()])
        return _length(now) / path_m


def _length(path: FloatArray) -> float:
    """Return the length of a path (n, 3)."""
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())


def _block(sequence: int) -> str:
    return f"depths/{sequence:06d}"


def _look_up(named: list[MaskAssignment], labels: np.ndarray) -> IntArray:
    """Return the instance (n,) of the masks with these labels (n,)."""
    found, index = np.unique(labels, return_inverse=True)
    instance = {a.label: a.instance for a in named}
    return np.array([instance.get(int(v), 0) for v in found], dtype=np.int64)[index]


def join(
    landmarks: PointCloud, surface: Surface, shown: Collection[int], place: Place
) -> tuple[PointCloud, SurfaceCells | None]:
    """Join landmarks and fused points to one cloud, and name all that is fused as it is shown.

    Args:
        landmarks: With their instances.
        surface: What lies between them.
        shown: Instances; others count as 0.
        place: Names points (n, 3) whose instances (n,) are by the masks, after edits by hand.

    Returns:
        The cloud, and the cells.
    """
    fused, cells = surface.points, surface.cells
    if fused is None:
        return landmarks, None
    known = np.array(sorted(shown), dtype=np.int64)
    instances = np.where(np.isin(fused.instances, known), fused.instances, 0)
    between = PointCloud(
        ids=fused.ids,
        points_map=fused.points,
        colors_rgb=fused.colors_rgb,
        labels=fused.classes.astype(np.uint32),
        instances=place(fused.points, instances.astype(np.uint32)),
        sigma_m=fused.sigma_m.astype(np.float32),
        num_views=fused.num_views.astype(np.uint32),
    )
    columns = vars(landmarks)
    cloud = PointCloud(**{n: np.concatenate([columns[n], getattr(between, n)]) for n in columns})
    if cells is None:
        return cloud, None
    owners = place(cells.centers, cells.instances.astype(np.uint32))
    return cloud, replace(cells, instances=owners.astype(np.int64))
