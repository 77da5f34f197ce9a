"""The accounts of a live run, put together from what clusters carry and the other nodes report."""

from __future__ import annotations

import resource
import time
from collections import Counter
from typing import Any

from seg2d3d_ros import config as configuration
from seg2d3d_ros.accounts import FrameCounts, RunReport
from seg2d3d_ros.config import Config
from seg2d3d_ros.types import Cluster

_LONG_AGO_NS = -(1 << 62)


class LiveAccounts:
    """Counts pictures so that received = processed + dropped by reason, per camera."""

    def __init__(self) -> None:
        """Start at zero."""
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

    def heard(self, node: str, report: dict[str, Any]) -> None:
        """Take what another node reported when it was flushed."""
        self._reports[node] = report
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

    def _frames(self) -> dict[str, FrameCounts]:
        received = self._reports.get("clusters", {}).get("received", {})
        statuses = self._reports.get("segmentation", {}).get("segmentation", self._segmentation)
        names = sorted({*self._processed, *self._dropped, *received})
        return {name: self._counts(name, received.get(name), statuses) for name in names}

    def _counts(
        self, name: str, received: int | None, statuses: dict[str, dict[str, int]]
    ) -> FrameCounts:
        processed = self._processed[name]
        dropped = dict(sorted(self._dropped.get(name, Counter()).items()))
        known = processed + sum(dropped.values())
        if received is not None and received > known:  # came after finish, or still on its way
            dropped["not_mapped"] = received - known
        return FrameCounts(
            received=max(known, received or 0),
            processed=processed,
            dropped=dropped,
            segmentation=dict(sorted(statuses.get(name, {}).items())),
        )
