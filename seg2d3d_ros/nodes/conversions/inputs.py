"""Messages of sensors into the items that stages take; runs in the workers' threads."""

from __future__ import annotations

from typing import Any

from sensor_msgs.msg import CompressedImage, Image

from seg2d3d_ros.config import InputsConfig
from seg2d3d_ros.io import pictures
from seg2d3d_ros.io.rosbag import fix_item
from seg2d3d_ros.io.rosbag_rig import RigSetup
from seg2d3d_ros.types import Camera, Dropped, Frame, Item, LabelImage


def to_item(
    kind: str, camera: str, stamp_ns: int, message: Any, setup: RigSetup, inputs: InputsConfig
) -> Item | str:
    """Return the item of a message, or the reason why there is none.

    Args:
        kind: `frame`, `labels` or `fix`.
        camera: Name of the camera, empty for fixes.
        stamp_ns: Stamp of the message.
        message: As rclpy brought it.
        setup: The rig and its frames.
        inputs: Names of inputs.
    """
    if kind == "frame":
        return to_frame(message, setup.rig.cameras[setup.rig.index(camera)], stamp_ns)
    if kind == "labels":
        labels, reason = pictures.decode_labels(message)
        return reason if labels is None else LabelImage(camera, stamp_ns, labels)
    antenna_base = setup.antenna_base(inputs.base_frame, message.header.frame_id)
    return fix_item(message, antenna_base, stamp_ns)


def to_frame(message: Image | CompressedImage, camera: Camera, stamp_ns: int) -> Frame | Dropped:
    """Return the picture of a message; one that cannot be used is Dropped with its reason."""
    is_raw = isinstance(message, Image)
    decode = pictures.decode_image if is_raw else pictures.decode_compressed
    return pictures.to_frame(decode(message), camera, stamp_ns)
