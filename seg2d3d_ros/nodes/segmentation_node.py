"""The first stage as a node: pictures (and label pictures) in, `segmentation/<camera>` out."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from sensor_msgs.msg import Image

import seg2d3d_ros.msg as msg
from seg2d3d_ros.errors import BackendError, Seg2D3DError
from seg2d3d_ros.io.rosbag_rig import RigSetup
from seg2d3d_ros.nodes.conversions.segmentations import to_label_picture, to_segmentation
from seg2d3d_ros.nodes.hearing import LABEL_PICTURE
from seg2d3d_ros.nodes.inputs import Arrival
from seg2d3d_ros.nodes.latency import Latency
from seg2d3d_ros.nodes.lifecycle import run
from seg2d3d_ros.nodes.loaded_backend import LoadedBackend
from seg2d3d_ros.nodes.parameters import KEEP_ALL
from seg2d3d_ros.nodes.sensor_node import SensorNode
from seg2d3d_ros.nodes.worker import Job
from seg2d3d_ros.segmentation.stage import SegmentationStage
from seg2d3d_ros.srv import Flush, SetPrompt
from seg2d3d_ros.types import Frame, Segmentation, SegmentationStatus


class SegmentationNode(SensorNode):
    """Every picture gets exactly one Segmentation, `overload` where there was no time for it."""

    has_motion = False
    sheds_late = True

    def __init__(self) -> None:
        """Create the node, unconfigured."""
        super().__init__("segmentation")
        self._loaded: LoadedBackend | None = None
        self._outputs: dict[str, Any] = {}
        self._pictures: dict[str, Any] = {}
        self.num_published: Counter[str] = Counter()
        self.latency = Latency()

    def open(self) -> None:
        """Load the configured model; with `auto` and masks made elsewhere it may not be used."""
        super().open()
        self._loaded = LoadedBackend(self.config)
        self.offer("flush", Flush, self._flush)
        self.offer("set_prompt", SetPrompt, self._set_prompt)

    def stop(self) -> None:
        """Stop working and leave the device."""
        super().stop()
        if self._loaded is not None:
            self._loaded.backend.deactivate()

    def close(self) -> None:
        """Free the model, the publishers and the services."""
        super().close()
        if self._loaded is not None:
            self._loaded.backend.close()
            self._loaded = None
        for output in (*self._outputs.values(), *self._pictures.values()):
            self.destroy_publisher(output)
        self._outputs, self._pictures = {}, {}
        self.num_published.clear()

    def make_stage(self, setup: RigSetup) -> SegmentationStage:
        """Return the stage, with the loaded backend unless the cameras bring their own masks."""
        assert self._loaded is not None
        backend = self._loaded.serve(setup.rig)
        self.get_logger().info(self._loaded.choice.reason)
        for camera in setup.rig.cameras:
            name, topic = camera.name, f"segmentation/{camera.name}"
            if name not in self._outputs:
                self._outputs[name] = self.create_publisher(msg.Segmentation, topic, KEEP_ALL)
                self._pictures[name] = self.create_publisher(Image, f"{topic}/{LABEL_PICTURE}", 5)
        stage = SegmentationStage(self.config, setup.rig, backend)
        stage.reason = self._loaded.choice.reason
        if self.stage is not None:  # started anew: the backend keeps its prompt
            stage.prompts = self.stage.prompts
        return stage

    def on_ready(self) -> None:
        """Take the device and warm up, in the worker's thread: pictures go on coming meanwhile."""
        assert self.worker is not None
        self.worker.put(Job(make=lambda: self._activate), is_first=True)

    def _activate(self) -> Iterable[Segmentation]:
        try:
            self.stage.activate()
        except BackendError as error:
            self._stop_working(error)
        return ()

    def _stop_working(self, error: BackendError) -> None:
        """Give up: the backend cannot go on, and would fail on every picture."""
        assert self.worker is not None
        self.worker.pause(True)
        self.give_up(f"segmentation stops: {error}")

    def _on_arrival(self, arrival: Arrival) -> None:
        if arrival.kind == "frame":
            self.latency.start((arrival.camera, arrival.stamp_ns))
        super()._on_arrival(arrival)

    def has_listeners(self) -> bool:
        """Return whether every camera's segmentation has a subscriber."""
        return all(output.get_subscription_count() for output in self._outputs.values())

    def shed(self, arrival: Arrival, setup: RigSetup) -> Callable[[], list[Segmentation]]:
        """Return the call that passes the picture by, without its pixels."""
        camera = setup.rig.cameras[setup.rig.index(arrival.camera)]
        empty = np.broadcast_to(np.uint8(0), (camera.height_px, camera.width_px))
        return partial(self.stage.shed, Frame(arrival.camera, arrival.stamp_ns, empty))

    def push(self, item: Any) -> Iterable[Segmentation]:
        """Push an item through the stage; a picture that it fails on gets a Segmentation too."""
        try:
            return self.stage.push(item)
        except Exception as error:
            if not isinstance(item, Frame):
                raise
            if isinstance(error, BackendError):
                self._stop_working(error)
            else:
                self.note_error(f"segmentation failed: {type(error).__name__}: {error}")
            height, width = item.image.shape[:2]
            failed, made_by = SegmentationStatus.FAILED, self.stage.backend.name
            self.stage.counts[item.camera][failed.value] += 1
            of_picture = (item.camera, item.stamp_ns, width, height)
            return [Segmentation(*of_picture, (), failed, made_by, self.stage.prompt_version)]

    def emit(self, output: Segmentation) -> None:
        """Publish a segmentation, and the picture of it if somebody looks."""
        frame_id = self.frame_ids[output.camera]
        self._outputs[output.camera].publish(to_segmentation(output, frame_id))
        self.num_published[output.camera] += 1
        is_seen = output.status == SegmentationStatus.OK
        self.latency.stop((output.camera, output.stamp_ns), is_seen)
        picture = self._pictures[output.camera]
        if picture.get_subscription_count():
            picture.publish(to_label_picture(output, frame_id))

    def state_of_work(self) -> dict[str, float | int | str]:
        """Return the accounts, pictures by status, and what happened in the backend."""
        values = super().state_of_work()
        if self.stage is not None:
            for camera, statuses in self.stage.counts.items():
                values |= {f"segmentation.{camera}.{k}": v for k, v in sorted(statuses.items())}
            values |= {f"backend.{k}": v for k, v in sorted(self.stage.backend_counts.items())}
        return values | self.latency.values()

    def _flush(self, request: Flush.Request, response: Flush.Response) -> Flush.Response:
        response.message = self.flush_stage()
        response.success = not response.message
        response.cameras = sorted(self._outputs)
        response.num_published = [self.num_published[name] for name in response.cameras]
        response.report = json.dumps(self._report())
        return response

    def _report(self) -> dict[str, Any]:
        if self.stage is None or self.worker is None:
            return {}
        return {
            "seconds": {"segmentation": self.worker.stats()["busy_s"]},
            "counts": self.stage.backend_counts,
            "run": self.accounts.run,
            "received": self.accounts.received,
            "segmentation": {name: dict(counts) for name, counts in self.stage.counts.items()},
            "backend": self.stage.backend.name,
            "classes": {str(k): v for k, v in self.stage.classes.items()},
            "remarks": list(self.stage.remarks),
        }

    def _set_prompt(
        self, request: SetPrompt.Request, response: SetPrompt.Response
    ) -> SetPrompt.Response:
        if self.stage is None:
            response.message = "no pictures yet: a prompt can be set once cameras are seen"
            return response
        try:
            version = self.ask_stage(lambda: self.stage.set_prompt(list(request.classes)))
        except Seg2D3DError as error:
            response.message = str(error)
            return response
        response.success, response.prompt_version = True, version
        response.message = f"from the next picture on: {', '.join(request.classes)}"
        return response


def main(args: list[str] | None = None) -> int:
    """Run the segmentation node."""
    return run(SegmentationNode, args)


if __name__ == "__main__":
    sys.exit(main())
