"""The first stage as a node: pictures (and label pictures) in, `segmentation/<camera>` out."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import seg2d3d_ros.msg as msg
from seg2d3d_ros.errors import BackendError
from seg2d3d_ros.io.rosbag_rig import RigSetup
from seg2d3d_ros.nodes.conversions.segmentations import to_segmentation
from seg2d3d_ros.nodes.inputs import Arrival
from seg2d3d_ros.nodes.lifecycle import run
from seg2d3d_ros.nodes.parameters import KEEP_ALL
from seg2d3d_ros.nodes.sensor_node import SensorNode
from seg2d3d_ros.segmentation.backend import Choice, choose_backend, create_backend
from seg2d3d_ros.segmentation.stage import SegmentationStage
from seg2d3d_ros.srv import Flush, SetPrompt
from seg2d3d_ros.types import Frame, Rig, Segmentation


@dataclass(frozen=True)
class Overload:
    """A picture that there was no time for: its frame has a size and no pixels."""

    frame: Frame


class SegmentationNode(SensorNode):
    """Every picture gets exactly one Segmentation, `overload` where there was no time for it."""

    has_motion = False

    def __init__(self) -> None:
        """Create the node, unconfigured."""
        super().__init__("segmentation")
        self._backend: Any = None
        self._outputs: dict[str, Any] = {}
        self._offered: list[Any] = []
        self._frame_ids: dict[str, str] = {}
        self.num_published: Counter[str] = Counter()

    def open(self) -> None:
        """Load the configured model; with `auto` and masks made elsewhere it may not be used."""
        super().open()
        self._choice = choose_backend(self.config, Rig(cameras=()))
        self._backend = create_backend(self._choice.name, self.config)
        group = self.services_group
        self._offered = [
            self.create_service(kind, f"~/{name}", self.answering(act), callback_group=group)
            for name, kind, act in (
                ("flush", Flush, self._flush),
                ("set_prompt", SetPrompt, self._set_prompt),
            )
        ]

    def stop(self) -> None:
        """Stop working and leave the device."""
        super().stop()
        if self._backend is not None:
            self._backend.deactivate()

    def close(self) -> None:
        """Free the model, the publishers and the services."""
        super().close()
        if self._backend is not None:
            self._backend.close()
            self._backend = None
        for output in self._outputs.values():
            self.destroy_publisher(output)
        for service in self._offered:
            self.destroy_service(service)
        self._outputs, self._offered = {}, []
        self.num_published.clear()

    def make_stage(self, setup: RigSetup) -> SegmentationStage:
        """Return the stage, with the loaded backend unless the cameras bring their own masks."""
        choice: Choice = choose_backend(self.config, setup.rig)
        if choice.name != self._backend.name:
            self._backend.close()
            self._backend = create_backend(choice.name, self.config)
        self.get_logger().info(choice.reason)
        self._choice = choice
        self._backend.activate()
        for camera in setup.rig.cameras:
            if camera.name not in self._outputs:
                topic = f"segmentation/{camera.name}"
                self._outputs[camera.name] = self.create_publisher(
                    msg.Segmentation, topic, KEEP_ALL
                )
        return SegmentationStage(self.config, setup.rig, self._backend)

    def has_listeners(self) -> bool:
        """Return whether every camera's segmentation has a subscriber."""
        return all(output.get_subscription_count() for output in self._outputs.values())

    def shed(self, arrival: Arrival) -> Overload | None:
        """Return the picture without its pixels."""
        assert self.setup is not None
        if arrival.camera not in self._names(self.setup):
            return None
        camera = self.setup.rig.cameras[self.setup.rig.index(arrival.camera)]
        empty = np.broadcast_to(np.uint8(0), (camera.height_px, camera.width_px))
        return Overload(Frame(arrival.camera, arrival.stamp_ns, empty))

    def push(self, item: Any) -> Iterable[Segmentation]:
        """Push an item through the stage; in the worker's thread."""
        return self.stage.shed(item.frame) if isinstance(item, Overload) else self.stage.push(item)

    def emit(self, output: Segmentation) -> None:
        """Publish a segmentation."""
        self._outputs[output.camera].publish(to_segmentation(output, output.camera))
        self.num_published[output.camera] += 1

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
            "segmentation": {name: dict(counts) for name, counts in self.stage.counts.items()},
            "backend": self.stage.backend.name,
            "classes": {str(k): v for k, v in self.stage.classes.items()},
            "remarks": [self._choice.reason],
        }

    def _set_prompt(
        self, request: SetPrompt.Request, response: SetPrompt.Response
    ) -> SetPrompt.Response:
        try:
            if self.stage is None:
                raise BackendError("no pictures yet: the prompt can be set once cameras are seen")
            response.prompt_version = self.stage.set_prompt(list(request.classes))
        except BackendError as error:
            response.message = str(error)
            return response
        response.success, response.message = True, "in force from the next picture on"
        return response


def main(args: list[str] | None = None) -> int:
    """Run the segmentation node."""
    return run(SegmentationNode, args)


if __name__ == "__main__":
    sys.exit(main())
