"""Topics of the map: tiles, the whole cloud, instances, markers, the path and map->odom."""

from __future__ import annotations

import threading
import time
from typing import Any

from nav_msgs.msg import Path
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

import seg2d3d_ros.msg as msg
from seg2d3d_ros.nodes.conversions.clouds import to_path, to_point_cloud, to_transform_stamped
from seg2d3d_ros.nodes.conversions.instances import to_event, to_instance_array
from seg2d3d_ros.nodes.conversions.markers import MarkerBoard
from seg2d3d_ros.nodes.live_map import LiveMap, thin
from seg2d3d_ros.nodes.options import NodeOptions
from seg2d3d_ros.types import MapUpdate

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_UPDATES = QoSProfile(depth=50)
_PAUSE_RATIO = 20.0
# A decision that is missed leaves the ids of whoever follows them wrong for good.
_EVENTS = QoSProfile(history=HistoryPolicy.KEEP_ALL)


class MapOutput:
    """Publishes each update of the map, and the whole of it now and then.

    What changed last is part of a whole some time later, also when no update follows: who comes
    then sees all of it.
    """

    def __init__(self, node: Node, options: NodeOptions) -> None:
        """Make the publishers of a node."""
        self._node, self._options = node, options
        self._publishers = {
            "points_update": node.create_publisher(PointCloud2, "~/points_update", _UPDATES),
            "points": node.create_publisher(PointCloud2, "~/points", _LATCHED),
            "instances": node.create_publisher(msg.InstanceArray, "~/instances", _UPDATES),
            "events": node.create_publisher(msg.InstanceEvent, "~/events", _EVENTS),
            "markers": node.create_publisher(MarkerArray, "~/markers", _LATCHED),
            "path": node.create_publisher(Path, "~/path", _LATCHED),
        }
        if options.publish_tf:
            self._publishers["tf"] = node.create_publisher(TFMessage, "/tf", QoSProfile(depth=100))
        self._board = MarkerBoard(options.map_frame)
        self._next_whole_s, self._next_event = 0.0, 0
        self._is_stale = False
        self._lock = threading.RLock()  # updates and the timer come in different threads
        self.map = LiveMap(options.tile_m)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        group = MutuallyExclusiveCallbackGroup()
        self._timer = node.create_timer(
            options.points_period_s, self._catch_up, group, clock=steady
        )

    def close(self) -> None:
        """Take back the publishers."""
        self._node.destroy_timer(self._timer)
        with self._lock:
            self._is_stale = False
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers = {}

    def reset(self) -> None:
        """Forget the map and delete what is drawn."""
        with self._lock:
            self._send("markers", self._board.replace((), self.map.stamp_ns))
            self._next_event, self._is_stale = 0, False
            self.map = LiveMap(self._options.tile_m)

    def publish(self, update: MapUpdate) -> None:
        """Publish what an update changed; everything when that is due or the update is full."""
        with self._lock:
            self._publish(update)

    def _catch_up(self) -> None:
        """Publish everything if it is due and no update has done so."""
        with self._lock:
            if self._is_stale and time.monotonic() >= self._next_whole_s:
                self._publish_whole(self.map.stamp_ns)

    def _publish(self, update: MapUpdate) -> None:
        frame = self._options.map_frame
        changed = self.map.apply(update)
        if len(changed.ids):
            self._send("points_update", to_point_cloud(changed, update.stamp_ns, frame))
        self._send("instances", to_instance_array(update, frame))
        self._publish_events(update)
        if update.is_full or time.monotonic() >= self._next_whole_s:
            self._publish_whole(update.stamp_ns)
        else:
            self._is_stale = True
            changes = (update.instances, update.removed_instances, update.stamp_ns)
            self._send("markers", self._board.update(*changes))
        if "tf" in self._publishers:
            link = to_transform_stamped(
                update.T_map_local, update.stamp_ns, frame, self._options.odom_frame
            )
            self._send("tf", TFMessage(transforms=[link]))

    def _publish_events(self, update: MapUpdate) -> None:
        """Publish each decision once; an update that holds the whole map tells all of them."""
        for event in update.events:
            if event.sequence >= self._next_event:
                self._send("events", to_event(event))
                self._next_event = event.sequence + 1

    def _publish_whole(self, stamp_ns: int) -> None:
        """Publish everything there is, for those who came late."""
        now_s = time.monotonic()
        whole = thin(self.map.cloud, self._options.points_voxel_m)
        self._send("points", to_point_cloud(whole, stamp_ns, self._options.map_frame))
        self._send("path", to_path(self.map.trajectory, stamp_ns, self._options.map_frame))
        self._send("markers", self._board.replace(tuple(self.map.instances.values()), stamp_ns))
        # What grows with the map must not take a growing share of the time.
        spent_s = time.monotonic() - now_s
        pause_s = max(self._options.points_period_s, _PAUSE_RATIO * spent_s)
        self._next_whole_s, self._is_stale = now_s + pause_s, False

    def _send(self, name: str, message: Any) -> None:
        self._publishers[name].publish(message)
