"""Conversions between OpenCV pictures and ROS image messages, with the API of cv_bridge.

A stand-in for machines where no ROS distribution brings the package. The names, arguments and
results are those of the original; `cvtColorForDisplay` is left out.
"""

from cv_bridge.core import CvBridge, CvBridgeError
from cv_bridge.encodings import getCvType

__all__ = ["CvBridge", "CvBridgeError", "getCvType"]
