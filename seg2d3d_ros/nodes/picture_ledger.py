"""Where every picture of a live run went: what came in, by run of a node, and what went out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from seg2d3d_ros.nodes.node_runs import NodeRuns
from seg2d3d_ros.types import Cluster

#: Why a picture is in no cluster: the node that held it was killed, or there was none.
NODE_ENDED = "node_ended"
#: It came after the run was finished, or is still on its way.
NOT_MAPPED = "not_mapped"

_LONG_AGO_NS = -(1 << 62)
_UNHEARD = -1


@dataclass
class Life:
    """A run of the clusters node, by what its clusters tell.

    Attributes:
        run: Its number, as the node says it in `/diagnostics`; -1 until that is heard.
        after: The newest run that was heard of when its clusters began to come, or its own.
        processed: Pictures used, per camera.
        dropped: Pictures not used, per camera and reason.
    """

    run: int
    after: int
    processed: Counter[str] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)

    def told(self, camera: str) -> int:
        """Return the pictures of a camera that its clusters speak of."""
        return self.processed[camera] + sum(
            num for (name, _), num in self.dropped.items() if name == camera
        )


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
        self._lives: list[Life] = []
        self._has_ended = False
        self._session, self._counted_ns = -1, _LONG_AGO_NS

    # -------------------------------------------------------------- entries

    def begin(self) -> None:
        """Begin the next life: clusters come from a node that was started, or started again."""
        self._counted_ns = _LONG_AGO_NS
        with self._lock:
            newest = self.runs.newest_run("clusters")
            is_heard = newest > (self._lives[-1].after if self._lives else _UNHEARD)
            self._lives.append(Life(newest if is_heard else _UNHEARD, newest))

    def enter(self, cluster: Cluster) -> None:
        """Count what a cluster used for the first time, and what it says was dropped."""
        if not self._lives:
            self.begin()
        life = self._lives[-1]
        for camera, stamp_ns in self._new_pictures(cluster):
            life.processed[camera] += 1
            first, last = self.span_ns or (stamp_ns, stamp_ns)
            self.span_ns = min(first, stamp_ns), max(last, stamp_ns)
        life.dropped.update((d.camera, d.reason) for d in cluster.dropped)

    def _new_pictures(self, cluster: Cluster) -> Iterator[tuple[str, int]]:
        if cluster.session != self._session:  # after a jump back in time stamps come again
            self._session, self._counted_ns = cluster.session, _LONG_AGO_NS
        for frame in cluster.frames:
            if frame.stamp_ns > self._counted_ns:
                for camera, stamp_ns in zip(frame.cameras, frame.picture_stamps_ns, strict=True):
                    yield cluster.rig.cameras[camera].name, stamp_ns
        if cluster.frames:
            self._counted_ns = cluster.frames[-1].stamp_ns

    def tell(self, node: str, run: int, received: Mapping[str, int]) -> None:
        """Take how many pictures a run of a node has received so far, per camera."""
        with self._lock:
            self.runs.tell(node, run, received)
            newest = self.runs.newest_run("clusters")
            life = self._lives[-1] if self._lives else None
            if life is not None and life.run == _UNHEARD and newest > life.after:
                life.run = life.after = newest

    def end(self, has_ended: bool) -> None:
        """Take note whether the clusters node answers no more: what it held is lost."""
        self._has_ended = has_ended

    # -------------------------------------------------------------- closing

    @property
    def cameras(self) -> list[str]:
        """Return all cameras that are spoken of, sorted."""
        counted = {c for life in self._lives for c in life.processed}
        dropped = {c for life in self._lives for c, _ in life.dropped}
        return sorted(counted | dropped | self.runs.cameras())

    def lost(self) -> dict[str, int]:
        """Return the pictures per camera that runs held which have ended, as far as is known.

        Nothing, while clusters of the run before the newest may still wait to be mapped.
        """
        if not self._lives or not self._is_newest(self._lives[-1]):
            return {}
        held = {camera: self._rest(camera)[1] for camera in self.cameras}
        return {camera: num for camera, num in held.items() if num}

    def close(self, camera: str) -> tuple[int, int, dict[str, int]]:
        """Return pictures of a camera: received = processed + sum of those dropped by reason."""
        dropped: Counter[str] = Counter()
        for life in self._lives:
            for (name, reason), num in life.dropped.items():
                dropped[reason] += num * (name == camera)
        processed = sum(life.processed[camera] for life in self._lives)
        known = processed + dropped.total()
        late, held = self._rest(camera)
        received = known + late
        if self._has_ended or self.runs.num("clusters") > 1:
            received = max(received + held, self.runs.total("segmentation", camera))
            late = 0 if self._has_ended else late
            dropped[NODE_ENDED] = received - known - late
        dropped[NOT_MAPPED] = late
        return received, processed, {why: num for why, num in sorted(dropped.items()) if num}

    def _rest(self, camera: str) -> tuple[int, int]:
        """Return what no cluster speaks of: of the newest run, and of the runs before it."""
        received, told = self.runs.newest("clusters", camera), 0
        if self._lives and self._is_newest(self._lives[-1]):
            told = self._lives[-1].told(camera)
            if self._lives[-1].run == _UNHEARD:  # it has received what it tells, and who knows
                received = 0
        before = self.runs.total("clusters", camera) - received
        told_before = sum(life.told(camera) for life in self._lives) - told
        return max(0, received - told), max(0, before - told_before)

    def _is_newest(self, life: Life) -> bool:
        """Return whether a life is that of the newest run."""
        return life.run in (_UNHEARD, self.runs.newest_run("clusters"))
