"""What the encoding strings of sensor_msgs/Image mean."""

import re
from dataclasses import dataclass
from enum import Enum

import cv2

_DEPTHS = {
    "8U": cv2.CV_8U,
    "8S": cv2.CV_8S,
    "16U": cv2.CV_16U,
    "16S": cv2.CV_16S,
    "32S": cv2.CV_32S,
    "32F": cv2.CV_32F,
    "64F": cv2.CV_64F,
}
_GENERIC = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C([0-9]+))?")

# CV_MAKETYPE(depth, channels) is depth + step * (channels - 1). The step grew in OpenCV 5.
_CHANNEL_STEP = cv2.CV_MAKETYPE(0, 2)
_MAX_CHANNELS = 128


class Family(Enum):
    """Orders of colour channels between which pictures are converted."""

    GRAY = "GRAY"
    RGB = "RGB"
    BGR = "BGR"
    RGBA = "RGBA"
    BGRA = "BGRA"
    UYVY = "UYVY"
    YUY2 = "YUY2"
    BAYER_RGGB = "BayerBG"
    BAYER_BGGR = "BayerRG"
    BAYER_GBRG = "BayerGR"
    BAYER_GRBG = "BayerGB"


@dataclass(frozen=True)
class Encoding:
    """One encoding.

    Attributes:
        name: As it stands in the message.
        depth: OpenCV depth (`cv2.CV_8U`, …).
        num_channels: Channels per pixel.
        bit_depth: Bits per channel.
        family: Meaning of the channels; None for the generic encodings (`8UC3`, `32FC1`, …).
    """

    name: str
    depth: int
    num_channels: int
    bit_depth: int
    family: Family | None

    @property
    def cv_type(self) -> int:
        """The OpenCV type, such as `cv2.CV_8UC3`."""
        return int(cv2.CV_MAKETYPE(self.depth, self.num_channels))


def _named_encodings() -> dict[str, Encoding]:
    families = {
        "mono": (Family.GRAY, 1),
        "rgb": (Family.RGB, 3),
        "bgr": (Family.BGR, 3),
        "rgba": (Family.RGBA, 4),
        "bgra": (Family.BGRA, 4),
        "bayer_rggb": (Family.BAYER_RGGB, 1),
        "bayer_bggr": (Family.BAYER_BGGR, 1),
        "bayer_gbrg": (Family.BAYER_GBRG, 1),
        "bayer_grbg": (Family.BAYER_GRBG, 1),
    }
    table = {}
    for prefix, (family, num_channels) in families.items():
        for bit_depth, depth in ((8, cv2.CV_8U), (16, cv2.CV_16U)):
            name = f"{prefix}{bit_depth}"
            table[name] = Encoding(name, depth, num_channels, bit_depth, family)
    for name, family in (
        ("yuv422", Family.UYVY),
        ("uyvy", Family.UYVY),
        ("yuv422_yuy2", Family.YUY2),
        ("yuyv", Family.YUY2),
    ):
        table[name] = Encoding(name, cv2.CV_8U, 2, 8, family)
    return table


_NAMED = _named_encodings()


def parse_encoding(name: str) -> Encoding:
    """Look an encoding up.

    Args:
        name: Such as `bgr8`, `bayer_rggb8`, `16UC1` or `8U`.

    Returns:
        What it means.

    Raises:
        RuntimeError: There is no such encoding.
    """
    if name in _NAMED:
        return _NAMED[name]
    match = _GENERIC.fullmatch(name)
    if match is None or match[2] is not None and not 1 <= int(match[2]) <= _MAX_CHANNELS:
        raise RuntimeError(f"Unrecognized image encoding [{name}]")
    num_channels = int(match[2] or 1)
    return Encoding(name, _DEPTHS[match[1]], num_channels, int(match[1][:-1]), None)


def getCvType(encoding: str) -> int:
    """Give the OpenCV type of an encoding; raises RuntimeError where there is no such encoding."""
    return parse_encoding(encoding).cv_type


def split_cv_type(cv_type: int) -> tuple[int, int]:
    """Split an OpenCV type into its depth and its number of channels."""
    return cv_type % _CHANNEL_STEP, cv_type // _CHANNEL_STEP + 1
