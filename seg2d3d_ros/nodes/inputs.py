"""Finds the sensors on the graph, subscribes to them, and learns the rig from what they say."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from nav_msgs.msg import Odometry
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, NavSatFix
from tf2_msgs.msg import TFMessage

from seg2d3d_ros.config import InputsConfig
from seg2d3d_ros.errors import InputError
from seg2d3d_ros.io.rosbag_rig import RigSetup, read_setup
from seg2d3d_ros.io.rosbag_topics import IMAGE, Layout, Topic, choose
from seg2d3d_ros.nodes.conversions.primitives import from_time
from seg2d3d_ros.nodes.hearing import Hearing, published_topics
from seg2d3d_ros.nodes.options import NodeOptions

_LOG = logging.getLogger(__name__)

_POLL_S = 0.1
_SAY_AGAIN_S = 10.0
_PICTURE_DEPTH = (
    100  # what DDS may hold until a callback runs; what waits for a stage is bounded later
)
_LIGHT_DEPTH = 1000
_KEPT = DurabilityPolicy.TRANSIENT_LOCAL
_JUMP_NS = 1_000_000_000

#: Kind of the arrivals of odometry, and its name where sensors are told apart.
ODOMETRY = "odometry"


class Arrival(NamedTuple):
    """A message of a sensor: frame, labels, odometry or fix; `reason`: why not to use it."""

    kind: str
    camera: str
    stamp_ns: int
    message: Any
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Listeners:
    """What is told: a layout is chosen, the rig is known, a message of a sensor has come."""

    on_layout: Callable[[Layout], None]
    on_rig: Callable[[RigSetup], None]
    on_arrival: Callable[[Arrival], None]


class Inputs:
    """Subscriptions to the sensors, from the first look at the graph to the rig and beyond.

    Attributes:
        num_pictures: Pictures received per camera.
        num_lost: Messages per topic that DDS says it has lost on the way.
        problem: What is missing before the rig can be known; empty if nothing.
    """

    def __init__(
        self,
        node: Node,
        inputs: InputsConfig,
        options: NodeOptions,
        listeners: Listeners,
        has_motion: bool = True,
    ) -> None:
        """Start to look for cameras.

        Args:
            node: Node that subscribes.
            inputs: Names of inputs.
            options: Waiting times, queue, reliability.
            listeners: Who is told.
            has_motion: Listen to odometry and GNSS too.
        """
        self._node, self._inputs, self._options = node, inputs, options
        self._listeners, self._has_motion = listeners, has_motion
        self._group = MutuallyExclusiveCallbackGroup()
        self._subscriptions: list[Any] = []
        self._topics: list[Topic] = []
        self._since_s = self._said_s = time.monotonic()
        self._layout: Layout | None = None
        self._hearing = Hearing([])
        self._is_ready = False
        self._stamps_ns: dict[str, int] = {}
        self._first_s: float | None = None
        self._last_s = time.monotonic()
        self.num_pictures: Counter[str] = Counter()
        self.num_lost: Counter[str] = Counter()
        self.problem = "no camera has been seen yet"
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_POLL_S, self._poll, self._group, clock=steady)

    def close(self) -> None:
        """Stop listening."""
        self._timer.cancel()
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    @property
    def quiet_s(self) -> float:
        """Return how long nothing has arrived."""
        return time.monotonic() - self._last_s

    def cure(self, sensor: str) -> str:
        """Return what has probably become of a camera or odometry that is silent; what to do."""
        if self._layout is None:
            return "see to its driver"
        topics = {c.name: c.picture.name for c in self._layout.cameras}
        topic = topics.get(sensor, self._layout.odometry)
        if not self._node.count_publishers(topic):
            return f"nobody publishes {topic} any more; start its driver again"
        return f"{topic} still has a publisher; see to the sensor, its cable and its driver"

    # ---------------------------------------------------------------------------------- discovery

    def _poll(self) -> None:
        if self._is_ready:
            return
        try:
            if self._layout is None:
                self._discover()
            else:
                self._gather()
        except InputError as error:
            self.problem = str(error)
            if time.monotonic() - self._said_s > _SAY_AGAIN_S:
                self._said_s = time.monotonic()
                _LOG.warning("still waiting for the sensors: %s", error)

    def _discover(self) -> None:
        topics = published_topics(self._node)
        if topics != self._topics:
            self._topics, self._since_s = topics, time.monotonic()
        if time.monotonic() - self._since_s < self._options.discovery_s:
            return
        layout = self._choose(topics)
        self._layout, self._hearing = layout, Hearing(topics)
        self._subscribe(layout)
        self.problem = "the cameras have sent no picture yet"
        self._listeners.on_layout(layout)

    def _choose(self, topics: list[Topic]) -> Layout:
        layout = choose(topics, self._inputs)
        if self._has_motion:
            return layout
        return dataclasses.replace(layout, odometry="", fix="")

    def _gather(self) -> None:
        if self._layout is None or self._first_s is None:
            self.problem = "the cameras have sent no picture yet"
            return
        is_late = time.monotonic() - self._first_s > self._options.inputs_wait_s
        if not (is_late or self._hearing.is_complete(self._layout)):
            self.problem = "waiting for camera_info, TF and odometry"
            return
        layout = self._choose(self._hearing.topics)
        try:
            setup = read_setup(self._hearing, layout, self._inputs)
        except InputError:
            if is_late:
                raise
            return  # another publisher of TF may still speak
        setup = _with_absent(setup, self._layout, self._hearing)
        self._is_ready, self.problem = True, ""
        self._timer.cancel()  # not destroyed: it is the one that calls
        self._hearing = Hearing([])
        self._listeners.on_rig(setup)

    # ------------------------------------------------------------------------------ subscriptions

    def _subscribe(self, layout: Layout) -> None:
        for camera in layout.cameras:
            kind = Image if camera.picture.msgtype == IMAGE else CompressedImage
            depth = _PICTURE_DEPTH
            self._listen(
                kind,
                camera.picture.name,
                self._qos(camera.picture.name, depth),
                "frame",
                camera.name,
            )
            if camera.info:
                self._listen(CameraInfo, camera.info, self._latched_qos(camera.info), "once")
            if camera.labels:
                self._listen(
                    Image, camera.labels, self._qos(camera.labels, depth), "labels", camera.name
                )
        if layout.odometry:
            self._listen(
                Odometry, layout.odometry, self._qos(layout.odometry, _LIGHT_DEPTH), ODOMETRY
            )
        if layout.fix:
            self._listen(NavSatFix, layout.fix, self._qos(layout.fix, _LIGHT_DEPTH), "fix")
        latched = QoSProfile(depth=100, durability=_KEPT)
        for name in layout.tf_static:
            self._listen(TFMessage, name, latched, "once")
        for name in layout.tf:
            self._listen(TFMessage, name, QoSProfile(depth=100), "once")

    def _listen(
        self, msgtype: type, topic: str, qos: QoSProfile, kind: str, camera: str = ""
    ) -> None:
        def take(message: Any) -> None:
            if not self._is_ready:
                self._hearing.keep(topic, message)
            if kind != "once":
                self._arrive(kind, camera, topic, message)

        def heard(message: Any) -> None:
            take(message)
            if kind == ODOMETRY:
                for more in waiting(subscription):
                    take(more)

        def lost(event: Any) -> None:
            self.num_lost[topic] = event.total_count

        subscription = self._node.create_subscription(
            msgtype,
            topic,
            heard,
            qos,
            callback_group=self._group,
            event_callbacks=SubscriptionEventCallbacks(message_lost=lost),
        )
        self._subscriptions.append(subscription)

    def _qos(self, topic: str, depth: int) -> QoSProfile:
        """Return reliable if asked for or if every publisher is, else best effort."""
        wanted = self._options.image_reliability
        publishers = self._node.get_publishers_info_by_topic(topic)
        is_reliable = wanted == "reliable" or (
            wanted == "auto"
            and all(p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in publishers)
        )
        policy = ReliabilityPolicy.RELIABLE if is_reliable else ReliabilityPolicy.BEST_EFFORT
        return QoSProfile(depth=depth, reliability=policy)

    def _latched_qos(self, topic: str) -> QoSProfile:
        """Return what hears a message that was sent once and kept, if that is what is offered."""
        offered = [p.qos_profile for p in self._node.get_publishers_info_by_topic(topic)]
        is_kept = offered and all(
            q.durability == _KEPT and q.reliability == ReliabilityPolicy.RELIABLE for q in offered
        )
        return QoSProfile(depth=1, durability=_KEPT) if is_kept else self._qos(topic, 1)

    def _arrive(self, kind: str, camera: str, topic: str, message: Any) -> None:
        self._last_s = time.monotonic()
        stamp_ns = from_time(message.header.stamp)
        if kind == "frame":
            self.num_pictures[camera] += 1
            self._first_s = self._first_s or self._last_s
        reason = "no_stamp" if stamp_ns <= 0 else self._refusal(topic, stamp_ns)
        self._listeners.on_arrival(Arrival(kind, camera, stamp_ns, message, reason))

    def _refusal(self, topic: str, stamp_ns: int) -> str:
        """Return why a stamp is refused; a jump far back (a looping bag) is left to the stages."""
        last_ns = self._stamps_ns.get(topic)
        if last_ns is not None and last_ns - _JUMP_NS < stamp_ns <= last_ns:
            return "duplicate_stamp" if stamp_ns == last_ns else "stamp_back"
        self._stamps_ns[topic] = stamp_ns
        return ""


def waiting(subscription: Any) -> Iterator[Any]:
    """Yield the messages that wait for a subscription; to be called by its callback.

    An executor takes one message of each topic in turn, so that under load odometry, which is sent
    more often than pictures, falls behind them.
    """
    for _ in range(_LIGHT_DEPTH):
        with subscription.handle:
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
        if taken is None:
            return
        yield taken[0]


def _with_absent(setup: RigSetup, layout: Layout, hearing: Hearing) -> RigSetup:
    """Return the setup with remarks about what was announced and sent nothing of use."""
    there = {camera.name for camera in setup.rig.cameras}
    absent = ", ".join(c.name for c in layout.cameras if c.name not in there)
    remarks = []
    if absent:
        remarks.append(
            f"left out: {absent}, announced but without pictures or calibration at the start; "
            "configure the nodes again once they send"
        )
    is_due = bool(layout.odometry) and not hearing.has_heard(layout.odometry)
    if is_due:
        remarks.append(
            f"odometry of {layout.odometry} told no pose or twist when the first pictures came: "
            "it counts from when it does"
        )
    for remark in remarks:
        _LOG.warning(remark)
    rig = dataclasses.replace(
        setup.rig,
        has_odometry=setup.rig.has_odometry or is_due,
        remarks=(*setup.rig.remarks, *remarks),
    )
    return dataclasses.replace(setup, rig=rig)
