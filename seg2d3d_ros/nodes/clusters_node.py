"""The second stage as a node: pictures, segmentations, odometry and fixes in, `clusters` out."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import Any

import seg2d3d_ros.msg as msg
from seg2d3d_ros.clusters.stage import ClusterStage
from seg2d3d_ros.io.rosbag_rig import RigSetup
from seg2d3d_ros.io.rosbag_topics import Layout
from seg2d3d_ros.nodes.conversions.clusters import to_cluster
from seg2d3d_ros.nodes.conversions.segmentations import from_segmentation
from seg2d3d_ros.nodes.inputs import Arrival
from seg2d3d_ros.nodes.lifecycle import run
from seg2d3d_ros.nodes.parameters import KEEP_ALL
from seg2d3d_ros.nodes.sensor_node import SensorNode
from seg2d3d_ros.nodes.worker import Job
from seg2d3d_ros.srv import Flush
from seg2d3d_ros.types import Cluster, Dropped

_SEGMENTATIONS_LIMIT_S = 20.0
_POLL_S = 0.05


class ClustersNode(SensorNode):
    """Sheds pictures when there is no time for them, never a segmentation, odometry or a fix."""

    def __init__(self) -> None:
        """Create the node, unconfigured."""
        super().__init__("clusters")
        self._output: Any = None
        self._segmentations: list[Any] = []
        self.num_segmentations: Counter[str] = Counter()
        self.num_lost: Counter[str] = Counter()
        self.num_published = 0
        self._num_late = 0

    def open(self) -> None:
        """Offer the output and the service."""
        super().open()
        self._output = self.create_publisher(msg.Cluster, "clusters", KEEP_ALL)
        self.offer("flush", Flush, self._flush)

    def stop(self) -> None:
        """Stop listening and working."""
        for subscription in self._segmentations:
            self.destroy_subscription(subscription)
        self._segmentations = []
        super().stop()

    def close(self) -> None:
        """Take back the output and the service."""
        super().close()
        if self._output is not None:
            self.destroy_publisher(self._output)
            self._output = None
        self.num_segmentations.clear()
        self.num_lost.clear()
        self.num_published = 0

    def on_layout(self, layout: Layout) -> None:
        """Listen to the segmentations of the cameras."""
        self._segmentations = [
            self.create_subscription(
                msg.Segmentation, f"segmentation/{camera.name}", self._on_segmentation, KEEP_ALL
            )
            for camera in layout.cameras
        ]

    def make_stage(self, setup: RigSetup) -> ClusterStage:
        """Return the stage."""
        return ClusterStage(self.config, setup.rig)

    def has_listeners(self) -> bool:
        """Return whether somebody takes the clusters."""
        return self._output.get_subscription_count() > 0

    def shed(self, arrival: Arrival, setup: RigSetup) -> Dropped:
        """Return the note that a picture was not used."""
        return Dropped(arrival.camera, arrival.stamp_ns, "overload")

    def emit(self, output: Cluster) -> None:
        """Publish a cluster."""
        self._output.publish(to_cluster(output))
        self.num_published += 1

    def state_of_work(self) -> dict[str, float | int | str]:
        """Return the accounts, and how many masks came too late: a problem while they do."""
        values = super().state_of_work()
        if self.stage is None:
            return values
        before, self._num_late = self._num_late, self.stage.num_late_segmentations
        if self._num_late > before:
            problems = str(values.get("problem", "")), self._say_late(self._num_late)
            values["problem"] = "; ".join(filter(None, problems))
        return {**values, **self.stage.counts}

    def _say_late(self, num: int) -> str:
        return (
            f"{num} segmentations came when pictures {self.config.clusters.wait_s:g} s newer "
            "than theirs had come, and name nothing: raise clusters.wait_s (pictures wait in "
            "memory), take a faster model, or look at fewer pictures (segmentation.every_nth)"
        )

    def _on_segmentation(self, message: msg.Segmentation) -> None:
        self.num_segmentations[message.camera] += 1
        if self.worker is not None and not self._is_flushed:
            self.worker.put(Job(make=lambda: from_segmentation(message)))

    def _flush(self, request: Flush.Request, response: Flush.Response) -> Flush.Response:
        expected = dict(zip(request.cameras, request.num_segmentations, strict=False))
        missing = self._wait_for_segmentations(expected)
        response.message = self.flush_stage()
        response.success = not response.message
        news, self.num_lost = missing - self.num_lost, missing
        if news:
            lost = ", ".join(f"{num} of {name}" for name, num in sorted(news.items()))
            self.note_error(f"segmentations were lost on the way: {lost}")
            response.message = "; ".join(filter(None, [response.message, self.last_error]))
        response.cameras = sorted(self.inputs.num_pictures) if self.inputs is not None else []
        response.num_published = [self.num_published]
        response.report = json.dumps(self._report())
        return response

    def _wait_for_segmentations(self, expected: dict[str, int]) -> Counter[str]:
        """Wait until as many segmentations have come as were published; return what is missing.

        What is missing of cameras that nobody segments any more cannot come. Masks of pictures
        that never came here, but to a run of this node before, are not missed.
        """
        limit_s = time.monotonic() + _SEGMENTATIONS_LIMIT_S
        while True:
            missing = Counter(expected) - self.num_segmentations
            can_come = any(self.count_publishers(f"segmentation/{name}") for name in missing)
            is_over = not can_come or time.monotonic() > limit_s
            if is_over or (self.inputs is not None and self.inputs.quiet_s > self.options.quiet_s):
                ours = Counter(expected) & Counter(self.accounts.received)
                missing = ours - self.num_segmentations
                if is_over or not missing:
                    return missing
            time.sleep(_POLL_S)

    def _report(self) -> dict[str, Any]:
        if self.inputs is None or self.worker is None or self.setup is None:
            return {}
        num_late = self.stage.num_late_segmentations
        late = [self._say_late(num_late)] if num_late else []
        return {
            "seconds": {"clusters": self.worker.stats()["busy_s"]},
            "counts": {
                **{f"skipped.{k}": v for k, v in sorted(self.num_skipped.items())},
                **{f"lost.{k}": v for k, v in sorted(self.inputs.num_lost.items())},
                **{f"lost.segmentations.{k}": v for k, v in sorted(self.num_lost.items())},
                **self.stage.counts,
            },
            "run": self.accounts.run,
            "received": self.accounts.received,
            "remarks": [
                *self.setup.rig.remarks,
                *self.silences.remarks(),
                *late,
                *self.stage.remarks,
            ],
            "wall_s": self.wall_s(),
        }


def main(args: list[str] | None = None) -> int:
    """Run the clusters node."""
    return run(ClustersNode, args)


if __name__ == "__main__":
    sys.exit(main())
