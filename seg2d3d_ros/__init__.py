"""Camera-only mapping of building instances: masks, clusters of keyframes, one labelled map."""

from pkgutil import extend_path

# rosidl installs the messages as another portion of this package (`seg2d3d_ros.msg`).
__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"
