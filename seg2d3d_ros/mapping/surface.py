"""Surfaces between the landmarks: depth samples on their keyframes, fused on demand."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from seg2d3d_ros.config import MappingConfig
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.fusion import (
    Chunk,
    FusedPoints,
    PlacedSamples,
    add_up,
    fuse,
    sum_up,
)
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Cluster, FloatArray, IntArray, MaskAssignment, PointCloud

_RECENT_CLUSTERS = 2

Names = Mapping[tuple[int, int], list[MaskAssignment]]


class SurfaceMap:
    """Depth samples of all clusters, in the store; positions follow from today's poses.

    Samples take no part in alignment, adjustment or association: masks tell whose they are.
    """

    def __init__(self, options: MappingConfig, state: MapState) -> None:
        """Start empty, beside the frames that samples hang on."""
        self._options, self._state = options, state
        self._units: dict[int, float] = {}

    def add(self, cluster: Cluster, frames: list[int], T_world_local: FloatArray) -> None:
        """Keep the samples of a cluster, `frames` being the positions of its frames in the map."""
        samples = cluster.depths
        if not len(samples.label) or self._options.surface_voxel_m <= 0:
            return
        arrays = dict(vars(samples))
        arrays["frame"] = np.array(frames, dtype=np.int64)[samples.frame]
        self._state.archive.store.put(_block(cluster.sequence), arrays)
        unit = float(np.cbrt(np.linalg.det(T_world_local[:3, :3])))
        self._units[cluster.sequence] = unit / self._state.growth

    def recent(self, names: Names) -> FusedPoints | None:
        """Return the points of the newest clusters alone; None without any sample."""
        return self._fuse(sorted(self._units)[-_RECENT_CLUSTERS:], names)

    def whole(self, names: Names) -> FusedPoints | None:
        """Return all points; None without any sample.

        Args:
            names: What the masks of each picture are called, by (frame, camera).
        """
        return self._fuse(sorted(self._units), names)

    def _fuse(self, blocks: list[int], names: Names) -> FusedPoints | None:
        total: Chunk | None = None
        for block in blocks:
            chunk = sum_up(self._place(block, names), self._options.surface_voxel_m)
            total = chunk if total is None else add_up([total, chunk])
        return None if total is None else fuse(total, self._options.min_surface_views)

    def _place(self, block: int, names: Names) -> PlacedSamples:
        """Carry the samples of a block into the world with today's poses and names."""
        a = self._state.archive.store.get(_block(block))
        rig = self._state.rig
        assert rig is not None
        unit = self._units[block] * self._state.growth
        depth = a["depth_m"].astype(np.float64) * unit
        points, instance = np.zeros((len(depth), 3)), np.zeros(len(depth), dtype=np.int64)
        picture, index = np.unique(
            np.stack([a["frame"], a["camera"]], axis=1), axis=0, return_inverse=True
        )
        for k, (frame, c) in enumerate(picture.tolist()):
            rows = np.flatnonzero(index.ravel() == k)
            xy = models.normalize(rig.cameras[c], a["uv_px"][rows].astype(np.float64))
            T_world_cam = self._state.frames[frame].T_world_base @ rig.cameras[c].T_base_cam
            T_world_cam = transforms.rigid(
                transforms.orthonormal(T_world_cam[:3, :3]), T_world_cam[:3, 3]
            )
            p_cam = np.c_[xy, np.ones(len(rows))] * depth[rows, None]
            points[rows] = transforms.apply(T_world_cam, p_cam)
            instance[rows] = _look_up(names.get((frame, c), []), a["label"][rows])
        return PlacedSamples(
            points=points,
            sigma_m=a["sigma_m"].astype(np.float64) * unit,
            keyframe=a["frame"],
            instance=instance,
            class_id=a["label"].astype(np.int64) // 1000,
            colors_rgb=a["colors_rgb"],
        )


def _block(sequence: int) -> str:
    return f"depths/{sequence:06d}"


def _look_up(named: list[MaskAssignment], labels: np.ndarray) -> IntArray:
    """Return the instance (n,) of the masks with these labels (n,)."""
    found, index = np.unique(labels, return_inverse=True)
    instance = {a.label: a.instance for a in named}
    return np.array([instance.get(int(v), 0) for v in found], dtype=np.int64)[index]


def join(landmarks: PointCloud, fused: FusedPoints | None, shown: Collection[int]) -> PointCloud:
    """Return landmarks and fused points as one cloud; instances that are not shown count as 0."""
    if fused is None:
        return landmarks
    is_shown = np.isin(fused.instances, np.array(sorted(shown), dtype=np.int64))
    surface = PointCloud(
        ids=fused.ids,
        points_map=fused.points,
        colors_rgb=fused.colors_rgb,
        labels=fused.classes.astype(np.uint32),
        instances=np.where(is_shown, fused.instances, 0).astype(np.uint32),
        sigma_m=fused.sigma_m.astype(np.float32),
        num_views=fused.num_views.astype(np.uint32),
    )
    columns = vars(landmarks)
    return PointCloud(**{n: np.concatenate([columns[n], getattr(surface, n)]) for n in columns})
