"""What is on the graph while a map is made, recorded by other means, and mapped again."""

import importlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")
pytest.importorskip("seg2d3d_ros.msg", reason="the messages are not built: make setup")

from ament_index_python.packages import get_package_share_directory
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

import seg2d3d_ros.msg as msg
from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.nodes.player import Player, PlayOptions
from seg2d3d_ros.srv import Finish
from seg2d3d_ros.types import Frame, LabelImage, Odometry

PACKAGE = "seg2d3d_ros"
KEPT = QoSProfile(
    history=HistoryPolicy.KEEP_ALL, durability=DurabilityPolicy.TRANSIENT_LOCAL, depth=0
)
ALL = QoSProfile(history=HistoryPolicy.KEEP_ALL, depth=0)
OURS = {
    "/segmentation/camera_front_left": "seg2d3d_ros/msg/Segmentation",
    "/segmentation/camera_front_left/label_picture": "sensor_msgs/msg/Image",
    "/clusters": "seg2d3d_ros/msg/Cluster",
    "/mapping/instances": "seg2d3d_ros/msg/InstanceArray",
    "/mapping/events": "seg2d3d_ros/msg/InstanceEvent",
    "/mapping/markers": "visualization_msgs/msg/MarkerArray",
    "/mapping/points": "sensor_msgs/msg/PointCloud2",
    "/mapping/points_update": "sensor_msgs/msg/PointCloud2",
    "/mapping/path": "nav_msgs/msg/Path",
}
FAST = {"node__discovery_s": 0.5, "node__diagnostics_period_s": 0.1}


def message_class(name):
    package, _, kind = name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), kind)


class Recorder:
    """Keeps the bytes of topics as they come, as `ros2 bag record` does."""

    def __init__(self, node, topics):
        self.heard = []
        for name, msgtype in topics.items():
            qos = KEPT if name == "/tf_static" else ALL

            def keep(raw, topic=(name, msgtype)):
                self.heard.append((*topic, raw))

            node.create_subscription(message_class(msgtype), name, keep, qos, raw=True)

    def num(self, name):
        return sum(topic == name for topic, _, _ in self.heard)

    def write(self, path, types):
        connections = {}
        with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            for k, (topic, msgtype, raw) in enumerate(self.heard):
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, msgtype, typestore=types)
                writer.write(connections[topic], 10**18 + k, raw)
        return path


@pytest.fixture(scope="module")
def types():
    """The types of ROS, and ours as the package installs them."""
    store = get_typestore(Stores.ROS2_JAZZY)
    found = {}
    for file in sorted(Path(get_package_share_directory(PACKAGE), "msg").glob("*.msg")):
        found |= get_types_from_msg(file.read_text(), f"{PACKAGE}/msg/{file.stem}")
    store.register(found)
    return store


def content(item):
    """Return what decides about a map in an item of a recording."""
    kind = type(item).__name__
    if isinstance(item, Frame):
        return item.stamp_ns, kind, item.camera, item.image.tobytes()
    if isinstance(item, LabelImage):
        return item.stamp_ns, kind, item.camera, item.labels.tobytes()
    assert isinstance(item, Odometry), item
    return item.stamp_ns, kind, "", item.T_odom_base.tobytes()


def test_recording_of_all_there_is_can_be_read_by_others_and_mapped_again(
    start, peer, eventually, drive, types, tmp_path
):
    with Reader(drive / "bag") as bag:
        sensors = {c.topic: c.msgtype for c in bag.connections}
        num_sent = sum(c.msgcount for c in bag.connections)
    recorder = Recorder(peer.node, sensors | OURS)
    for name in ("segmentation", "clusters", "mapping"):
        start(name, **FAST)
    player = Player(drive / "bag", PlayOptions(rate=2.0, min_subscribers=3))
    assert player.wait_for_subscribers(lambda: False)
    player.play()
    assert eventually(lambda: sum(map(recorder.num, sensors)) == num_sent)
    player.close()
    finished = peer.call(Finish, "mapping/finish", within_s=120)
    assert finished.success, finished.message
    assert eventually(lambda: recorder.num("/mapping/path") and recorder.num("/clusters") >= 1)
    assert {name for name in OURS if not recorder.num(name)} == set()

    recording = recorder.write(tmp_path / "bag", types)
    original, again = open_source(drive / "bag"), open_source(recording)
    assert [c.name for c in again.rig.cameras] == [c.name for c in original.rig.cameras]
    # of what comes at one moment either may come first
    assert sorted(map(content, again)) == sorted(map(content, original))
    assert not any("not used" in remark for remark in again.remarks())
    read_by_others(recording, types)


def read_by_others(recording, types):
    """Hold what the rosbags library makes of our messages against what rclpy does."""
    with Reader(recording) as bag:
        for connection, _, raw in bag.messages():
            if not connection.msgtype.startswith(PACKAGE):
                continue
            theirs = types.deserialize_cdr(raw, connection.msgtype)
            ours = deserialize_message(bytes(raw), message_class(connection.msgtype))
            if isinstance(ours, msg.Segmentation):
                assert theirs.camera == "camera_front_left"
                assert theirs.header.stamp.nanosec == ours.header.stamp.nanosec
                assert [m.label for m in theirs.masks] == [m.label for m in ours.masks]
                for a, b in zip(theirs.masks, ours.masks, strict=True):
                    np.testing.assert_array_equal(a.runs, b.runs)
            elif isinstance(ours, msg.Cluster):
                assert (theirs.sequence, theirs.is_last) == (ours.sequence, ours.is_last)
                np.testing.assert_array_equal(theirs.landmark_ids, ours.landmark_ids)
            elif isinstance(ours, msg.InstanceArray):
                assert [i.id for i in theirs.instances] == [i.id for i in ours.instances]
            else:
                assert (theirs.sequence, theirs.kind) == (ours.sequence, ours.kind)
