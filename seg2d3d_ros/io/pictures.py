"""Pixels of picture messages: sensor_msgs/Image and CompressedImage into (h, w[, 3]) uint8, BGR.

A picture that cannot be used is a reason (`bad_size`, `unknown_encoding`, `decode_error`), not an
exception: it is counted and the drive goes on.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.types import Camera, Dropped, Frame

Picture = NDArray[np.uint8]

# encoding -> (channels, bytes per channel, OpenCV conversion to BGR or None). OpenCV names Bayer
# patterns by the second row, ROS by the first two pixels.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2BGR,
    "bggr": cv2.COLOR_BayerRG2BGR,
    "gbrg": cv2.COLOR_BayerGR2BGR,
    "grbg": cv2.COLOR_BayerGB2BGR,
}
_ENCODINGS: dict[str, tuple[int, int, int | None]] = {
    "mono8": (1, 1, None),
    "8uc1": (1, 1, None),
    "mono16": (1, 2, None),
    "bgr8": (3, 1, None),
    "8uc3": (3, 1, None),
    "rgb8": (3, 1, cv2.COLOR_RGB2BGR),
    "bgra8": (4, 1, cv2.COLOR_BGRA2BGR),
    "8uc4": (4, 1, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, 1, cv2.COLOR_RGBA2BGR),
    "bgr16": (3, 2, None),
    "rgb16": (3, 2, cv2.COLOR_RGB2BGR),
    "yuv422": (2, 1, cv2.COLOR_YUV2BGR_UYVY),
    "uyvy": (2, 1, cv2.COLOR_YUV2BGR_UYVY),
    "yuv422_yuy2": (2, 1, cv2.COLOR_YUV2BGR_YUY2),
    "yuyv": (2, 1, cv2.COLOR_YUV2BGR_YUY2),
    **{f"bayer_{p}8": (1, 1, code) for p, code in _BAYER.items()},
    **{f"bayer_{p}16": (1, 2, code) for p, code in _BAYER.items()},
}

_FORMATS = frozenset({"jpeg", "jpg", "png", "webp", "tif", "tiff", "bmp"})


def decode(message: Any) -> tuple[Picture | None, str]:
    """Return the picture of a sensor_msgs/Image or CompressedImage, or None and the reason."""
    return (decode_image if hasattr(message, "encoding") else decode_compressed)(message)


def decode_image(message: Any) -> tuple[Picture | None, str]:
    """Return the picture of a sensor_msgs/Image, or None and the reason why not.

    16-bit pictures are scaled to 8 bits by their full range.
    """
    known = _ENCODINGS.get(message.encoding.lower())
    if known is None:
        return None, "unknown_encoding"
    channels, depth, conversion = known
    pixels = _rows(message, channels, depth)
    if pixels is None:
        return None, "bad_size"
    if depth == 2:
        pixels = (pixels >> 8).astype(np.uint8)
    if conversion is not None:
        try:
            pixels = cv2.cvtColor(pixels, conversion)
        except cv2.error:
            return None, "decode_error"
    return np.ascontiguousarray(pixels), ""


def encoding_cure(topic: str, message: Any) -> str:
    """Return what to do about a picture whose encoding is unknown, and which encoding that is."""
    seen = getattr(message, "encoding", "") or getattr(message, "format", "")
    return (
        f"{topic}: pictures of encoding '{seen}' cannot be read; set the driver to one of "
        f"{', '.join(sorted(_ENCODINGS))}, or send JPEG or PNG"
    )


def decode_labels(message: Any) -> tuple[NDArray[np.uint16] | None, str]:
    """Return the (h, w) uint16 labels of a sensor_msgs/Image 16UC1, or None and the reason."""
    if message.encoding.lower() not in ("16uc1", "mono16"):
        return None, "unknown_encoding"
    labels = _rows(message, 1, 2)
    return (None, "bad_size") if labels is None else (np.ascontiguousarray(labels), "")


def _rows(message: Any, channels: int, depth: int) -> NDArray[Any] | None:
    """Return the message's bytes as (h, w[, channels]); None if they do not fit its size."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    row = width * channels * depth
    step = step or row
    data = np.frombuffer(memoryview(message.data), dtype=np.uint8)
    if height <= 0 or width <= 0 or step < row or len(data) < step * (height - 1) + row:
        return None
    if len(data) < step * height:  # the padding of the last row may be missing
        data = np.concatenate([data, np.zeros(step * height - len(data), np.uint8)])
    pixels = data[: step * height].reshape(height, step)[:, :row]
    if depth == 2:
        order = ">u2" if message.is_bigendian else "<u2"
        pixels = np.ascontiguousarray(pixels).view(order).astype(np.uint16, copy=False)
    return pixels if channels == 1 else pixels.reshape(height, width, channels)


def decode_compressed(message: Any) -> tuple[Picture | None, str]:
    """Return the picture of a sensor_msgs/CompressedImage (JPEG, PNG), or None and the reason.

    A film (H.264 and the like), of which a picture is no whole, is an unknown encoding.
    """
    if "compresseddepth" in message.format.lower().replace(" ", ""):
        return None, "unknown_encoding"
    data = np.frombuffer(memoryview(message.data), dtype=np.uint8)
    if not len(data):
        return None, "bad_size"
    image, reason = _as_bgr(_quietly(cv2.imdecode, data))
    words = set(re.findall(r"\w+", message.format.lower()))
    if image is None and words and not words & _FORMATS:
        return None, "unknown_encoding"
    return image, reason


def read_picture(path: Path) -> tuple[Picture | None, str]:
    """Return the picture of a file, grey pictures as (h, w), or None and the reason."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError:
        return None, "decode_error"
    return _as_bgr(_quietly(cv2.imdecode, data)) if len(data) else (None, "bad_size")


def to_frame(read: tuple[Picture | None, str], camera: Camera, stamp_ns: int) -> Frame | Dropped:
    """Return what was read, a picture or the reason why there is none, as that of a camera."""
    image, reason = read
    if image is None:
        return Dropped(camera.name, stamp_ns, reason)
    if image.shape[:2] != (camera.height_px, camera.width_px):
        return Dropped(camera.name, stamp_ns, "size_mismatch")
    return Frame(camera.name, stamp_ns, image)


def _quietly(decode: Any, data: NDArray[np.uint8]) -> NDArray[Any] | None:
    try:
        return decode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


def _as_bgr(image: NDArray[Any] | None) -> tuple[Picture | None, str]:
    if image is None or image.dtype not in (np.uint8, np.uint16) or not image.size:
        return None, "decode_error"
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 3 and image.shape[2] != 3:
        image = image[:, :, 0] if image.shape[2] < 3 else image[:, :, :3]
    return np.ascontiguousarray(image), ""
