"""The third stage as a node: `clusters` in, the map out."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from diagnostic_msgs.msg import DiagnosticArray

import seg2d3d_ros.msg as msg
from seg2d3d_ros.accounts import RunReport
from seg2d3d_ros.errors import Seg2D3DError
from seg2d3d_ros.io.folder_store import FolderStore
from seg2d3d_ros.io.map_store import copy_groups
from seg2d3d_ros.io.patient_store import PatientStore
from seg2d3d_ros.io.saved_map import load_stage
from seg2d3d_ros.mapping.heap import keep_little
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.nodes.conversions.clusters import from_cluster
from seg2d3d_ros.nodes.edit_services import EditServices
from seg2d3d_ros.nodes.lifecycle import HARDWARE_ID, StageNode, run
from seg2d3d_ros.nodes.live_accounts import LiveAccounts, say_lost
from seg2d3d_ros.nodes.map_output import MapOutput
from seg2d3d_ros.nodes.map_services import OTHERS, MapServices
from seg2d3d_ros.nodes.parameters import KEEP_ALL
from seg2d3d_ros.nodes.picture_ledger import NODE_ENDED
from seg2d3d_ros.nodes.restarts import Restarts
from seg2d3d_ros.nodes.worker import Job, Worker
from seg2d3d_ros.types import Cluster, MapUpdate

_DRAIN_S = 600.0
_MANY_CLUSTERS = 8
T = TypeVar("T")


class MappingNode(StageNode):
    """Never sheds a cluster; a gap in their sequence is an error."""

    def __init__(self) -> None:
        """Create the node, unconfigured."""
        super().__init__("mapping")
        self.worker: Worker | None = None
        self._stage: MappingStage | None = None
        self.blocks: PatientStore | None = None
        self._output: MapOutput | None = None
        self._map_services: MapServices | None = None
        self._subscriptions: list[Any] = []
        self._stage_lock = threading.Lock()
        self.accounts, self._restarts = LiveAccounts(), Restarts()
        self._lost: dict[str, int] = {}

    def open(self) -> None:
        """Make an empty map, its topics and its services."""
        self._begin_run()
        self._output, self._map_services = MapOutput(self, self.options), MapServices(self)
        EditServices(self)

    def start(self) -> None:
        """Take clusters."""
        self.worker = Worker(self._map, self._publish, capacity=1)
        self.worker.start()
        self._subscriptions = [
            self.create_subscription(msg.Cluster, "clusters", self._on_cluster, KEEP_ALL),
            self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50),
        ]

    def stop(self) -> None:
        """Take no more clusters; those that wait are mapped first."""
        for subscription in self._subscriptions:
            self.destroy_subscription(subscription)
        self._subscriptions = []
        if self.worker is not None:
            self.worker.pause(False)
            self.worker.drain(_DRAIN_S)
            self.worker.stop()
            self.worker = None

    def close(self) -> None:
        """Forget the map, take back topics and services."""
        for part in (self._output, self._map_services):
            if part is not None:
                part.close()
        self._stage = self._output = self._map_services = None
        self._drop_blocks()

    def reset(self) -> None:
        """Begin a new map."""
        if self.worker is not None:
            self.worker.drain(_DRAIN_S)
        self._begin_run()
        if self._output is not None:
            self._output.reset()

    def _begin_run(
        self, stage: MappingStage | None = None, blocks: PatientStore | None = None
    ) -> None:
        """Begin with an empty map, or with one that was loaded and the blocks it rests on."""
        self._drop_blocks()
        self.blocks = blocks or PatientStore.temporary(self.config.runtime.scratch_dir or None)
        self._stage = stage or MappingStage(self.config, self.blocks)
        self.is_loaded = stage is not None
        self.accounts = LiveAccounts(self.accounts.ledger.runs.all())
        self._restarts, self._lost = Restarts(), {}
        # Onto a map that was loaded a run may go on or begin.
        self._next_sequence: int | None = None if self.is_loaded else 0
        self.is_saved = True
        self._refined: Callable[[], MapUpdate | None] = lambda: None
        self.has_last = threading.Event()

    def _drop_blocks(self) -> None:
        """Delete the frozen frames of the run before."""
        if self.blocks is not None:
            self.blocks.remove()
            self.blocks = None

    def _on_cluster(self, message: msg.Cluster) -> None:
        due = self._next_sequence
        if due is not None and message.sequence > due:
            self.note_error(
                f"cluster {message.sequence} came where {due} was due: clusters were lost"
            )
        elif due is not None and message.sequence < due:
            self.note_error(
                f"node 'clusters' was started again after cluster {due - 1}: what it held is "
                "lost; the map goes on, in a session that is joined once a place is seen again"
            )
        self._next_sequence = message.sequence + 1
        if self.worker is not None:
            self.worker.put(Job(make=lambda: from_cluster(message)))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        """Keep what the other nodes have received, for the day that one of them is killed."""
        names = {f"{self.get_namespace().strip('/')}/{n}".lstrip("/"): n for n in OTHERS}
        for status in message.status:
            if status.hardware_id == HARDWARE_ID and status.name in names:
                values = {pair.key: pair.value for pair in status.values}
                self.accounts.told(names[status.name], values)

    def _map(self, cluster: Cluster) -> tuple[MapUpdate]:
        with self.stage() as stage:
            num_restarts = self._restarts.num
            cluster = self._restarts.follow(cluster)
            self.is_saved = False
            if self._restarts.num > num_restarts:
                self.accounts.ledger.begin()
            self.accounts.mapped(cluster)
            update = stage.push(cluster)
        return (update,)

    def _publish(self, update: MapUpdate) -> None:
        if self._output is not None:
            self._output.publish(update)
        if self.accounts.has_last:
            self.has_last.set()

    @contextmanager
    def stage(self) -> Iterator[MappingStage]:
        """Hold the stage, so that no cluster is mapped meanwhile."""
        assert self._stage is not None
        with self._stage_lock:
            yield self._stage

    def edit(self, act: Callable[[MappingStage], tuple[T, MapUpdate]]) -> tuple[T, MapUpdate]:
        """Change the map by hand and publish it; whatever `act` raises changes nothing."""
        with self.stage() as stage:
            made, full = act(stage)
            self.is_saved = False
            if self._output is not None:
                self._output.publish(full)
        return made, full

    def load(self, folder: str) -> MapUpdate:
        """Replace the map by a saved one and publish it; clusters that wait are mapped first.

        Raises:
            ResultError: it cannot be read; the map is as it was.
        """
        blocks = PatientStore.temporary(self.config.runtime.scratch_dir or None)
        try:
            stage = load_stage(Path(folder).expanduser(), blocks)
        except BaseException:
            blocks.remove()
            raise
        if self.worker is not None:
            self.worker.drain(_DRAIN_S)
        with self._stage_lock:
            self._begin_run(stage, blocks)
            full = stage.snapshot()
            if self._output is not None:
                self._output.reset()
                self._output.publish(full)
        return full

    def finish_map(self) -> MapUpdate:
        """Refine the map at the end of a run, publish and return it; idempotent."""
        full = self.refine_map()
        self.accounts.finished()
        return full

    def refine_map(self) -> MapUpdate:
        """Refine what has come so far, publish and return it; clusters wait meanwhile."""
        with self.stage() as stage:
            full = stage.finish()
            is_new = self.has_map and full is not self._refined()
            self.is_saved = self.is_saved and not is_new
        if is_new:  # not each time that somebody asks
            self._publish(full)
            self._refined = weakref.ref(full)
        return full

    def report_map(self, kept: FolderStore) -> tuple[MapUpdate, RunReport]:
        """Return the whole map as it is, and the accounts of the run so far.

        Args:
            kept: Gets what the map rests on at this moment: clusters may come while it is written.
        """
        assert self.blocks is not None
        with self.stage() as stage:
            full, counts = stage.snapshot(), dict(stage.counts)
            stage.keep()
            copy_groups(self.blocks, kept)
            refinement_s, remarks = stage.refinement_s, stage.remarks
            self.is_saved = True
        busy_s = self.worker.stats()["busy_s"] if self.worker is not None else 0.0
        seconds = {"mapping": busy_s, "refinement": refinement_s}
        report = self.accounts.report(self.config, seconds, counts)
        return full, replace(report, remarks=(*report.remarks, *remarks))

    @property
    def has_map(self) -> bool:
        """Return whether a picture was used or a map was loaded."""
        return self.is_loaded or self.accounts.ledger.span_ns is not None

    def save(self) -> None:
        """Write what there is when the process ends, if a folder is named and anything is new."""
        if self.options.output_dir and self._map_services is not None and not self.is_saved:
            try:
                self.get_logger().info(f"saved to {self._map_services.write('')}")
            except (Seg2D3DError, OSError) as error:
                self.note_error(f"cannot save: {error}")

    def state_of_work(self) -> dict[str, float | int | str]:
        """Return the worker's counters and those of the map."""
        if self.worker is None or self._stage is None:
            return {}
        stats = self.worker.stats()
        stats["waiting"] = stats["queued"]  # clusters are never shed
        problem = self.worker.last_error or (self.blocks.problem if self.blocks else "")
        if not problem and stats["waiting"] > _MANY_CLUSTERS:
            problem = (
                f"{stats['waiting']:.0f} clusters wait: mapping does not keep up, and memory "
                "fills; give it more cores, or slower input"
            )
        lost, before = self.accounts.ledger.lost(), self._lost
        self._lost = lost
        if lost and lost != before:
            self.note_error(say_lost(lost))
        return {
            "problem": problem,
            **stats,
            **{f"dropped.{name}.{NODE_ENDED}": num for name, num in sorted(lost.items())},
            **self._stage.counts,
        }


def main(args: list[str] | None = None) -> int:
    """Run the mapping node."""
    keep_little()  # not the others, whose memory does not grow and whose pictures are as large
    # Imported in the midst of a run it would take SIGTERM from us: killed, the map not written.
    import cv2  # noqa: F401
    import pycolmap  # noqa: F401

    return run(MappingNode, args)


if __name__ == "__main__":
    sys.exit(main())
