"""The accounts of a live run, put together from what clusters carry and the other nodes report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from seg2d3d_ros import config as configuration
from seg2d3d_ros.accounts import FrameCounts, RunReport
from seg2d3d_ros.config import Config
from seg2d3d_ros.nodes.picture_accounts import AFTER_FINISH
from seg2d3d_ros.nodes.picture_ledger import NODE_ENDED, PictureLedger
from seg2d3d_ros.segmentation.classes import CITYSCAPES
from seg2d3d_ros.stage_process import peak_memory_mib
from seg2d3d_ros.types import Cluster

_RECEIVED = "received."


class LiveAccounts:
    """Counts pictures so that received = processed + dropped by reason, per camera.

    Attributes:
        ledger: The pictures.
        num_clusters: Clusters mapped.
        has_last: The cluster that none follows has been mapped.
    """

    def __init__(self, over: frozenset[int] = frozenset()) -> None:
        """Start at zero; `over` are runs of nodes that belong to an earlier map."""
        self.ledger = PictureLedger(over)
        self._segmentation: dict[str, Counter[str]] = {}
        self._remarks: tuple[str, ...] = ()
        self._reports: dict[str, dict[str, Any]] = {}
        self._heard_s = self._ending_s = 0.0
        self.num_clusters = 0
        self.has_last = False

    def mapped(self, cluster: Cluster) -> None:
        """Count what a cluster used for the first time, and what it says was dropped."""
        self.num_clusters += 1
        self.has_last = self.has_last or cluster.is_last
        self._remarks = cluster.rig.remarks
        self.ledger.enter(cluster)
        for made in cluster.segmentations:
            self._segmentation.setdefault(made.camera, Counter())[str(made.status)] += 1

    def loss(self) -> str:
        """Return a sentence about pictures that were lost with a node; empty if none was."""
        dropped = {name: c.dropped.get(NODE_ENDED, 0) for name, c in self._frames().items()}
        lost = {name: num for name, num in dropped.items() if num}
        return say_lost(lost) if lost else ""

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
        self.ledger.tell(node, int(values["run"]), received)

    def heard(self, node: str, report: dict[str, Any]) -> None:
        """Take what another node reported when it was flushed."""
        self._reports[node] = report
        if node == "clusters":
            self.ledger.end(False)
        self.ledger.runs.claim(report.get("run", 0))
        self.ledger.tell(node, report.get("run", 0), report.get("received", {}))
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
        first, last = self.ledger.span_ns or (0, 0)
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
            peak_memory_mib=peak_memory_mib(),
            config=configuration.to_tree(config),
            classes=self.classes,
            remarks=tuple(dict.fromkeys([*self._remarks, *said])),
        )

    @property
    def classes(self) -> dict[int, str]:
        """Return the names of classes: those of Cityscapes, until segmentation has told them."""
        told = self._reports.get("segmentation", {}).get("classes", {})
        return {int(k): v for k, v in told.items()} or dict(CITYSCAPES)

    def _frames(self) -> dict[str, FrameCounts]:
        statuses: dict[str, Any] = self._reports.get("segmentation", {}).get("segmentation", {})
        # The report is of the newest run only.
        if not statuses or len(self.ledger.runs.of("segmentation")) > 1:
            statuses = self._segmentation
        made = {name: dict(sorted(statuses.get(name, {}).items())) for name in self.ledger.cameras}
        return {name: FrameCounts(*self.ledger.close(name), made[name]) for name in made}


def _after(key: str) -> str:
    """Return the key of pictures that came after the run, for that of those received."""
    return f"dropped.{key.removeprefix(_RECEIVED)}.{AFTER_FINISH}"


def say_lost(num_lost: Mapping[str, int]) -> str:
    """Return a sentence about pictures per camera that were lost with the clusters node."""
    each = ", ".join(f"{num} pictures of {name}" for name, num in sorted(num_lost.items()))
    return f"lost with node 'clusters', which has ended: {each}"
