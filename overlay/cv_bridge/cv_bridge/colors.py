"""Conversion of a picture from one encoding to another, by the rules of cv_bridge."""

from typing import Any

import cv2
import numpy as np

from cv_bridge.encodings import Encoding, Family, parse_encoding

_COLORS = (Family.GRAY, Family.RGB, Family.BGR, Family.RGBA, Family.BGRA)
_NUMPY_DEPTHS: dict[int, Any] = {
    cv2.CV_8U: np.uint8,
    cv2.CV_8S: np.int8,
    cv2.CV_16U: np.uint16,
    cv2.CV_16S: np.int16,
    cv2.CV_32S: np.int32,
    cv2.CV_32F: np.float32,
    cv2.CV_64F: np.float64,
}


def convert_color(image: np.ndarray, source: str, target: str) -> np.ndarray:
    """Convert a picture between two encodings; the result never shares memory with the input.

    Between colour encodings the channels are converted and 8 and 16 bits scaled into each other;
    between generic ones (or colour and generic) only the depth changes, never the channels.

    Args:
        image: (h, w) or (h, w, c) picture in native byte order.
        source: Its encoding.
        target: The encoding that is wanted; empty means the same.

    Returns:
        The converted picture, (h, w) where it has one channel.

    Raises:
        RuntimeError: An encoding is unknown, or there is no such conversion.
    """
    if target in ("", source):
        return _squeeze(image.copy())
    source_encoding, target_encoding = parse_encoding(source), parse_encoding(target)
    code = _conversion_code(source_encoding, target_encoding)
    if code is not None:
        try:
            image = cv2.cvtColor(image, code)
        except cv2.error as error:
            raise RuntimeError(str(error)) from error
    depth_differs = source_encoding.bit_depth != target_encoding.bit_depth
    if code is None or depth_differs:
        image = _convert_depth(image, source_encoding, target_encoding)
    return _squeeze(image)


def _conversion_code(source: Encoding, target: Encoding) -> int | None:
    """Choose OpenCV's conversion code; None where only the depth changes."""
    if source.family is None or target.family is None:
        _check_generic(source, target)
        return None
    if source.family is target.family and source.family in (*_COLORS, Family.UYVY):
        return None
    name = None
    if target.family in _COLORS:
        if source.family in (Family.UYVY, Family.YUY2):
            name = f"COLOR_YUV2{target.family.value}_{source.family.value}"
        elif source.family in _COLORS:
            name = f"COLOR_{source.family.value}2{target.family.value}"
        elif target.num_channels < 4:
            name = f"COLOR_{source.family.value}2{target.family.value}"
    if name is None or not hasattr(cv2, name):
        raise RuntimeError(f"Unsupported conversion from [{source.name}] to [{target.name}]")
    return int(getattr(cv2, name))


def _check_generic(source: Encoding, target: Encoding) -> None:
    if source.family is None and target.family is not None:
        raise RuntimeError(
            f"[{source.name}] is not a color format. but [{target.name}] is. "
            "The conversion does not make sense"
        )
    if source.num_channels == target.num_channels:
        return
    if source.family is None:
        raise RuntimeError(
            f"[{source.name}] and [{target.name}] do not have the same number of channel"
        )
    raise RuntimeError(
        f"[{source.name}] is a color format but [{target.name}] is not so they must have the "
        "same OpenCV type, CV_8UC3, CV16UC1 ...."
    )


def _convert_depth(image: np.ndarray, source: Encoding, target: Encoding) -> np.ndarray:
    """Change the depth as cv::Mat::convertTo does: rounded to even, saturated."""
    scale = 1.0
    if (source.bit_depth, target.bit_depth) == (8, 16):
        scale = 65535.0 / 255.0
    elif (source.bit_depth, target.bit_depth) == (16, 8):
        scale = 255.0 / 65535.0
    dtype = np.dtype(_NUMPY_DEPTHS[target.depth])
    if image.dtype == dtype and scale == 1.0:
        return image.copy()
    if dtype.kind == "f":
        return (image * scale).astype(dtype) if scale != 1.0 else image.astype(dtype)
    limits: Any = np.iinfo(dtype)
    values = np.rint(image.astype(np.float64) * scale)
    values = np.nan_to_num(values, nan=limits.min, posinf=limits.max, neginf=limits.min)
    return np.clip(values, limits.min, limits.max).astype(dtype)


def _squeeze(image: np.ndarray) -> np.ndarray:
    return image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
