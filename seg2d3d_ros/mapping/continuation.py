"""A new run onto a map that is there: its numbers are shifted past those of the runs before."""

from __future__ import annotations

from dataclasses import dataclass, replace

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.types import Cluster, Rig


@dataclass
class Continuation:
    """Tells the clusters of one run from those of the next, and keeps their numbers apart.

    Clusters, sessions and landmarks are numbered from 0 in every run. A run goes on where the
    next number is due; a lower one begins another run.

    Attributes:
        num_runs: Runs so far.
        is_restored: The map was read back: only the very next cluster of a session that went on
            is of the same run.
    """

    num_runs: int = 0
    is_restored: bool = False
    _last: int = -1
    _session: int = -1
    _shift: tuple[int, int, int] = (0, 0, 0)
    _next: tuple[int, int, int] = (0, 0, 0)

    def renumber(self, cluster: Cluster, rig: Rig | None) -> Cluster:
        """Return the cluster with numbers that no run before has used.

        Args:
            cluster: As the cluster stage numbers it.
            rig: Cameras of the map so far.

        Raises:
            InputError: a new run has other cameras than the map.
        """
        is_next = cluster.sequence == self._last + 1 and cluster.session == self._session
        if self.num_runs == 0 or not (
            is_next if self.is_restored else cluster.sequence > self._last
        ):
            _check_cameras(cluster.rig, rig)
            self._shift = self._next
            self.num_runs += 1
        self.is_restored = False
        self._last, self._session = cluster.sequence, cluster.session
        sequence, session, landmark = self._shift
        ids = cluster.landmarks.ids
        moved = cluster
        if self._shift != (0, 0, 0):
            moved = replace(
                cluster,
                sequence=cluster.sequence + sequence,
                session=cluster.session + session,
                landmarks=replace(cluster.landmarks, ids=ids + landmark),
            )
        highest = int(moved.landmarks.ids.max()) + 1 if len(ids) else 0
        self._next = (moved.sequence + 1, moved.session + 1, max(self._next[2], highest))
        return moved


def _check_cameras(new: Rig, old: Rig | None) -> None:
    if old is None or [c.name for c in new.cameras] == [c.name for c in old.cameras]:
        return
    names = [", ".join(c.name for c in rig.cameras) for rig in (new, old)]
    raise InputError(
        f"the new run has the cameras {names[0]}, the map {names[1]}: a run onto a map needs the "
        "same cameras, under the same names"
    )
