"""Where the mapping stage of a run lives: in this process, or in one of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import cv2

from seg2d3d_ros.config import Config
from seg2d3d_ros.mapping import forks
from seg2d3d_ros.mapping.archive import BlockStore
from seg2d3d_ros.stage_process import StageProcess
from seg2d3d_ros.types import Cluster, MapUpdate

if TYPE_CHECKING:
    from seg2d3d_ros.mapping.stage import MappingStage


def host_mapping(
    config: Config, blocks: BlockStore | None, is_continued: bool, is_apart: bool
) -> MappingHere | MappingApart:
    """Make the mapping stage, or begin to make it in a process of its own.

    Args:
        config: The whole configuration.
        blocks: Where frames that have gone by are frozen; in memory without it.
        is_continued: The blocks hold a map that is gone on from.
        is_apart: Whether it gets a process of its own.

    Raises:
        ResultError: it is to be continued, but the blocks hold no state to go on from.
    """
    make = partial(_make, config, blocks, is_continued)
    if not is_apart:
        return MappingHere(make(), blocks is not None)
    apart = MappingApart(partial(_make_alone, make, config.runtime.num_threads), blocks)
    if is_continued:
        apart.wait_until_made()
    return apart


def _make(config: Config, blocks: BlockStore | None, is_continued: bool) -> MappingStage:
    # Half a second of imports, which whoever maps in another process does without.
    from seg2d3d_ros.mapping.stage import MappingStage

    if is_continued and blocks is not None:
        return MappingStage.restore(blocks)
    return MappingStage(config, blocks)


def _make_alone(make: Callable[[], MappingStage], num_processes: int) -> MappingStage:
    """Make a stage in a process where nothing else runs, so that it may fork."""
    cv2.setNumThreads(1)  # a fork would wait for threads that it does not have
    forks.allow(num_processes)
    return make()


class MappingHere:
    """The mapping stage in this process, whose time and memory are those of its caller.

    Attributes:
        stage: The stage.
        busy_s: CPU time beyond that of the calls.
        peak_memory_mib: Resident memory beyond that of this process.
    """

    busy_s = 0.0
    peak_memory_mib = 0.0

    def __init__(self, stage: MappingStage, keeps_state: bool) -> None:
        """Take a stage, and whether its state is to be kept in its store."""
        self.stage, self._keeps_state = stage, keeps_state

    @property
    def counts(self) -> dict[str, float]:
        """Return what the stage counted."""
        return self.stage.counts

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what the stage has to say."""
        return self.stage.remarks

    @property
    def refinement_s(self) -> float:
        """Return the seconds that the stage took to finish."""
        return self.stage.refinement_s

    def push(self, cluster: Cluster) -> MapUpdate:
        """Take a cluster in and return what changed."""
        return self.stage.push(cluster)

    def take(self, cluster: Cluster) -> None:
        """Take a cluster in."""
        self.stage.take(cluster)

    def finish(self) -> MapUpdate:
        """Refine the whole map and return it."""
        return self.stage.finish()

    def keep(self, meanwhile: Callable[[], None] | None) -> None:
        """Write the state of the stage into its store, then do something else."""
        if self._keeps_state:
            self.stage.keep()
        if meanwhile is not None:
            meanwhile()

    def end(self) -> None:
        """Do nothing: the stage goes with its owner."""


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
        self._process = StageProcess(make, "the mapping stage")

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

    def take(self, cluster: Cluster) -> None:
        """Take a cluster in."""
        self._process.call("take", cluster)
        self.counts, self.busy_s = self._process.call("counts"), self._process.busy_s

    def finish(self) -> MapUpdate:
        """Refine the whole map and return it."""
        full: MapUpdate = self._process.call("finish")
        for name in ("counts", "remarks", "refinement_s"):
            setattr(self, name, self._process.call(name))
        return full

    def keep(self, meanwhile: Callable[[], None] | None) -> None:
        """Write the state of the stage into the store, if any, and do something else meanwhile."""
        if self._blocks is not None:
            self._process.ask("keep")
        if meanwhile is not None:
            meanwhile()
        if self._blocks is not None:
            self._blocks.catch_up(self._process.hear())

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.end()

    @property
    def peak_memory_mib(self) -> float:
        """Return the most resident memory of the process so far."""
        return self._process.peak_memory_mib
