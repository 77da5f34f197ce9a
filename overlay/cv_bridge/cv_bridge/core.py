"""The bridge itself."""

import sys
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from cv_bridge.colors import convert_color
from cv_bridge.encodings import getCvType, split_cv_type

_IS_BIG_ENDIAN_HOST = sys.byteorder == "big"


class CvBridgeError(TypeError):
    """Raised where a conversion is not possible."""


class CvBridge:
    """Converts between OpenCV pictures (NumPy arrays) and ROS image messages."""

    def __init__(self) -> None:
        """Make the tables that other code reads from a bridge."""
        names = {
            cv2.CV_8U: ("8U", "uint8"),
            cv2.CV_8S: ("8S", "int8"),
            cv2.CV_16U: ("16U", "uint16"),
            cv2.CV_16S: ("16S", "int16"),
            cv2.CV_32S: ("32S", "int32"),
            cv2.CV_32F: ("32F", "float32"),
            cv2.CV_64F: ("64F", "float64"),
        }
        self.cvdepth_to_numpy_depth = {depth: dtype for depth, (_, dtype) in names.items()}
        self.cvtype_to_name = {
            cv2.CV_MAKETYPE(depth, num_channels): f"{name}C{num_channels}"
            for depth, (name, _) in names.items()
            for num_channels in (1, 2, 3, 4)
        }
        self.numpy_type_to_cvtype = {dtype: name for name, dtype in names.values()}
        self.numpy_type_to_cvtype.update(dict(names.values()))

    def dtype_with_channels_to_cvtype2(self, dtype: np.dtype, n_channels: int) -> str:
        """Name the OpenCV type of a NumPy type, such as `8UC3`; KeyError where there is none."""
        return f"{self.numpy_type_to_cvtype[dtype.name]}C{n_channels}"

    def cvtype2_to_dtype_with_channels(self, cvtype: int) -> tuple[str, int]:
        """Give the NumPy type's name and the number of channels of an OpenCV type."""
        depth, num_channels = split_cv_type(cvtype)
        return self.cvdepth_to_numpy_depth[depth], num_channels

    def encoding_to_cvtype2(self, encoding: str) -> int:
        """Give the OpenCV type of an encoding; CvBridgeError where there is no such encoding."""
        try:
            return getCvType(encoding)
        except RuntimeError as error:
            raise CvBridgeError(error) from error

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """Give the NumPy type's name and the number of channels of an encoding."""
        return self.cvtype2_to_dtype_with_channels(self.encoding_to_cvtype2(encoding))

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> np.ndarray:
        """Convert an Image to a picture.

        Args:
            img_msg: The message; rows may be padded, bytes in either order.
            desired_encoding: `passthrough` keeps the message's; else a standard encoding.

        Returns:
            (h, w) or (h, w, c) array in native byte order. With `passthrough`, unpadded rows and
            native bytes it shares the message's memory; otherwise it is a copy.

        Raises:
            CvBridgeError: Unknown encoding, no such conversion, or fewer bytes than rows times
                step.
        """
        name, num_channels = self.encoding_to_dtype_with_channels(img_msg.encoding)
        image = _view_pixels(img_msg, np.dtype(name), num_channels)
        if bool(img_msg.is_bigendian) != _IS_BIG_ENDIAN_HOST and image.dtype.itemsize > 1:
            image = image.byteswap()
        if desired_encoding == "passthrough":
            return image
        return _convert(image, img_msg.encoding, desired_encoding)

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough"
    ) -> Any:
        """Decode a CompressedImage.

        Args:
            cmprs_img_msg: The message; OpenCV finds the format by itself.
            desired_encoding: `passthrough` keeps what was decoded; else it is taken for `bgr8`
                (a grey picture too, as the original does) and converted.

        Returns:
            The picture as OpenCV decodes it unchanged; None with `passthrough` where it cannot.

        Raises:
            CvBridgeError: There is no such conversion.
            cv2.error: The message is empty.
        """
        buffer = np.frombuffer(cmprs_img_msg.data, dtype=np.uint8)
        image = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
        if desired_encoding == "passthrough":
            return image
        if image is None:
            raise CvBridgeError("the compressed picture could not be decoded")
        return _convert(image, "bgr8", desired_encoding)

    def cv2_to_imgmsg(
        self, cvim: np.ndarray, encoding: str = "passthrough", header: Any = None
    ) -> Image:
        """Convert a picture to an Image without padding.

        Args:
            cvim: (h, w) or (h, w, c) array.
            encoding: `passthrough` names the type (`8UC3`); else an encoding of the same type.
            header: std_msgs/Header of the message.

        Returns:
            The message; its bytes are in the array's order, which `is_bigendian` tells.

        Raises:
            TypeError: `cvim` is no NumPy array.
            CvBridgeError: The encoding does not fit the type of the array.
        """
        if not isinstance(cvim, np.ndarray | np.generic):
            raise TypeError("Your input type is not a numpy array")
        message = Image()
        message.height, message.width = cvim.shape[0], cvim.shape[1]
        if header is not None:
            message.header = header
        num_channels = 1 if cvim.ndim < 3 else cvim.shape[2]
        cv_type = self.dtype_with_channels_to_cvtype2(cvim.dtype, num_channels)
        message.encoding = cv_type if encoding == "passthrough" else encoding
        if encoding != "passthrough":
            if self.cvtype_to_name[self.encoding_to_cvtype2(encoding)] != cv_type:
                raise CvBridgeError(
                    f"encoding specified as {encoding}, but image has incompatible type {cv_type}"
                )
        if cvim.dtype.byteorder == ">" or (cvim.dtype.byteorder == "=" and _IS_BIG_ENDIAN_HOST):
            message.is_bigendian = True
        # The message's own array.array takes the bytes at once; assigning an array of NumPy
        # would check every single one.
        message.data.frombytes(_raw_bytes(cvim))
        message.step = len(message.data) // message.height
        return message

    def cv2_to_compressed_imgmsg(
        self, cvim: np.ndarray, dst_format: str = "jpg"
    ) -> CompressedImage:
        """Encode a picture as a CompressedImage.

        Args:
            cvim: (h, w) or (h, w, 3) array, BGR.
            dst_format: Ending of a format that OpenCV writes, such as `jpg` or `png`.

        Returns:
            The message; its `format` is `dst_format`.

        Raises:
            TypeError: `cvim` is no NumPy array.
            cv2.error: OpenCV does not write that format.
        """
        if not isinstance(cvim, np.ndarray | np.generic):
            raise TypeError("Your input type is not a numpy array")
        message = CompressedImage()
        message.format = dst_format
        message.data.frombytes(_raw_bytes(cv2.imencode("." + dst_format, cvim)[1]))
        return message


def _convert(image: np.ndarray, source: str, target: str) -> np.ndarray:
    try:
        return convert_color(image, source, target)
    except RuntimeError as error:
        raise CvBridgeError(error) from error


def _raw_bytes(array: np.ndarray) -> Any:
    if array.size and array.flags.c_contiguous:
        return array.reshape(-1).view(np.uint8).data
    return array.tobytes()


def _view_pixels(message: Image, dtype: np.dtype, num_channels: int) -> np.ndarray:
    """View the message's bytes as pixels; a copy only where rows are padded.

    A step that is too short for the width gives a picture as wide as the step, as the original
    does; callers that care compare the shape with the message.
    """
    data = bytes(message.data) if isinstance(message.data, list) else message.data
    buffer = np.frombuffer(data, dtype=np.uint8)
    num_bytes = message.height * message.step
    if buffer.size < num_bytes:
        raise CvBridgeError(
            f"buffer is too small for requested array: {message.height} rows of "
            f"{message.step} bytes need {num_bytes}, there are {buffer.size}"
        )
    pixel_size = dtype.itemsize * num_channels
    width = min(message.width, message.step // pixel_size)
    rows = buffer[:num_bytes].reshape(message.height, message.step)
    pixels = np.ascontiguousarray(rows[:, : width * pixel_size]).view(dtype)
    shape = (message.height, width) if num_channels == 1 else (message.height, width, num_channels)
    return pixels.reshape(shape)
