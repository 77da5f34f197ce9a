"""The accounts of a live run, put together from what clusters carry and the other nodes report."""

from __future__ import annotations

import resource
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from seg2d3d_ros import config as configuration
from seg2d3d_ros.accounts import FrameCounts, RunReport
from seg2d3d_ros.config import Config
from seg2d3d_ros.nodes.node_runs import NodeRuns
from seg2d3d_ros.nodes.picture_accounts import AFTER_FINISH
from seg2d3d_ros.types import Cluster

_LONG_AGO_NS = -(1 << 62)
_RECEIVED = "received."
_UNHEARD = -1

#: Why a picture is in no cluster: the node that held it was killed, or there was none.
NODE_ENDED = "node_ended"


class LiveAccounts:
    """Counts pictures so that received = processed + dropped by reason, per camera.

    Attributes:
        runs: What the processes of the other nodes have received.
    """

    def __init__(self, over: frozenset[int] = frozenset()) -> None:
        """Start at zero; `over` are runs of nodes that belong to an earlier map."""
        self.runs = NodeRuns(over)
        self._lock = threading.Lock()  # clusters and words about runs come in different threads
        self._known_before: Counter[str] = Counter()
        # Run of the clusters node that the newest cluster is of; unheard: the next one heard.
        self._run_mapped = self._run_before = _UNHEARD
        self._has_ended = False
        self.num_restarts = 0
        self._processed: Counter[str] = Counter()
        self._dropped: dict[str, Counter[str]] = {}
        self._segmentation: dict[str, Counter[str]] = {}
        self._session, self._counted_ns = -1, _LONG_AGO_NS
        self._stamps_ns: tuple[int, int] | None = None
        self._remarks: tuple[str, ...] = ()
        self._reports: dict[str, dict[str, Any]] = {}
        self._heard_s = self._ending_s = 0.0
        self.num_clusters = 0
        self.has_last = False

    def mapped(self, cluster: Cluster) -> None:
        """Count what a cluster used for the first time, and what it says was dropped."""
        self.num_clusters += 1
        if self.num_clusters == 1:
            self._begin_clusters()
        self.has_last = self.has_last or cluster.is_last
        self._remarks = cluster.rig.remarks
        if cluster.session != self._session:  # after a jump back in time stamps come again
            self._session, self._counted_ns = cluster.session, _LONG_AGO_NS
        for frame in cluster.frames:
            if frame.stamp_ns <= self._counted_ns:
                continue
            for camera, stamp_ns in zip(frame.cameras, frame.picture_stamps_ns, strict=True):
                self._processed[cluster.rig.cameras[camera].name] += 1
                first, last = self._stamps_ns or (stamp_ns, stamp_ns)
                self._stamps_ns = min(first, stamp_ns), max(last, stamp_ns)
        if cluster.frames:
            self._counted_ns = cluster.frames[-1].stamp_ns
        for dropped in cluster.dropped:
            self._dropped.setdefault(dropped.camera, Counter())[dropped.reason] += 1
        for made in cluster.segmentations:
            self._segmentation.setdefault(made.camera, Counter())[str(made.status)] += 1

    def begin_again(self) -> None:
        """Take note that clusters come from a node that was started again."""
        self.num_restarts += 1
        self._known_before = Counter({name: self._known(name) for name in self._names()})
        self._counted_ns = _LONG_AGO_NS
        self._begin_clusters()

    def _begin_clusters(self) -> None:
        with self._lock:
            newest = self.runs.newest_run("clusters")
            self._run_mapped = newest if newest > self._run_before else _UNHEARD
            self._run_before = newest

    def _tell(self, node: str, run: int, received: Mapping[str, int]) -> None:
        with self._lock:
            self.runs.tell(node, run, received)
            newest = self.runs.newest_run("clusters")
            if self._run_mapped == _UNHEARD and self.num_clusters and newest > self._run_before:
                self._run_mapped = self._run_before = newest

    def ended(self) -> None:
        """Take note that the clusters node does not answer any more: what it held is lost."""
        self._has_ended = True

    def lost(self) -> dict[str, int]:
        """Return the pictures per camera that clusters nodes held which were started again."""
        if not self._is_newest_mapped:  # clusters of the one before may still wait to be mapped
            return {}
        held = {name: self._held(name) for name in self._names()}
        return {name: num for name, num in held.items() if num}

    def loss(self) -> str:
        """Return a sentence about pictures that were lost with a node; empty if none was."""
        dropped = {name: c.dropped.get(NODE_ENDED, 0) for name, c in self._frames().items()}
        lost = {name: num for name, num in dropped.items() if num}
        return f"lost with node 'clusters', which has ended: {say_lost(lost)}" if lost else ""

    def told(self, node: str, values: Mapping[str, str]) -> None:
        """Take what another node says in /diagnostics.

        Args:
            node: `segmentation` or `clusters`.
            values: Its values by key.
        """
        if not values.get("run", "").isdigit():
            return  # it is not working yet
        received = {
            key.removeprefix(_RECEIVED): int(num) - int(values.get(_after(key), 0))
            for key, num in values.items()
            if key.startswith(_RECEIVED)
        }
        self._tell(node, int(values["run"]), received)

    def heard(self, node: str, report: dict[str, Any]) -> None:
        """Take what another node reported when it was flushed."""
        self._reports[node] = report
        self._has_ended = self._has_ended and node != "clusters"
        self.runs.claim(report.get("run", 0))
        self._tell(node, report.get("run", 0), report.get("received", {}))
        self._heard_s = time.monotonic()

    def finished(self) -> None:
        """Count the time until now as part of the run, the first time it is called."""
        if not self._ending_s and self._heard_s:
            self._ending_s = time.monotonic() - self._heard_s

    def report(
        self, config: Config, seconds: dict[str, float], counts: dict[str, float]
    ) -> RunReport:
        """Return the accounts of the run so far.

        Args:
            config: Effective configuration.
            seconds: Busy seconds of the mapping stage by name.
            counts: Counters of the mapping stage by name.
        """
        reports = self._reports.values()
        for report in reports:
            seconds = {**report.get("seconds", {}), **seconds}
            counts = {**report.get("counts", {}), **counts}
        first, last = self._stamps_ns or (0, 0)
        segmentation = self._reports.get("segmentation", {})
        said = [text for report in reports for text in report.get("remarks", ())]
        said += filter(None, [self.loss()])
        return RunReport(
            source="live",
            backend=segmentation.get("backend", ""),
            frames=self._frames(),
            seconds=seconds,
            counts=counts,
            wall_s=self._reports.get("clusters", {}).get("wall_s", 0.0) + self._ending_s,
            recording_s=(last - first) * 1e-9,
            peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
            config=configuration.to_tree(config),
            classes=self.classes,
            remarks=tuple(dict.fromkeys([*self._remarks, *said])),
        )

    @property
    def classes(self) -> dict[int, str]:
        """Return the names of classes as far as segmentation has told them."""
        told = self._reports.get("segmentation", {}).get("classes", {})
        return {int(k): v for k, v in told.items()}

    def _names(self) -> list[str]:
        return sorted({*self._processed, *self._dropped, *self.runs.cameras()})

    def _known(self, name: str) -> int:
        """Return the pictures of a camera that clusters speak of."""
        return self._processed[name] + sum(self._dropped.get(name, Counter()).values())

    @property
    def _is_newest_mapped(self) -> bool:
        """Return whether the newest cluster is of the newest run of its node."""
        if self._run_mapped == _UNHEARD:
            return self.num_clusters > 0
        return self._run_mapped == self.runs.newest_run("clusters")

    def _held(self, name: str) -> int:
        """Return the pictures of a camera that runs before the newest one took with them."""
        received = self.runs.total("clusters", name)
        if self._run_mapped != _UNHEARD or not self.num_restarts:
            received -= self.runs.newest("clusters", name)
        told = self._known_before[name] if self._is_newest_mapped else self._known(name)
        return max(0, received - told)

    def _frames(self) -> dict[str, FrameCounts]:
        statuses: dict[str, Any] = self._reports.get("segmentation", {}).get("segmentation", {})
        if not statuses or self.runs.num("segmentation") > 1:  # the report is of the newest only
            statuses = {name: dict(counts) for name, counts in self._segmentation.items()}
        return {name: self._counts(name, statuses) for name in self._names()}

    def _counts(self, name: str, statuses: dict[str, dict[str, int]]) -> FrameCounts:
        known, dropped = self._known(name), dict(self._dropped.get(name, Counter()))
        late = 0
        if self._run_mapped != _UNHEARD or not self.num_clusters:
            known_now = known - self._known_before[name] if self._is_newest_mapped else 0
            late = max(0, self.runs.newest("clusters", name) - known_now)
        received = known + late
        if self._has_ended or self.runs.num("clusters") > 1:
            # What it held is lost, and what came while there was none: segmentation has seen it.
            received = max(received + self._held(name), self.runs.total("segmentation", name))
            late = 0 if self._has_ended else late
            dropped[NODE_ENDED] = received - known - late
        dropped["not_mapped"] = late  # came after finish, or is still on its way
        return FrameCounts(
            received=received,
            processed=self._processed[name],
            dropped={reason: num for reason, num in sorted(dropped.items()) if num},
            segmentation=dict(sorted(statuses.get(name, {}).items())),
        )


def _after(key: str) -> str:
    """Return the key of pictures that came after the run, for that of those received."""
    return f"dropped.{key.removeprefix(_RECEIVED)}.{AFTER_FINISH}"


def say_lost(num_lost: Mapping[str, int]) -> str:
    """Return pictures per camera as words."""
    return ", ".join(f"{num} pictures of {name}" for name, num in sorted(num_lost.items()))
