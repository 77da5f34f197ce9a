"""`seg2d3d play` on a real DDS: what is in the bag arrives, byte for byte."""

import threading
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not built: make setup")

from bag_maker import START_NS, STEP_NS, write_bag
from bag_maker import drive as messages_of
from rosbags.rosbag2 import Reader

from seg2d3d_ros.cli.main import main


@pytest.fixture
def listener(ros_domain):
    """Hear the raw bytes of some topics, in a context of our own."""
    import rclpy
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node
    from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
    from sensor_msgs.msg import Image
    from tf2_msgs.msg import TFMessage

    context = Context()
    rclpy.init(context=context)
    node = Node("listener", context=context)
    heard = {
        "/camera_front_left/image_raw": [],
        "/camera_front_right/image_raw": [],
        "/tf_static": [],
    }
    keep_all = QoSProfile(depth=0, history=HistoryPolicy.KEEP_ALL)
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    for topic, raw in heard.items():
        kind, qos = (TFMessage, latched) if topic == "/tf_static" else (Image, keep_all)
        node.create_subscription(kind, topic, raw.append, qos, raw=True)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield heard
    executor.shutdown(timeout_sec=2.0)
    thread.join(2.0)
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def test_play_waits_for_subscribers_and_delivers_every_byte(drive, listener, capsys):
    start_s = time.monotonic()
    assert main(["play", str(drive / "bag"), "--rate", "4", "--wait-for-subscribers", "1"]) == 0
    elapsed_s = time.monotonic() - start_s
    with Reader(drive / "bag") as reader:
        recorded = {topic: [] for topic in listener}
        stamps = []
        for connection, stamp_ns, raw in reader.messages():
            stamps.append(stamp_ns)
            if connection.topic in recorded:
                recorded[connection.topic].append(bytes(raw))
    limit_s = time.monotonic() + 10
    while time.monotonic() < limit_s and any(
        len(listener[topic]) < len(raws) for topic, raws in recorded.items()
    ):
        time.sleep(0.02)
    for topic, raws in recorded.items():
        assert [bytes(raw) for raw in listener[topic]] == raws, topic
    assert elapsed_s > (stamps[-1] - stamps[0]) * 1e-9 / 4
    assert f"{len(recorded['/tf_static']):7d}  /tf_static" in capsys.readouterr().out


def test_play_without_subscribers_gives_up_and_says_what_to_look_at(drive, ros_domain, capsys):
    command = ["play", str(drive / "bag"), "--wait-for-subscribers", "1", "--wait-s", "0.3"]
    assert main(command) == 1
    assert "ROS_DOMAIN_ID" in capsys.readouterr().err


def test_play_what_is_no_bag_is_named(ros_domain, tmp_path, capsys):
    assert main(["play", str(tmp_path)]) == 1
    assert "cannot open the recording" in capsys.readouterr().err


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "fast"])
def test_play_rate_that_is_none_is_a_usage_error(rate, capsys):
    assert main(["play", "bag", "--rate", rate]) == 1
    assert "--rate" in capsys.readouterr().err


def test_play_of_a_recording_without_its_middle_file_names_it_and_plays_the_others(
    ros_domain, tmp_path, capsys
):
    bag = tmp_path / "street"
    bag.mkdir()
    messages = messages_of(num=9)
    for part in (0, 2):
        first_ns = START_NS + 3 * part * STEP_NS
        own = [m for m in messages if first_ns <= m[1] < first_ns + 3 * STEP_NS]
        file = next(write_bag(tmp_path / f"{part}", own).glob("*.mcap"))
        file.rename(bag / f"street_{part}.mcap")
    assert main(["play", str(bag)]) == 0
    captured = capsys.readouterr()
    assert "street_1.mcap is lost: 0.4 s between street_0.mcap and street_2.mcap" in captured.err
    assert "      6  /cam/image_raw" in captured.out
