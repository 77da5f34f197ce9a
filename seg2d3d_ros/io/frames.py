"""Fixed transforms between named frames, as `/tf_static` brings them."""

from __future__ import annotations

from collections import deque

from seg2d3d_ros.errors import CalibrationError
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
                f"are: {known}. Record a /tf_static that joins the two, or set inputs.base_frame"
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
