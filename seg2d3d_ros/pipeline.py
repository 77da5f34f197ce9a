"""The three stages in order, by hand: what the ROS 2 graph does with messages.

Each stage runs in a worker thread behind a bounded queue, so that the work overlaps; mapping and
the depths of pictures have processes of their own if asked to. What a stage receives and in which
order does not depend on timing, so the result does not either.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from seg2d3d_ros import config as configuration
from seg2d3d_ros.accounts import Accounts, RunReport
from seg2d3d_ros.clusters.stage import ClusterStage
from seg2d3d_ros.config import Config
from seg2d3d_ros.depth_host import DepthsApart
from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.mapping.archive import BlockStore
from seg2d3d_ros.mapping_host import host_mapping
from seg2d3d_ros.segmentation.backend import SegmentationBackend
from seg2d3d_ros.segmentation.stage import SegmentationStage
from seg2d3d_ros.stage_process import peak_memory_mib
from seg2d3d_ros.types import Cluster, Item, LabelImage, MapUpdate, Rig, Segmentation

_QUEUE_ITEMS = 32


class Pipeline:
    """Pictures in, map updates out.

    Attributes:
        makes_updates: Whether there are updates before `finish`; faster where nobody looks.
        segmentation: The first stage.
    """

    def __init__(
        self,
        config: Config,
        rig: Rig,
        backend: SegmentationBackend | None = None,
        blocks: BlockStore | None = None,
        is_continued: bool = False,
        is_apart: bool = False,
    ) -> None:
        """Prepare the stages for a rig.

        Args:
            config: The whole configuration.
            rig: The cameras.
            backend: Overrides the configured one.
            blocks: Where frames that have gone by are frozen; in memory without it.
            is_continued: The blocks hold a map that the run is to be added to; mapping keeps the
                configuration it was made with.
            is_apart: Map in a process of its own, and measure depths in another: faster, with the
                same result.

        Raises:
            ResultError: it is to be continued, but the blocks hold no state to go on from.
        """
        if is_continued and blocks is None:
            raise ResultError("there is no map to go on from: give its blocks")
        self._config = config
        self._rig = rig
        self._accounts = Accounts(rig)
        self._updates: list[MapUpdate] = []
        self.makes_updates = True
        self._started_s = time.perf_counter()
        self._finished_s = self._started_s
        self.segmentation = SegmentationStage(config, rig, backend)
        self.segmentation.activate()
        self._mapping = host_mapping(config, blocks, is_continued, is_apart)
        has_depths_apart = is_apart and config.clusters.depths
        self._depths = DepthsApart(config, rig) if has_depths_apart else None
        begin_depths = None if self._depths is None else self._depths.begin
        self._clusters = ClusterStage(config, rig, begin_depths=begin_depths)
        self._map_worker = _Worker("mapping", self._map)
        self._cluster_worker = _Worker("clusters", self._cluster)
        self._segmentation_worker = _Worker("segmentation", self._segment)
        self._workers = (self._segmentation_worker, self._cluster_worker, self._map_worker)

    def push(self, item: Item) -> list[MapUpdate]:
        """Take the next item, waiting while the stages are behind; return updates made meanwhile.

        Raises:
            Exception: whatever a stage raised, once.
        """
        self._accounts.received(item)
        self._segmentation_worker.put(item)
        return self._take_updates()

    def drain(self) -> list[MapUpdate]:
        """Work off what waits, after the last item; return updates made meanwhile."""
        for worker in self._workers:
            worker.close()
        return self._take_updates()

    def finish(self, meanwhile: Callable[[MapUpdate], None] | None = None) -> MapUpdate:
        """Work everything off, refine, and return the whole map.

        Args:
            meanwhile: Gets the whole map, if need be while mapping writes its state.
        """
        self.drain()
        if self._depths is not None:
            self._depths.end()
        full = self._mapping.finish()
        self._mapping.keep(partial(meanwhile, full) if meanwhile is not None else None)
        self.segmentation.backend.close()
        self._mapping.end()
        self._finished_s = time.perf_counter()
        return full

    @property
    def num_keyframes(self) -> int:
        """Return how many keyframes are on the map so far."""
        return int(self._mapping.counts.get("keyframes", 0.0))

    def abort(self) -> None:
        """Stop the workers without a result (after an error)."""
        self._mapping.end()
        if self._depths is not None:
            self._depths.end()
        for worker in self._workers:
            worker.stop()
        self.segmentation.backend.close()

    def report(self, source: str, remarks: tuple[str, ...] = ()) -> RunReport:
        """Return the accounts of the run; complete after `finish`."""
        seconds = {worker.name: worker.busy_s for worker in self._workers}
        seconds["mapping"] += self._mapping.busy_s
        peak_mib = peak_memory_mib() + self._mapping.peak_memory_mib
        if self._depths is not None:
            seconds["clusters"] += self._depths.busy_s
            peak_mib += self._depths.peak_memory_mib
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
            peak_memory_mib=peak_mib,
            config=configuration.to_tree(self._config),
            classes=self.segmentation.classes,
            remarks=(
                *self._rig.remarks,
                *remarks,
                *self._accounts.remarks(),
                *self.segmentation.remarks,
                *self._clusters.remarks,
                *self._mapping.remarks,
            ),
        )

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
        if cluster is not None and self.makes_updates:
            self._updates.append(self._mapping.push(cluster))
        elif cluster is not None:
            self._mapping.take(cluster)

    def _take_updates(self) -> list[MapUpdate]:
        updates = self._updates[:]
        del self._updates[: len(updates)]
        return updates


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
        """Work off what waits, then the end mark; raise what the stage raised. Once is enough."""
        if self._thread.is_alive():
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
