"""Plays a recording onto the graph: its bytes as they are, under their own topic names."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from rosgraph_msgs.msg import Clock

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.io.rosbag_file import RosbagFile
from seg2d3d_ros.io.rosbag_topics import Topic, find_cameras
from seg2d3d_ros.nodes.conversions.primitives import to_time
from seg2d3d_ros.nodes.lifecycle import HARDWARE_ID
from seg2d3d_ros.nodes.spinner import Spinner

_LOG = logging.getLogger(__name__)

_POLL_S = 0.05
_SETTLE_S = 1.0
_CLOCK_NS = 25_000_000
_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True)
class PlayOptions:
    """How a recording is played.

    Attributes:
        rate: Seconds of recording per second.
        min_subscribers: Before the start, wait until every camera has so many subscribers.
        wait_s: Longest such wait.
        has_clock: Publish /clock.
        max_waiting: Pause while a node of ours reports more waiting pictures; 0: never.
    """

    rate: float = 1.0
    min_subscribers: int = 0
    wait_s: float = 60.0
    has_clock: bool = False
    max_waiting: int = 0


@dataclass
class PlaySummary:
    """What was played: messages by topic, topics left out with the reason, seconds of pausing."""

    num_messages: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    paused_s: float = 0.0
    is_complete: bool = True


class Player:
    """Publishes one recording once."""

    def __init__(self, bag: Path, options: PlayOptions) -> None:
        """Open the recording and make its publishers.

        Raises:
            InputError: the recording cannot be read, or none of its topics can be published.
        """
        self._bag, self._options, self.summary = RosbagFile(bag), options, PlaySummary()
        self._topics: list[Topic] = self._bag.topics
        self.duration_s = self._bag.duration_s
        self._told: tuple[str, ...] = ()
        self._tell_losses()
        self._node = Node("player", use_global_arguments=False)
        self._waiting: dict[str, int] = {}
        self._publishers = self._make_publishers()
        self._clock = (
            self._node.create_publisher(Clock, "/clock", 10) if options.has_clock else None
        )
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, 50)
        self._spinner = Spinner(self._node)

    def close(self) -> None:
        """Wait until everybody has what was played; take the publishers back."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=10))
        self._spinner.stop()
        self._bag.close()

    def wait_for_subscribers(self, should_stop: Callable[[], bool]) -> bool:
        """Wait until every camera has its subscribers and no more come; False if out of time."""
        limit_s = time.monotonic() + self._options.wait_s
        cameras = [
            [topic.name for topic in (camera.picture, *camera.others)]
            for camera in find_cameras(self._topics).values()
        ]
        seen: dict[str, int] = {}
        since_s = time.monotonic()
        while time.monotonic() < limit_s and not should_stop():
            now = {name: p.get_subscription_count() for name, p in self._publishers.items()}
            if now != seen:
                seen, since_s = now, time.monotonic()
            has_all = all(
                max(now.get(name, 0) for name in names) >= self._options.min_subscribers
                for names in cameras
            )
            if has_all and time.monotonic() - since_s > _SETTLE_S:
                return True
            time.sleep(_POLL_S)
        return False

    def play(
        self,
        should_stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], None] = lambda seconds: None,
    ) -> PlaySummary:
        """Publish everything in the order and at the pace of the recording.

        Args:
            should_stop: Asked before each message.
            progress: Told the seconds of recording played so far.

        Raises:
            InputError: the recording is damaged; what came before it was played.
        """
        first_ns, start_s, clock_ns = None, time.monotonic(), 0
        for topic, _, stamp_ns, raw in self._bag.arrivals(self._publishers.keys()):
            if should_stop():
                self.summary.is_complete = False
                break
            first_ns = stamp_ns if first_ns is None else first_ns
            start_s += self._keep_pace(should_stop)
            seconds = (stamp_ns - first_ns) * 1e-9
            time.sleep(max(0.0, start_s + seconds / self._options.rate - time.monotonic()))
            if self._clock is not None and stamp_ns - clock_ns > _CLOCK_NS:
                self._clock.publish(Clock(clock=to_time(stamp_ns)))
                clock_ns = stamp_ns
            self._publishers[topic].publish(bytes(raw))
            self.summary.num_messages[topic] = self.summary.num_messages.get(topic, 0) + 1
            progress(seconds)
        self._tell_losses()
        return self.summary

    def _tell_losses(self) -> None:
        """Say what of the recording cannot be read, as far as it was read."""
        for loss in self._bag.losses:
            if loss not in self._told:
                _LOG.warning("%s", loss)
        self._told = self._bag.losses

    def _make_publishers(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for connection in self._bag.connections:
            package, _, name = connection.msgtype.partition("/msg/")
            try:
                msgtype = getattr(importlib.import_module(f"{package}.msg"), name)
            except (ImportError, AttributeError):
                self.summary.left_out[connection.topic] = f"{connection.msgtype} is unknown here"
                continue
            if connection.topic not in made:
                qos = _qos(connection)
                made[connection.topic] = self._node.create_publisher(
                    msgtype, connection.topic, qos
                )
        if not made:
            raise InputError(
                f"no topic of {self._bag.path.name} can be published: {self.summary.left_out}. "
                "Source the workspace that knows these message types"
            )
        return made

    def _hear(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.hardware_id == HARDWARE_ID:
                values = {pair.key: pair.value for pair in status.values}
                self._waiting[status.name] = int(float(values.get("waiting", 0)))

    def _keep_pace(self, should_stop: Callable[[], bool]) -> float:
        """Wait while a node has too much to do; return for how long, seconds."""
        limit = self._options.max_waiting
        if not limit or max(self._waiting.values(), default=0) <= limit:
            return 0.0
        start_s = time.monotonic()
        while max(self._waiting.values()) > limit and not should_stop():
            if time.monotonic() - start_s > _LONGEST_PAUSE_S:
                _LOG.warning("a node is busy for %.0f s; playing on", _LONGEST_PAUSE_S)
                break
            time.sleep(_POLL_S)
        paused_s = time.monotonic() - start_s
        self.summary.paused_s += paused_s
        return paused_s


def _qos(connection: Any) -> QoSProfile:
    """Return reliable and keep all, so that nothing is lost, latched where the recording was.

    A reliable publisher serves subscribers of either kind.
    """
    offered = getattr(connection.ext, "offered_qos_profiles", [])
    is_latched = connection.topic.endswith("/tf_static") or any(
        qos.durability.name == "TRANSIENT_LOCAL" for qos in offered
    )
    if is_latched:
        depth = max([100, *(qos.depth for qos in offered)])
        return QoSProfile(depth=depth, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    return QoSProfile(depth=0, history=HistoryPolicy.KEEP_ALL)
