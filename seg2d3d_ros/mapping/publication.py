"""Frames and landmarks of the map as others get them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, Instance, IntArray, PointCloud, Trajectory


def trajectory_of(state: MapState, frames: Sequence[int]) -> Trajectory:
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


def differs(before: Instance | None, now: Instance) -> bool:
    """Return whether an instance changed so that it is worth telling."""
    return (
        before is None
        or before.num_points != now.num_points
        or before.num_views != now.num_views
        or before.state != now.state
    )
