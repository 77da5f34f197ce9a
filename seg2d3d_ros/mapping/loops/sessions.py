"""Which frames belong to which session, and which sessions hang together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seg2d3d_ros.types import IntArray


class Sessions:
    """Local frames that share nothing, until loops join them into groups."""

    def __init__(self) -> None:
        """Start without sessions."""
        self._of_frame: dict[int, int] = {}
        self._group: dict[int, int] = {}
        self._is_metric: dict[int, bool] = {}

    def note(self, session: int, is_metric: bool, frames: Sequence[int]) -> None:
        """Say that frames belong to a session, and whether it is in metres."""
        self._group.setdefault(session, session)
        self._is_metric[session] = is_metric
        self._of_frame.update(dict.fromkeys(frames, session))

    @property
    def num_groups(self) -> int:
        """Return how many parts of the map have no relation to each other."""
        return len(set(self._group.values()))

    @property
    def num_sessions(self) -> int:
        """Return how many sessions there are."""
        return len(self._group)

    def of(self, frame: int) -> int:
        """Return the session of a frame."""
        return self._of_frame[frame]

    def group(self, frame: int) -> int:
        """Return the group of a frame: the smallest session in it."""
        return self._group[self._of_frame[frame]]

    def groups(self, frames: Sequence[int]) -> IntArray:
        """Return the group (n,) of each frame."""
        return np.array([self.group(k) for k in frames], dtype=np.int64)

    def frames(self, group: int) -> list[int]:
        """Return the frames of a group, sorted."""
        return [k for k in sorted(self._of_frame) if self.group(k) == group]

    def is_metric(self, frame: int) -> bool:
        """Return whether the session of a frame is in metres."""
        return self._is_metric[self._of_frame[frame]]

    def is_group_metric(self, group: int) -> bool:
        """Return whether a group is in metres."""
        return all(self._is_metric[s] for s, g in self._group.items() if g == group)

    def join(self, keeper: int, other: int) -> None:
        """Make two groups one."""
        for session, group in self._group.items():
            if group == other:
                self._group[session] = keeper
        if any(self._is_metric[s] for s, g in self._group.items() if g == keeper):
            # What was aligned to metres is in metres from then on.
            self._is_metric |= {s: True for s, g in self._group.items() if g == keeper}
