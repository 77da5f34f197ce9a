"""Segmentation and Mask: messages and values."""

from __future__ import annotations

import array

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

import seg2d3d_ros.msg as msg
from seg2d3d_ros import types
from seg2d3d_ros.io.palette import instance_color_rgb
from seg2d3d_ros.nodes.conversions.primitives import from_array, from_time, to_array, to_time
from seg2d3d_ros.segmentation.masks import to_label_image


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


def to_label_picture(segmentation: types.Segmentation, frame_id: str = "") -> Image:
    """Return a picture of the masks for eyes: rgb8, a colour per label, black where there is none.

    Of masks that overlap the smaller is seen; the masks themselves are in the Segmentation.
    """
    shape = (segmentation.height_px, segmentation.width_px)
    labels, place = np.unique(to_label_image(segmentation.masks, shape), return_inverse=True)
    colors = np.array([instance_color_rgb(int(v)) if v else (0, 0, 0) for v in labels], np.uint8)
    made = Image(height=shape[0], width=shape[1], step=3 * shape[1], encoding="rgb8")
    made.header = Header(stamp=to_time(segmentation.stamp_ns), frame_id=frame_id)
    made.data = to_array(colors[place], "u1")
    return made
