"""A node whose stage is fed by sensors: inputs, the worker around the stage, flush and reset."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from std_srvs.srv import Trigger

from seg2d3d_ros.accounts import Silences
from seg2d3d_ros.errors import NodeError
from seg2d3d_ros.io.messages import MessageReader
from seg2d3d_ros.io.pictures import encoding_cure
from seg2d3d_ros.io.rosbag_rig import RigSetup
from seg2d3d_ros.io.rosbag_topics import Layout
from seg2d3d_ros.nodes.inputs import ODOMETRY, Arrival, Inputs, Listeners
from seg2d3d_ros.nodes.lifecycle import StageNode
from seg2d3d_ros.nodes.picture_accounts import AFTER_FINISH, PictureAccounts
from seg2d3d_ros.nodes.silence import SilenceWatch
from seg2d3d_ros.nodes.worker import Job, Worker
from seg2d3d_ros.types import Dropped, Frame

_GATE_S = 0.05
_SAY_AGAIN_S = 10.0
_QUIET_LIMIT_S = 5.0
_DRAIN_LIMIT_S = 600.0


class SensorNode(StageNode, ABC):
    """Feeds a stage with what the sensors send, once the rig is known and somebody listens.

    Until then arrivals wait in the worker's queue, under the same bound as later.
    """

    has_motion = True
    sheds_late = False

    def __init__(self, name: str) -> None:
        """Create the node, unconfigured."""
        super().__init__(name)
        self.stage: Any = None
        self.setup: RigSetup | None = None
        self.worker: Worker | None = None
        self.inputs: Inputs | None = None
        self._reader: MessageReader | None = None
        self._gate: Any = None
        self._ready_s = self._first_s = 0.0
        self._is_flushed = False
        self._flush_lock = threading.Lock()
        self.num_skipped: Counter[str] = Counter()
        self.accounts = PictureAccounts()
        self.silences = Silences()
        self._silence = SilenceWatch(0.0)
        self.frame_ids: dict[str, str] = {}

    # --------------------------------------------------------------------- what subclasses define

    @abstractmethod
    def make_stage(self, setup: RigSetup) -> Any:
        """Return the stage for a rig."""

    @abstractmethod
    def emit(self, output: Any) -> None:
        """Publish what the stage gave; in the worker's thread."""

    @abstractmethod
    def shed(self, arrival: Arrival, setup: RigSetup) -> Any:
        """Return what stands in for a picture that there is no time for: an item or a call."""

    def on_ready(self) -> None:
        """Do what has to be done before the stage works, each time the cameras are found."""

    def on_layout(self, layout: Layout) -> None:
        """Do what can be done as soon as the topics are chosen."""

    @abstractmethod
    def has_listeners(self) -> bool:
        """Return whether all that is published has a subscriber."""

    # -------------------------------------------------------------------------------- transitions

    def open(self) -> None:
        """Offer the services."""
        self.offer("reset", Trigger, self._reset)

    def start(self) -> None:
        """Start the worker, at rest, and look for the sensors."""
        max_wait_s = self.options.max_wait_s if self.sheds_late else 0.0
        self.worker = Worker(self._push, self.emit, self.options.queue_pictures, max_wait_s)
        self.worker.pause(True)
        self.worker.start()
        self._silence = SilenceWatch(self.options.silence_s)
        listeners = Listeners(self.on_layout, self._on_rig, self._on_arrival)
        self.inputs = Inputs(
            self, self.config.inputs, self.options, listeners, has_motion=self.has_motion
        )

    def stop(self) -> None:
        """Stop listening and working; the stage keeps what it knows."""
        if self._gate is not None:
            self.destroy_timer(self._gate)
            self._gate = None
        if self.inputs is not None:
            self.inputs.close()
        if self.worker is not None and not self.worker.stop():
            self.note_error("the stage is still busy with one item; it is left behind")
        self.accounts.drop_waiting("stopped")

    def close(self) -> None:
        """Forget the stage and the rig."""
        self.stage = self.setup = self.worker = self.inputs = None
        self.accounts, self.silences = PictureAccounts(), Silences()
        self._is_flushed = False

    # --------------------------------------------------------------------------------------- flow

    def _on_rig(self, setup: RigSetup) -> None:
        try:
            if self.stage is None or self.setup is None:
                self.setup, self.stage = setup, self.make_stage(setup)
                self._reader = MessageReader(setup, self.config.inputs.base_frame)
            if self._names(setup) != self._names(self.setup):
                raise RuntimeError("they are others than before: clean up and configure again")
            self.on_ready()
        except Exception as error:
            self.note_error(f"cannot work with these cameras: {error}")
            return
        names = ", ".join(self._names(setup))
        self.get_logger().info(f"cameras: {names}; base_link by {setup.rig.base}")
        self._ready_s = time.monotonic()
        if setup.rig.has_odometry:  # from now on it is missed
            self._silence.hear(ODOMETRY, self._ready_s)
        self._gate = self.create_timer(_GATE_S, self._open_gate, clock=self.steady_clock)

    @staticmethod
    def _names(setup: RigSetup) -> list[str]:
        return [camera.name for camera in setup.rig.cameras]

    def _open_gate(self) -> None:
        """Let the worker go when the next stage listens, or has not come for too long."""
        waited_s = time.monotonic() - self._ready_s
        if self.has_listeners() or waited_s > self.options.inputs_wait_s:
            self._gate.cancel()  # not destroyed: it is the one that calls
            if self.worker is not None:
                self.worker.pause(False)

    def _on_arrival(self, arrival: Arrival) -> None:
        if self.worker is None:
            return
        self._watch(arrival)
        if arrival.kind == "frame":
            self.accounts.receive(arrival.camera)
            self._first_s = self._first_s or time.monotonic()
            self.frame_ids[arrival.camera] = arrival.message.header.frame_id
        if arrival.reason or self._is_flushed:
            reason = AFTER_FINISH if self._is_flushed else arrival.reason
            if arrival.kind != "frame" or self._is_flushed:
                self.num_skipped[f"{arrival.kind}.{reason}"] += 1
                if arrival.kind == "frame":
                    self.accounts.drop(arrival.camera, reason)
                    self._say_it_is_over()
                return
            self._say_useless(arrival, reason)
            dropped = Dropped(arrival.camera, arrival.stamp_ns, reason)
            self.worker.put(Job(make=lambda: dropped))
            return
        shed = (lambda: self._shed(arrival)) if arrival.kind == "frame" else None
        self.worker.put(Job(make=lambda: self._make(arrival), shed=shed, lane=arrival.camera))

    def _watch(self, arrival: Arrival) -> None:
        """Notice that a camera or the odometry sends; say so if it was silent."""
        if arrival.kind not in ("frame", ODOMETRY):
            if arrival.kind != "labels":  # late masks of other pictures are no sign of life
                self._silence.go_on(time.monotonic())
            return
        name = arrival.camera or ODOMETRY
        silence_s = self._silence.hear(name, time.monotonic())
        if silence_s:
            self.get_logger().info(f"{_sensor(name)} sends again, after {silence_s:.1f} s")
        if not arrival.reason and not self._is_flushed:
            if arrival.kind == "frame":
                self.silences.hear(arrival.camera, arrival.stamp_ns)
            else:
                self.silences.hear_odometry(arrival.stamp_ns)

    def _silent_sensors(self) -> tuple[str, dict[str, float]]:
        """Return a sentence about the sensors that are silent, and their `silent_s.<name>`."""
        if self.inputs is None or self._is_flushed:
            return "", {}
        fallen, silent = self._silence.fall_silent(), self._silence.silent()
        told = {
            name: f"{_sensor(name)} has sent nothing for {seconds:.1f} s while others go on: "
            f"{self.inputs.cure(name)}"
            for name, seconds in silent.items()
        }
        for name in fallen:
            self.get_logger().warning(told[name])
        return "; ".join(told.values()), {f"silent_s.{k}": v for k, v in silent.items()}

    def _say_it_is_over(self) -> None:
        if self._is_flushed:
            num = self.num_skipped[f"frame.{AFTER_FINISH}"]
            self.last_error = (
                f"the run is finished: {num} pictures that came after it are not used; "
                "mapping/reset begins another"
            )
            self.get_logger().warning(self.last_error, throttle_duration_sec=_SAY_AGAIN_S)

    def _make(self, arrival: Arrival) -> Any:
        """Return the item of an arrival; None if it is none of ours, with the reason counted."""
        assert self.setup is not None and self._reader is not None
        kind, camera, stamp_ns, message, _ = arrival
        if camera and camera not in self._names(self.setup):
            self.num_skipped[f"{kind}.camera_left_out"] += 1
            if kind == "frame":
                self.accounts.drop(camera, "camera_left_out")
            return None
        item = self._reader.item(kind, camera, stamp_ns, message)
        if isinstance(item, str):
            self.num_skipped[f"{kind}.{item}"] += 1
            self._say_useless(arrival, item)
            return None
        if isinstance(item, Dropped):
            self._say_useless(arrival, item.reason)
        return item

    def _say_useless(self, arrival: Arrival, reason: str) -> None:
        """Say what to do about a sensor of which hardly any message will ever be used."""
        cure = ""
        if reason == "unknown_encoding":
            cure = encoding_cure(arrival.camera, arrival.message)
        elif reason == "no_stamp":
            cure = f"{arrival.camera}: pictures without a time (header.stamp is 0) are not used"
        elif reason == "no_transform":
            cure = (
                f"odometry of '{arrival.message.child_frame_id}' is not used: TF does not lead "
                f"from {self.config.inputs.base_frame} to it; publish that link on /tf_static or "
                "state it by inputs.transforms, and configure the node again"
            )
        if cure:
            self.get_logger().error(cure, throttle_duration_sec=_SAY_AGAIN_S)

    def _shed(self, arrival: Arrival) -> Any:
        assert self.setup is not None
        is_ours = arrival.camera in self._names(self.setup)
        self.accounts.drop(arrival.camera, "overload" if is_ours else "camera_left_out")
        return self.shed(arrival, self.setup) if is_ours else None

    def _push(self, item: Any) -> Iterable[Any]:
        if item is None:
            return ()
        if callable(item):
            return item()
        if isinstance(item, Dropped) and item.reason != "overload":  # counted when it was shed
            self.accounts.drop(item.camera, item.reason)
        if not isinstance(item, Frame):
            return self.push(item)
        try:
            outputs = self.push(item)
        except Exception:
            self.accounts.drop(item.camera, "failed")
            raise
        self.accounts.process(item.camera)
        return outputs

    def push(self, item: Any) -> Iterable[Any]:
        """Push an item through the stage; in the worker's thread."""
        return self.stage.push(item)

    # ----------------------------------------------------------------------------------- services

    def flush_stage(self) -> str:
        """Work off all that has come and finish the stage; return what went wrong, else empty."""
        with self._flush_lock:
            if not self._wait_for_stage() or self.worker is None or self.inputs is None:
                missing = self.inputs.problem if self.inputs is not None else "it is not active"
                return f"{self.get_name()} has nothing to flush: {missing}"
            if not self.worker.is_running:
                return f"{self.get_name()} is not active: {self.last_error or 'activate it'}"
            limit_s = time.monotonic() + _QUIET_LIMIT_S
            while self.inputs.quiet_s < self.options.quiet_s and time.monotonic() < limit_s:
                time.sleep(_GATE_S)
            if not self._is_flushed:
                self._is_flushed = True
                self.worker.put(Job(make=lambda: self.stage.finish))
            if not self.worker.drain(_DRAIN_LIMIT_S):
                return f"{self.get_name()} is still busy; call again"
            return ""

    def _wait_for_stage(self) -> bool:
        """Return whether there is a stage; pictures that have come may still wait for the rig."""
        limit_s = time.monotonic() + 2 * self.options.inputs_wait_s + _QUIET_LIMIT_S
        while self.stage is None and self.inputs is not None and self.inputs.num_pictures:
            if time.monotonic() > limit_s:
                break
            time.sleep(_GATE_S)
        return self.stage is not None

    def ask_stage(self, call: Callable[[], Any]) -> Any:
        """Return what a call gives or raises, made in the worker's thread between two items.

        Raises:
            NodeError: the node is not active, or stops before the call is made.
        """
        answer: Future[Any] = Future()
        worker = self.worker

        def work() -> Iterable[Any]:
            try:
                answer.set_result(call())
            except Exception as error:
                answer.set_exception(error)
            return ()

        if worker is not None and worker.is_running:
            worker.put(Job(make=lambda: work))
        while worker is not None and worker.is_running and not answer.done():
            time.sleep(_GATE_S)
        if not answer.done():
            raise NodeError(f"{self.get_name()} is not active; activate it and ask again")
        return answer.result()

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._flush_lock:
            if self.worker is None or self.setup is None:
                response.message = "nothing to reset: no cameras yet"
                return response
            self.worker.drain(_DRAIN_LIMIT_S)
            self.stage = self.make_stage(self.setup)
            self._is_flushed, self._first_s = False, 0.0
            self.accounts, self.silences = PictureAccounts(), Silences()
            response.success, response.message = True, "started anew"
        return response

    # --------------------------------------------------------------------------------- accounting

    def wall_s(self) -> float:
        """Return the seconds since the first picture."""
        return time.monotonic() - self._first_s if self._first_s else 0.0

    def state_of_work(self) -> dict[str, float | int | str]:
        """Return the worker's counters, the accounts of pictures, and what was skipped."""
        values: dict[str, float | int | str] = {}
        if self.inputs is not None and self.worker is not None:
            silence, silent_s = self._silent_sensors()
            problems = (self.inputs.problem or self.worker.last_error, silence)
            values["problem"] = "; ".join(filter(None, problems))
            values |= self.worker.stats()
            values["run"] = self.accounts.run
            values |= self.accounts.values()
            values |= silent_s
            values |= {f"lost.{k}": v for k, v in sorted(self.inputs.num_lost.items())}
            values |= {f"skipped.{k}": v for k, v in sorted(self.num_skipped.items())}
            values["odometry_from_twists"] = self._reader.num_integrated if self._reader else 0
        return values


def _sensor(name: str) -> str:
    return name if name == ODOMETRY else f"camera {name}"
