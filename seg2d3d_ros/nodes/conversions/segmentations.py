"""Segmentation and Mask: messages and values."""

from __future__ import annotations

import array

from std_msgs.msg import Header

import seg2d3d_ros.msg as msg
from seg2d3d_ros import types
from seg2d3d_ros.nodes.conversions.primitives import from_array, from_time, to_array, to_time


def to_mask(mask: types.Mask) -> msg.Mask:
    """Return the message of a mask."""
    made = msg.Mask(
        label=int(mask.label),
        class_id=int(mask.class_id),
        score=float(mask.score),
        bbox_px=[int(v) for v in mask.bbox_px],
        embedding_model_id=mask.embedding_model_id,
    )
    made.runs = to_array(mask.runs, "u4")
    made.crop_jpeg = array.array("B", mask.crop_jpeg)
    if mask.embedding is not None:
        made.embedding = to_array(mask.embedding, "f4")
    return made


def from_mask(message: msg.Mask) -> types.Mask:
    """Return the mask of a message."""
    x0, y0, x1, y1 = (int(v) for v in message.bbox_px)
    return types.Mask(
        label=message.label,
        class_id=message.class_id,
        score=message.score,
        bbox_px=(x0, y0, x1, y1),
        runs=from_array(message.runs, "u4"),
        embedding=from_array(message.embedding, "f4") if len(message.embedding) else None,
        embedding_model_id=message.embedding_model_id,
        crop_jpeg=bytes(message.crop_jpeg),
    )


def to_segmentation(segmentation: types.Segmentation, frame_id: str = "") -> msg.Segmentation:
    """Return the message of a segmentation; `frame_id` is the camera's optical frame."""
    return msg.Segmentation(
        header=Header(stamp=to_time(segmentation.stamp_ns), frame_id=frame_id),
        camera=segmentation.camera,
        width_px=int(segmentation.width_px),
        height_px=int(segmentation.height_px),
        masks=[to_mask(mask) for mask in segmentation.masks],
        status=str(segmentation.status),
        backend=segmentation.backend,
        prompt_version=int(segmentation.prompt_version),
    )


def from_segmentation(message: msg.Segmentation) -> types.Segmentation:
    """Return the segmentation of a message."""
    return types.Segmentation(
        camera=message.camera,
        stamp_ns=from_time(message.header.stamp),
        width_px=message.width_px,
        height_px=message.height_px,
        masks=tuple(from_mask(mask) for mask in message.masks),
        status=types.SegmentationStatus(message.status),
        backend=message.backend,
        prompt_version=message.prompt_version,
    )
