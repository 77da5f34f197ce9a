"""Tentative, confirmed, archived: how far instances are decided about, and when that changes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping

import numpy as np

from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import EventKind, Instance, InstanceState


class Lifecycle:
    """Follows the vehicle; what it has not seen for long is archived until it is seen again.

    Nothing is decided about an archived instance, for nothing touches its places; `finish` decides
    about everything anew.

    Attributes:
        archived: Ids out of sight.
    """

    def __init__(self, state: MapState, archive_after_m: float) -> None:
        """Start at rest; instances are archived after so many metres out of sight."""
        self._state, self._after_m = state, archive_after_m
        self._stamps_ns: list[int] = []
        self._travelled_m: list[float] = []
        self._last_ns: dict[int, int] = {}
        self._seen_at_m: dict[int, float] = {}
        self.archived: set[int] = set()

    def state_of(self, instance: int) -> InstanceState:
        """Return the state of an instance that is shown."""
        return InstanceState.ARCHIVED if instance in self.archived else InstanceState.CONFIRMED

    def review(
        self, changed: Iterable[int], shown: Mapping[int, Instance]
    ) -> list[tuple[EventKind, int]]:
        """Take in what a cluster changed.

        Args:
            changed: Ids that were described anew, or are shown no longer.
            shown: What is shown, by id.

        Returns:
            What became of whom, in this order: gone out of sight, confirmed or seen again by id.
        """
        self._follow()
        out = []
        for i in sorted(changed):
            before, instance = self._last_ns.get(i), shown.get(i)
            if instance is None:
                self._forget(i)
                continue
            if before is None:
                out.append((EventKind.CONFIRMED, i))
            elif i in self.archived and instance.last_stamp_ns > before:
                self.archived.discard(i)
                out.append((EventKind.REOPENED, i))
            self._last_ns[i] = instance.last_stamp_ns
            if i not in self.archived:
                self._seen_at_m[i] = self._metres_at(instance.last_stamp_ns)
        now = self._travelled_m[-1] if self._travelled_m else 0.0
        reach = self._after_m * self._state.unit
        late = sorted(i for i, seen in self._seen_at_m.items() if now - seen > reach)
        for i in late:
            del self._seen_at_m[i]
        self.archived.update(late)
        return [*((EventKind.ARCHIVED, i) for i in late), *out]

    def _forget(self, instance: int) -> None:
        self.archived.discard(instance)
        self._last_ns.pop(instance, None)
        self._seen_at_m.pop(instance, None)

    def _follow(self) -> None:
        """Add up the way of the frames that are new, in the order in which they came."""
        for k in range(len(self._stamps_ns), len(self._state.frames)):
            frame, step = self._state.frames[k], 0.0
            if k > 0:
                way = frame.T_world_base[:3, 3] - self._state.frames[k - 1].T_world_base[:3, 3]
                step = float(np.linalg.norm(way))
            before = self._travelled_m[-1] if self._travelled_m else 0.0
            # A run that begins anew may bear stamps that were there before.
            latest = max(frame.stamp_ns, self._stamps_ns[-1] if self._stamps_ns else 0)
            self._stamps_ns.append(latest)
            self._travelled_m.append(before + step)

    def _metres_at(self, stamp_ns: int) -> float:
        row = bisect_right(self._stamps_ns, stamp_ns) - 1
        return self._travelled_m[max(row, 0)] if self._travelled_m else 0.0
