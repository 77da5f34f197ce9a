"""Where every picture of a live run went: what came in, by run of a node, and what went out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from seg2d3d_ros.accounts import NewPictures
from seg2d3d_ros.nodes.node_runs import NodeRuns
from seg2d3d_ros.types import Cluster

#: Why a picture is in no cluster: the node that held it was killed, or there was none.
NODE_ENDED = "node_ended"
#: It came after the run was finished, or is still on its way.
NOT_MAPPED = "not_mapped"

_UNHEARD = -1


class PictureLedger:
    """Pictures per camera: those that runs of nodes received, and those that clusters speak of.

    `close` makes the two agree. What the newest run of the clusters node received, and no cluster
    speaks of, is still on its way; what the runs before it received is lost with them, and so is
    what segmentation received while there was none.

    Attributes:
        runs: What each run of the other nodes has received.
        span_ns: Stamps of the first and the last picture that was used; None before any.
    """

    def __init__(self, over: frozenset[int] = frozenset()) -> None:
        """Start empty; `over` are runs of nodes that belong to an earlier map."""
        self.runs = NodeRuns(over)
        self.span_ns: tuple[int, int] | None = None
        self._lock = threading.Lock()  # clusters and words about runs come in different threads
        self._processed: Counter[str] = Counter()
        self._dropped: Counter[tuple[str, str]] = Counter()
        # Of the node whose clusters come now: pictures that they speak of, per camera; its run, as
        # soon as that is heard; the newest run heard of when they began to come, or its own.
        self._told: Counter[str] | None = None
        self._run = self._after = _UNHEARD
        self._has_ended = False
        self._new = NewPictures()

    # -------------------------------------------------------------- entries

    def begin(self) -> None:
        """Take note that clusters come from a node that was started, or started again."""
        self._new = NewPictures()
        with self._lock:
            newest = self.runs.newest("clusters")
            self._run = newest if newest > self._after else _UNHEARD
            self._after, self._told = newest, Counter()

    def enter(self, cluster: Cluster) -> None:
        """Count what a cluster used for the first time, and what it says was dropped."""
        if self._told is None:
            self.begin()
        assert self._told is not None
        for camera, stamp_ns in self._new.of(cluster):
            self._processed[camera] += 1
            self._told[camera] += 1
            first, last = self.span_ns or (stamp_ns, stamp_ns)
            self.span_ns = min(first, stamp_ns), max(last, stamp_ns)
        self._dropped.update((d.camera, d.reason) for d in cluster.dropped)
        self._told.update(d.camera for d in cluster.dropped)

    def tell(self, node: str, run: int, received: Mapping[str, int]) -> None:
        """Take how many pictures a run of a node has received so far, per camera."""
        with self._lock:
            self.runs.tell(node, run, received)
            newest = self.runs.newest("clusters")
            if self._told is not None and self._run == _UNHEARD and newest > self._after:
                self._run = self._after = newest

    def end(self, has_ended: bool) -> None:
        """Take note whether the clusters node answers no more: what it held is lost."""
        self._has_ended = has_ended

    # -------------------------------------------------------------- closing

    @property
    def cameras(self) -> list[str]:
        """Return all cameras that are spoken of, sorted."""
        dropped = {camera for camera, _ in self._dropped}
        return sorted(self.runs.cameras().union(self._processed, dropped))

    def lost(self) -> dict[str, int]:
        """Return the pictures per camera that runs held which have ended, as far as is known.

        Nothing, while clusters of the run before the newest may still wait to be mapped.
        """
        if not self._is_newest:
            return {}
        held = {camera: self._rest(camera)[1] for camera in self.cameras}
        return {camera: num for camera, num in held.items() if num}

    def close(self, camera: str) -> tuple[int, int, dict[str, int]]:
        """Return pictures of a camera: received = processed + sum of those dropped by reason."""
        dropped = Counter({why: n for (name, why), n in self._dropped.items() if name == camera})
        processed = self._processed[camera]
        known = processed + dropped.total()
        late, held = self._rest(camera)
        received = known + late
        if self._has_ended or len(self.runs.of("clusters")) > 1:
            received = max(received + held, self._received("segmentation", camera))
            late = 0 if self._has_ended else late
            dropped[NODE_ENDED] = received - known - late
        dropped[NOT_MAPPED] = late
        return received, processed, {why: num for why, num in sorted(dropped.items()) if num}

    def _rest(self, camera: str) -> tuple[int, int]:
        """Return what no cluster speaks of: of the newest run, and of the runs before it."""
        runs, now, told = self.runs.of("clusters"), 0, 0
        if runs:
            now = runs[max(runs)][camera]
        if self._told is not None and self._is_newest:
            told = self._told[camera]
            if self._run == _UNHEARD:  # it has received what it tells, and who knows
                now = 0
        dropped = sum(num for (name, _), num in self._dropped.items() if name == camera)
        told_before = self._processed[camera] + dropped - told
        before = self._received("clusters", camera) - now
        return max(0, now - told), max(0, before - told_before)

    def _received(self, node: str, camera: str) -> int:
        """Return what all runs of a node have received from a camera."""
        return sum(received[camera] for received in self.runs.of(node).values())

    @property
    def _is_newest(self) -> bool:
        """Return whether clusters come, and from the newest run."""
        return self._told is not None and self._run in (_UNHEARD, self.runs.newest("clusters"))
