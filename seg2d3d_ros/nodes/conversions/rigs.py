"""Rig and Camera: messages and values."""

from __future__ import annotations

import numpy as np

import seg2d3d_ros.msg as msg
from seg2d3d_ros import types
from seg2d3d_ros.nodes.conversions.primitives import (
    from_array,
    from_transform,
    to_array,
    to_transform,
)


def to_rig(rig: types.Rig) -> msg.Rig:
    """Return the message of a rig."""
    return msg.Rig(
        cameras=[_to_camera(camera) for camera in rig.cameras],
        base=rig.base,
        has_odometry=rig.has_odometry,
        has_labels=sorted(rig.has_labels),
        remarks=list(rig.remarks),
    )


def from_rig(message: msg.Rig) -> types.Rig:
    """Return the rig of a message."""
    return types.Rig(
        cameras=tuple(_from_camera(camera) for camera in message.cameras),
        base=message.base,
        has_odometry=message.has_odometry,
        has_labels=frozenset(message.has_labels),
        remarks=tuple(message.remarks),
    )


def _to_camera(camera: types.Camera) -> msg.RigCamera:
    return msg.RigCamera(
        name=camera.name,
        width_px=int(camera.width_px),
        height_px=int(camera.height_px),
        k=np.asarray(camera.K, dtype=np.float64).reshape(9),
        t_base_cam=to_transform(camera.T_base_cam),
        distortion=str(camera.distortion),
        d=to_array(camera.D, "f8"),
    )


def _from_camera(message: msg.RigCamera) -> types.Camera:
    return types.Camera(
        name=message.name,
        width_px=message.width_px,
        height_px=message.height_px,
        K=np.array(message.k).reshape(3, 3),
        T_base_cam=from_transform(message.t_base_cam),
        distortion=types.Distortion(message.distortion),
        D=from_array(message.d, "f8"),
    )
