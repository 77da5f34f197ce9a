"""Fixed transforms between named frames, as `/tf_static` brings them."""

from __future__ import annotations

from collections import deque

import numpy as np

from seg2d3d_ros.errors import CalibrationError, ConfigError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import FloatArray


class FrameTree:
    """Fixed links between frames; a leading slash of a name is dropped as tf2 does."""

    def __init__(self) -> None:
        """Start without links."""
        self._links: dict[str, dict[str, FloatArray]] = {}
        self._names: dict[str, str] = {}

    def __len__(self) -> int:
        """Return the number of links."""
        return len(self._names)

    def add(self, parent: str, child: str, T_parent_child: FloatArray) -> None:
        """Add a link or replace the child's: p_parent = T_parent_child @ p_child."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        self._remove(child)
        self._names[child] = parent
        self._links.setdefault(parent, {})[child] = T_parent_child
        self._links.setdefault(child, {})[parent] = transforms.invert(T_parent_child)

    def _remove(self, child: str) -> None:
        parent = self._names.pop(child, None)
        if parent is not None:
            self._links[parent].pop(child, None)
            self._links[child].pop(parent, None)

    def links(self) -> list[str]:
        """Return the links as `parent -> child`, sorted."""
        return sorted(f"{parent} -> {child}" for child, parent in self._names.items())

    def __contains__(self, frame: str) -> bool:
        """Return whether any link names the frame."""
        return bool(self._links.get(frame.lstrip("/")))

    def connects(self, target: str, source: str) -> bool:
        """Return whether a chain of links joins the two frames."""
        return self._chain(target.lstrip("/"), source.lstrip("/")) is not None

    def lookup(self, target: str, source: str) -> FloatArray:
        """Return T_target_source (4, 4) along the chain of links.

        Raises:
            CalibrationError: no chain joins them; the message names both and every link there is.
        """
        chain = self._chain(target.lstrip("/"), source.lstrip("/"))
        if chain is None:
            known = ", ".join(self.links()) or "none"
            raise CalibrationError(
                f"no fixed transform from '{source}' to '{target}'; the links in the recording "
                f"are: {known}. Record a /tf_static that joins the two, state the link by "
                "inputs.transforms, or set inputs.base_frame"
            )
        T = transforms.rigid([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0, 0, 0])
        for a, b in zip(chain, chain[1:], strict=False):
            T = T @ self._links[a][b]
        return T

    def _chain(self, target: str, source: str) -> list[str] | None:
        if target == source:
            return [target]
        came_from: dict[str, str] = {target: ""}
        queue = deque([target])
        while queue:
            frame = queue.popleft()
            for near in sorted(self._links.get(frame, {})):
                if near in came_from:
                    continue
                came_from[near] = frame
                if near == source:
                    chain = [near]
                    while came_from[chain[-1]]:
                        chain.append(came_from[chain[-1]])
                    return chain[::-1]
                queue.append(near)
        return None


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
