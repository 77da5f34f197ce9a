"""The three stages in order, by hand: what the ROS 2 graph does with messages.

Each stage runs in a worker thread behind a bounded queue, so that the work overlaps, and mapping
in a process of its own if asked to; what a stage receives and in which order does not depend on
timing, so the result does not either.
"""

from __future__ import annotations

import queue
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2

from seg2d3d_ros import config as configuration
from seg2d3d_ros.accounts import FrameCounts, RunReport
from seg2d3d_ros.clusters.stage import ClusterStage
from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.mapping import forks
from seg2d3d_ros.mapping.archive import BlockStore
from seg2d3d_ros.segmentation.backend import SegmentationBackend
from seg2d3d_ros.segmentation.stage import SegmentationStage
from seg2d3d_ros.stage_process import StageProcess
from seg2d3d_ros.types import (
    Cluster,
    Dropped,
    Frame,
    Item,
    LabelImage,
    MapUpdate,
    Rig,
    Segmentation,
)

if TYPE_CHECKING:
    from seg2d3d_ros.mapping.stage import MappingStage

_QUEUE_ITEMS = 32


class Pipeline:
    """Pictures in, map updates out."""

    def __init__(
        self,
        config: Config,
        rig: Rig,
        backend: SegmentationBackend | None = None,
        blocks: BlockStore | None = None,
        is_continued: bool = False,
        is_mapping_apart: bool = False,
    ) -> None:
        """Prepare the stages for a rig.

        Args:
            config: The whole configuration.
            rig: The cameras.
            backend: Overrides the configured one.
            blocks: Where frames that have gone by are frozen; in memory without it.
            is_continued: The blocks hold a map that the run is to be added to; mapping keeps the
                configuration it was made with.
            is_mapping_apart: Run mapping in a process of its own: faster, with the same result.

        Raises:
            ResultError: it is to be continued, but the blocks hold no state to go on from.
        """
        if is_continued and blocks is None:
            raise ResultError("there is no map to go on from: give its blocks")
        self._config = config
        self._rig = rig
        self._accounts = Accounts(rig)
        self._updates: list[MapUpdate] = []
        self._started_s = time.perf_counter()
        self._finished_s = self._started_s
        self.segmentation = SegmentationStage(config, rig, backend)
        self.segmentation.activate()
        self._clusters = ClusterStage(config, rig)
        self._keeps_state = blocks is not None
        make = partial(_make_mapping, config, blocks, is_continued)
        self._mapping: MappingStage | MappingApart
        if is_mapping_apart:
            make_apart = partial(_make_alone, make, config.runtime.num_threads)
            self._mapping = MappingApart(make_apart, blocks)
        else:
            self._mapping = make()
        if is_continued and isinstance(self._mapping, MappingApart):
            self._mapping.wait_until_made()
        self._map_worker = _Worker("mapping", self._map)
        self._cluster_worker = _Worker("clusters", self._cluster)
        self._segmentation_worker = _Worker("segmentation", self._segment)

    def push(self, item: Item) -> list[MapUpdate]:
        """Take the next item, waiting while the stages are behind; return updates made meanwhile.

        Raises:
            Exception: whatever a stage raised, once.
        """
        self._accounts.received(item)
        self._segmentation_worker.put(item)
        return self._take_updates()

    def finish(self, meanwhile: Callable[[MapUpdate], None] | None = None) -> MapUpdate:
        """Work everything off, refine, and return the whole map.

        Args:
            meanwhile: Gets the whole map, if need be while mapping writes its state.
        """
        for worker in (self._segmentation_worker, self._cluster_worker, self._map_worker):
            worker.close()
        full = self._mapping.finish()
        beside = partial(meanwhile, full) if meanwhile is not None else _nothing
        if not self._keeps_state:
            beside()
        elif isinstance(self._mapping, MappingApart):
            self._mapping.keep(beside)
        else:
            self._mapping.keep()
            beside()
        self.segmentation.backend.close()
        self._end_mapping()
        self._finished_s = time.perf_counter()
        return full

    def abort(self) -> None:
        """Stop the workers without a result (after an error)."""
        self._end_mapping()
        for worker in (self._segmentation_worker, self._cluster_worker, self._map_worker):
            worker.stop()
        self.segmentation.backend.close()

    def report(self, source: str, remarks: tuple[str, ...] = ()) -> RunReport:
        """Return the accounts of the run; complete after `finish`."""
        workers = (self._segmentation_worker, self._cluster_worker, self._map_worker)
        seconds = {w.name: w.busy_s for w in workers}
        if isinstance(self._mapping, MappingApart):
            seconds["mapping"] += self._mapping.busy_s
        seconds["refinement"] = self._mapping.refinement_s
        return RunReport(
            source=source,
            backend=self.segmentation.backend.name,
            frames=self._accounts.counts(self.segmentation.counts),
            seconds=seconds,
            counts={
                **self._mapping.counts,
                **self._clusters.counts,
                **self.segmentation.backend_counts,
            },
            wall_s=self._finished_s - self._started_s,
            recording_s=self._accounts.recording_s,
            peak_memory_mib=self._peak_memory_mib(),
            config=configuration.to_tree(self._config),
            classes=self.segmentation.classes,
            remarks=(
                *self._rig.remarks,
                *remarks,
                *self.segmentation.remarks,
                *self._mapping.remarks,
            ),
        )

    def _peak_memory_mib(self) -> float:
        """Return the most resident memory: of both processes, where there are two."""
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
        if isinstance(self._mapping, MappingApart):
            return own + self._mapping.peak_memory_mib
        return own

    def _end_mapping(self) -> None:
        if isinstance(self._mapping, MappingApart):
            self._mapping.end()

    # ----------------------------------------------------------------- one stage after another

    def _segment(self, item: Item | None) -> None:
        if item is None:
            segmentations = self.segmentation.finish()
        else:
            segmentations = self.segmentation.push(item)
            if not isinstance(item, LabelImage):
                self._cluster_worker.put(item)
        for segmentation in segmentations:
            self._cluster_worker.put(segmentation)

    def _cluster(self, item: Item | Segmentation | None) -> None:
        clusters = self._clusters.finish() if item is None else self._clusters.push(item)  # type: ignore[arg-type]
        for cluster in clusters:
            self._accounts.mapped(cluster)
            self._map_worker.put(cluster)

    def _map(self, cluster: Cluster | None) -> None:
        if cluster is not None:
            self._updates.append(self._mapping.push(cluster))

    def _take_updates(self) -> list[MapUpdate]:
        updates = self._updates[:]
        del self._updates[: len(updates)]
        return updates


def _make_mapping(config: Config, blocks: BlockStore | None, is_continued: bool) -> MappingStage:
    # Half a second of imports, which whoever maps in another process does without.
    from seg2d3d_ros.mapping.stage import MappingStage

    if is_continued and blocks is not None:
        return MappingStage.restore(blocks)
    return MappingStage(config, blocks)


def _nothing() -> None:
    pass


def _make_alone(make: Callable[[], MappingStage], num_processes: int) -> MappingStage:
    """Make a stage in a process where nothing else runs, so that it may fork."""
    cv2.setNumThreads(1)  # a fork would wait for threads that it does not have
    forks.allow(num_processes)
    return make()


class MappingApart:
    """The mapping stage in a process of its own.

    Attributes:
        counts: Those of the stage.
        remarks: Those of the stage, after `finish`.
        refinement_s: Seconds that the stage took to finish.
        busy_s: CPU time that its process took until then.
    """

    def __init__(self, make: Callable[[], MappingStage], blocks: BlockStore | None) -> None:
        """Start the process; it makes the stage, which works with a copy of the store."""
        self.counts: dict[str, float] = {}
        self.remarks: tuple[str, ...] = ()
        self.refinement_s = 0.0
        self.busy_s = 0.0
        self._blocks = blocks
        self._process = StageProcess(make)

    def wait_until_made(self) -> None:
        """Wait for the stage.

        Raises:
            ResultError: it cannot be restored.
        """
        self._process.wait_until_made()

    def push(self, cluster: Cluster) -> MapUpdate:
        """Take a cluster in and return what changed."""
        update: MapUpdate = self._process.call("push", cluster)
        self.counts, self.busy_s = update.counts, self._process.busy_s
        return update

    def finish(self) -> MapUpdate:
        """Refine the whole map and return it."""
        full: MapUpdate = self._process.call("finish")
        for name in ("counts", "remarks", "refinement_s"):
            setattr(self, name, self._process.call(name))
        return full

    def keep(self, meanwhile: Callable[[], None]) -> None:
        """Write the state of the stage into the store, and do something else meanwhile."""
        assert self._blocks is not None
        self._process.ask("keep")
        meanwhile()
        self._blocks.catch_up(self._process.hear())

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.end()

    @property
    def peak_memory_mib(self) -> float:
        """Return the most resident memory of the process so far."""
        return self._process.peak_memory_mib


class Accounts:
    """Counts pictures so that received = processed + dropped by reason, per camera."""

    def __init__(self, rig: Rig) -> None:
        """Start at zero for every camera."""
        self._rig = rig
        self._received: Counter[str] = Counter()
        self._processed: Counter[str] = Counter()
        self._dropped: dict[str, Counter[str]] = {}
        self._session = 0
        self._counted_ns = -(1 << 62)
        self._first_ns: int | None = None
        self._last_ns = 0

    def received(self, item: Item) -> None:
        """Count an incoming item."""
        if isinstance(item, Frame | Dropped):
            self._received[item.camera] += 1
        if isinstance(item, Frame):
            self._first_ns = (
                item.stamp_ns if self._first_ns is None else min(self._first_ns, item.stamp_ns)
            )
            self._last_ns = max(self._last_ns, item.stamp_ns)

    def mapped(self, cluster: Cluster) -> None:
        """Count what a cluster used for the first time, and what it says was dropped."""
        if cluster.session != self._session:
            self._session, self._counted_ns = cluster.session, -(1 << 62)
        for frame in cluster.frames:
            if frame.stamp_ns > self._counted_ns:
                for camera in frame.cameras:
                    self._processed[self._rig.cameras[camera].name] += 1
        if cluster.frames:
            self._counted_ns = cluster.frames[-1].stamp_ns
        for dropped in cluster.dropped:
            self._dropped.setdefault(dropped.camera, Counter())[dropped.reason] += 1

    def counts(self, segmentation: dict[str, Counter[str]]) -> dict[str, FrameCounts]:
        """Return the counts per camera."""
        names = sorted(
            {c.name for c in self._rig.cameras} | set(self._received) | set(self._dropped)
        )
        return {
            name: FrameCounts(
                received=self._received[name],
                processed=self._processed[name],
                dropped=dict(sorted(self._dropped.get(name, Counter()).items())),
                segmentation={
                    str(k): v for k, v in sorted(segmentation.get(name, Counter()).items())
                },
            )
            for name in names
        }

    @property
    def recording_s(self) -> float:
        """Return the seconds between the first and the last picture."""
        return 0.0 if self._first_ns is None else (self._last_ns - self._first_ns) * 1e-9


class _Worker:
    """A thread that works items off in order; None is handed over last, by `close`."""

    def __init__(self, name: str, work: Callable[[Any], None]) -> None:
        self.name = name
        self.busy_s = 0.0
        self._work = work
        self._queue: queue.Queue[Any] = queue.Queue(_QUEUE_ITEMS)
        self._error: BaseException | None = None
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Any) -> None:
        self._raise()
        self._queue.put(item)

    def close(self) -> None:
        """Work off what waits, then the end mark; raise what the stage raised."""
        self._queue.put(None)
        self._thread.join()
        self._raise()

    def stop(self) -> None:
        self._is_stopped = True
        self._queue.put(None)
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error, self._is_stopped = self._error, None, True
            raise error

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if not self._is_stopped and self._error is None:
                start = time.thread_time()
                try:
                    self._work(item)
                except BaseException as error:
                    self._error = error
                self.busy_s += time.thread_time() - start
            if item is None:
                return
