"""Fixed transforms between named frames, as `/tf_static` brings them."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.errors import CalibrationError, ConfigError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import FloatArray


class FrameTree:
    """Fixed links between frames; a leading slash of a name is dropped as tf2 does."""

    def __init__(self) -> None:
        """Start without links."""
        self._above: dict[str, tuple[str, FloatArray]] = {}

    def __len__(self) -> int:
        """Return the number of links."""
        return len(self._above)

    def add(self, parent: str, child: str, T_parent_child: FloatArray) -> None:
        """Add a link or replace the child's: p_parent = T_parent_child @ p_child."""
        self._above[child.lstrip("/")] = parent.lstrip("/"), T_parent_child

    def connects(self, target: str, source: str) -> bool:
        """Return whether a chain of links joins the two frames."""
        return not self._ways_up(target).keys().isdisjoint(self._ways_up(source))

    def lookup(self, target: str, source: str) -> FloatArray:
        """Return T_target_source (4, 4) along the chain of links.

        Raises:
            CalibrationError: no chain joins them; the message names both and every link there is.
        """
        of_target, of_source = self._ways_up(target), self._ways_up(source)
        joint = next((frame for frame in of_target if frame in of_source), None)
        if joint is None:
            links = sorted(f"{parent} -> {child}" for child, (parent, _) in self._above.items())
            raise CalibrationError(
                f"no fixed transform from '{source}' to '{target}'; the links in the recording "
                f"are: {', '.join(links) or 'none'}. Record a /tf_static that joins the two, "
                "state the link by inputs.transforms, or set inputs.base_frame"
            )
        return transforms.invert(of_target[joint]) @ of_source[joint]

    def _ways_up(self, frame: str) -> dict[str, FloatArray]:
        """Return T_ancestor_frame (4, 4) of a frame and all above it, from itself upwards."""
        frame, T = frame.lstrip("/"), np.eye(4)
        ways = {frame: T}
        while frame in self._above and self._above[frame][0] not in ways:
            frame, T_parent_child = self._above[frame]
            T = T_parent_child @ T
            ways[frame] = T
        return ways


def parse_link(text: str) -> tuple[str, str, FloatArray]:
    """Return parent, child and T_parent_child (4, 4) of a link as `inputs.transforms` states it.

    `x y z qx qy qz qw frame child`, or `x y z yaw pitch roll frame child` with
    R = Rz(yaw) Ry(pitch) Rx(roll): metres and radians, as static_transform_publisher of tf2_ros.

    Raises:
        ConfigError: the text is no link.
    """
    *numbers, parent, child = text.split() if len(text.split()) > 1 else ("", "")
    try:
        values = np.array([float(number) for number in numbers])
    except ValueError:
        values = np.zeros(0)
    is_quaternion = len(values) == 7 and np.linalg.norm(values[3:]) > 1e-6
    if not (is_quaternion or len(values) == 6) or not np.isfinite(values).all():
        raise ConfigError(
            f"inputs.transforms holds '{text}'; needed is 'x y z qx qy qz qw frame child' or "
            "'x y z yaw pitch roll frame child', in metres and rad"
        )
    if is_quaternion:
        return parent, child, transforms.from_quaternion(values[3:], values[:3])
    yaw, pitch, roll = values[3:]
    turns = [transforms.exp([*axis, 0, 0, 0]) for axis in np.diag([yaw, pitch, roll])[:, ::-1]]
    return parent, child, transforms.rigid(np.eye(3), values[:3]) @ turns[0] @ turns[1] @ turns[2]
