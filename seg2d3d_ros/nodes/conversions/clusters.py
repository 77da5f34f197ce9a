"""Cluster and what it is made of: messages and values."""

from __future__ import annotations

from typing import Any

import numpy as np

import seg2d3d_ros.msg as msg
from seg2d3d_ros import types
from seg2d3d_ros.nodes.conversions.primitives import (
    from_array,
    from_transform,
    to_array,
    to_transform,
)
from seg2d3d_ros.nodes.conversions.rigs import from_rig, to_rig
from seg2d3d_ros.nodes.conversions.segmentations import from_segmentation, to_segmentation


def to_cluster(cluster: types.Cluster) -> msg.Cluster:
    """Return the message of a cluster."""
    return msg.Cluster(
        sequence=int(cluster.sequence),
        session=int(cluster.session),
        is_last=bool(cluster.is_last),
        scale=cluster.scale,
        num_overlap=int(cluster.num_overlap),
        rig=to_rig(cluster.rig),
        frames=[_to_keyframe(frame) for frame in cluster.frames],
        **_landmark_fields(cluster.landmarks),
        **_observation_fields(cluster.observations),
        odometry=[_to_relative_pose(pose) for pose in cluster.odometry],
        fixes=[to_fix(fix) for fix in cluster.fixes],
        segmentations=[to_segmentation(item) for item in cluster.segmentations],
        dropped=[to_dropped(item) for item in cluster.dropped],
        **_depth_fields(cluster.depths),
    )


def from_cluster(message: msg.Cluster) -> types.Cluster:
    """Return the cluster of a message."""
    return types.Cluster(
        sequence=message.sequence,
        session=message.session,
        is_last=message.is_last,
        scale=message.scale,
        num_overlap=message.num_overlap,
        rig=from_rig(message.rig),
        frames=tuple(_from_keyframe(frame) for frame in message.frames),
        landmarks=_from_landmarks(message),
        observations=_from_observations(message),
        odometry=tuple(_from_relative_pose(pose) for pose in message.odometry),
        fixes=tuple(from_fix(fix) for fix in message.fixes),
        segmentations=tuple(from_segmentation(item) for item in message.segmentations),
        dropped=tuple(from_dropped(item) for item in message.dropped),
        depths=_from_depths(message),
    )


def to_fix(fix: types.Fix) -> msg.Fix:
    """Return the message of a GNSS fix."""
    covariance = np.zeros(9) if fix.covariance_enu is None else fix.covariance_enu.reshape(9)
    return msg.Fix(
        stamp_ns=int(fix.stamp_ns),
        lat_deg=float(fix.lat_deg),
        lon_deg=float(fix.lon_deg),
        alt_m=float(fix.alt_m),
        has_covariance=fix.covariance_enu is not None,
        covariance_enu=np.asarray(covariance, dtype=np.float64),
        antenna_base=np.asarray(fix.antenna_base, dtype=np.float64),
    )


def from_fix(message: msg.Fix) -> types.Fix:
    """Return the GNSS fix of a message."""
    covariance = np.array(message.covariance_enu).reshape(3, 3)
    return types.Fix(
        stamp_ns=message.stamp_ns,
        lat_deg=message.lat_deg,
        lon_deg=message.lon_deg,
        alt_m=message.alt_m,
        covariance_enu=covariance if message.has_covariance else None,
        antenna_base=np.array(message.antenna_base),
    )


def to_dropped(dropped: types.Dropped) -> msg.Dropped:
    """Return the message of a picture that was not used."""
    return msg.Dropped(
        camera=dropped.camera, stamp_ns=int(dropped.stamp_ns), reason=dropped.reason
    )


def from_dropped(message: msg.Dropped) -> types.Dropped:
    """Return the picture that was not used of a message."""
    return types.Dropped(message.camera, message.stamp_ns, message.reason)


def _to_keyframe(frame: types.Keyframe) -> msg.Keyframe:
    return msg.Keyframe(
        stamp_ns=int(frame.stamp_ns),
        t_local_base=to_transform(frame.T_local_base),
        is_keyframe=bool(frame.is_keyframe),
        cameras=to_array(np.array(frame.cameras, dtype=np.int64), "u4"),
        picture_stamps_ns=to_array(np.array(frame.picture_stamps_ns, dtype=np.int64), "i8"),
        status=frame.status,
    )


def _from_keyframe(message: msg.Keyframe) -> types.Keyframe:
    return types.Keyframe(
        stamp_ns=message.stamp_ns,
        T_local_base=from_transform(message.t_local_base),
        is_keyframe=message.is_keyframe,
        cameras=tuple(message.cameras),
        picture_stamps_ns=tuple(message.picture_stamps_ns),
        status=message.status,
    )


def _to_relative_pose(pose: types.RelativePose) -> msg.RelativePose:
    return msg.RelativePose(
        frame_i=int(pose.frame_i),
        frame_j=int(pose.frame_j),
        t_i_j=to_transform(pose.T_i_j),
        covariance=np.asarray(pose.covariance, dtype=np.float64).reshape(36),
    )


def _from_relative_pose(message: msg.RelativePose) -> types.RelativePose:
    return types.RelativePose(
        frame_i=message.frame_i,
        frame_j=message.frame_j,
        T_i_j=from_transform(message.t_i_j),
        covariance=np.array(message.covariance).reshape(6, 6),
    )


def _landmark_fields(landmarks: types.Landmarks) -> dict[str, Any]:
    return {
        "landmark_ids": to_array(landmarks.ids, "i8"),
        "landmark_points_local": to_array(landmarks.points_local, "f8"),
        "landmark_colors_rgb": to_array(landmarks.colors_rgb, "u1"),
        "descriptor_size": int(landmarks.descriptors.shape[1]),
        "landmark_descriptors": to_array(landmarks.descriptors, "u1"),
        "landmark_sigma_m": to_array(landmarks.sigma_m, "f4"),
    }


def _from_landmarks(message: msg.Cluster) -> types.Landmarks:
    num = len(message.landmark_ids)
    return types.Landmarks(
        ids=from_array(message.landmark_ids, "i8"),
        points_local=from_array(message.landmark_points_local, "f8", num, 3),
        colors_rgb=from_array(message.landmark_colors_rgb, "u1", num, 3),
        descriptors=from_array(message.landmark_descriptors, "u1", num, message.descriptor_size),
        sigma_m=from_array(message.landmark_sigma_m, "f4"),
    )


def _observation_fields(observations: types.Observations) -> dict[str, Any]:
    return {
        "observation_landmark": to_array(observations.landmark, "u4"),
        "observation_frame": to_array(observations.frame, "u4"),
        "observation_camera": to_array(observations.camera, "u4"),
        "observation_uv_px": to_array(observations.uv_px, "f4"),
    }


def _from_observations(message: msg.Cluster) -> types.Observations:
    return types.Observations(
        landmark=from_array(message.observation_landmark, "i8"),
        frame=from_array(message.observation_frame, "i8"),
        camera=from_array(message.observation_camera, "i8"),
        uv_px=from_array(message.observation_uv_px, "f4", len(message.observation_landmark), 2),
    )


def _depth_fields(depths: types.DepthSamples) -> dict[str, Any]:
    return {
        "depth_frame": to_array(depths.frame, "u4"),
        "depth_camera": to_array(depths.camera, "u2"),
        "depth_uv_px": to_array(depths.uv_px, "u2"),
        "depth_half": to_array(depths.depth_m.view(np.uint16), "u2"),
        "depth_sigma_half": to_array(depths.sigma_m.view(np.uint16), "u2"),
        "depth_colors_rgb": to_array(depths.colors_rgb, "u1"),
        "depth_label": to_array(depths.label, "u2"),
    }


def _from_depths(message: msg.Cluster) -> types.DepthSamples:
    num = len(message.depth_frame)
    return types.DepthSamples(
        frame=from_array(message.depth_frame, "u4"),
        camera=from_array(message.depth_camera, "u2"),
        uv_px=from_array(message.depth_uv_px, "u2", num, 2),
        depth_m=from_array(message.depth_half, "u2").view(np.float16),
        sigma_m=from_array(message.depth_sigma_half, "u2").view(np.float16),
        colors_rgb=from_array(message.depth_colors_rgb, "u1", num, 3),
        label=from_array(message.depth_label, "u2"),
    )
