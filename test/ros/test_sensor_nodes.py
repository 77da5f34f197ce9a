"""The segmentation and clusters nodes as real processes, fed by a camera of the test's own."""

import itertools
import json

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")
pytest.importorskip("seg2d3d_ros.msg", reason="the messages are not built: make setup")

from camera_on_graph import HEIGHT, STEP_NS, T0_NS, WIDTH, CameraOnGraph
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

import seg2d3d_ros.msg as msg
from seg2d3d_ros.nodes.conversions.clusters import from_cluster
from seg2d3d_ros.nodes.conversions.primitives import to_time
from seg2d3d_ros.nodes.conversions.segmentations import to_segmentation
from seg2d3d_ros.nodes.parameters import KEEP_ALL
from seg2d3d_ros.srv import Flush
from seg2d3d_ros.types import Segmentation

FAST = {
    "node__discovery_s": 0.5,
    "node__inputs_wait_s": 1.0,
    "node__diagnostics_period_s": 0.1,
    "node__max_wait_s": 0.0,  # else a busy machine decides which pictures are looked at
}


@pytest.mark.parametrize("is_compressed", [False, True])
def test_segmentation_node_serves_a_best_effort_camera_it_finds_by_itself(
    start, peer, eventually, is_compressed
):
    camera = CameraOnGraph(peer.node, is_compressed)
    start("segmentation", segmentation__backend="classical", **FAST)
    peer.listen(msg.Segmentation, "segmentation/cam", KEEP_ALL)
    assert eventually(lambda: camera.is_heard)
    camera.send(*[camera.message(i) for i in range(5)])
    made = peer.heard["segmentation/cam"]
    assert eventually(lambda: len(made) >= 5), f"{len(made)} of 5 came"
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in made]
    assert stamps == [T0_NS + i * STEP_NS for i in range(5)]
    assert {(m.camera, m.header.frame_id, m.status, m.backend) for m in made} == {
        ("cam", "cam_optical", "ok", "classical")
    }
    answer = peer.call(Flush, "segmentation/flush")
    assert answer.success and list(answer.num_published) == [5]
    assert json.loads(answer.report)["segmentation"] == {"cam": {"ok": 5}}


def test_segmentation_node_hears_a_calibration_that_was_sent_once_before_it_came(
    start, peer, eventually
):
    kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    camera = CameraOnGraph(peer.node, info_qos=kept)
    camera.infos.publish(camera.info())
    start("segmentation", segmentation__backend="classical", **FAST)
    peer.listen(msg.Segmentation, "segmentation/cam", KEEP_ALL)
    assert eventually(lambda: camera.is_heard)
    for i in range(3):
        camera.pictures.publish(camera.message(i))
    assert eventually(lambda: len(peer.heard["segmentation/cam"]) == 3)


def test_clusters_node_counts_every_bad_picture_by_its_reason_and_maps_the_others(
    start, peer, eventually
):
    camera = CameraOnGraph(peer.node)
    start("clusters", **FAST)
    peer.listen(msg.Cluster, "clusters", KEEP_ALL)
    assert eventually(lambda: camera.is_heard)
    short, foreign, small, unstamped = (camera.message(i) for i in (3, 4, 5, 6))
    short.data = short.data[:1000]
    foreign.encoding = "martian8"
    small.width, small.height, small.step = WIDTH // 2, HEIGHT // 2, 3 * WIDTH // 2
    unstamped.header.stamp = to_time(0)
    again = camera.message(2)
    for message in (*[camera.message(i) for i in range(3)], again, short, foreign, small):
        camera.send(message)
    camera.send(unstamped, camera.message(7), camera.message(8))
    answer = peer.call(Flush, "clusters/flush")
    assert answer.success, answer.message
    assert eventually(lambda: any(c.is_last for c in peer.heard["clusters"]))
    clusters = [from_cluster(c) for c in peer.heard["clusters"]]
    assert [c.sequence for c in clusters] == list(range(len(clusters)))
    reasons = sorted(d.reason for c in clusters for d in c.dropped)
    assert reasons == [
        "bad_size",
        "duplicate_stamp",
        "no_stamp",
        "size_mismatch",
        "unknown_encoding",
    ]
    stamps = sorted({s for c in clusters for f in c.frames for s in f.picture_stamps_ns})
    assert stamps == [T0_NS + i * STEP_NS for i in (0, 1, 2, 7, 8)]
    assert clusters[-1].scale == "unknown"
    assert "level at the start" in " ".join(clusters[-1].rig.remarks)
    again = peer.call(Flush, "clusters/flush")
    assert again.success and list(again.num_published) == list(answer.num_published)


def test_clusters_node_says_what_came_after_the_end_and_which_masks_never_did(
    start, peer, eventually
):
    camera = CameraOnGraph(peer.node)
    process = start("clusters", **FAST)
    peer.listen(msg.Cluster, "clusters", KEEP_ALL)
    peer.listen(DiagnosticArray, "/diagnostics")
    assert eventually(lambda: camera.is_heard)
    camera.send(*[camera.message(i) for i in range(5)])
    published = {"cameras": ["cam"], "num_segmentations": [3]}  # and none has come
    flushed = peer.call(Flush, "clusters/flush", **published)
    assert flushed.success  # the last cluster is out
    assert flushed.message == "segmentations were lost on the way: 3 of cam"
    assert json.loads(flushed.report)["counts"]["lost.segmentations.cam"] == 3
    assert peer.call(Flush, "clusters/flush", **published).message == ""  # told once
    assert eventually(lambda: [c.is_last for c in peer.heard["clusters"]][-1:] == [True])
    camera.send(*[camera.message(i) for i in range(5, 9)])
    said = "the run is finished: 4 pictures that came after it are not used"
    assert eventually(lambda: said in peer.heard["/diagnostics"][-1].status[0].message)
    code, text = process.end()
    assert code == 0
    assert text.count("the run is finished: ") == 1  # throttled


def test_clusters_node_whose_masks_come_too_late_says_so_and_what_to_do(start, peer, eventually):
    camera = CameraOnGraph(peer.node)
    start("clusters", clusters__wait_s=0.5, **FAST)
    made = peer.node.create_publisher(msg.Segmentation, "segmentation/cam", KEEP_ALL)
    peer.listen(DiagnosticArray, "/diagnostics")
    assert eventually(lambda: camera.is_heard and made.get_subscription_count() == 1)
    camera.send(*[camera.message(i) for i in range(10)])

    def processed():
        status = peer.heard["/diagnostics"][-1].status[0]
        return {v.key: v.value for v in status.values}.get("processed.cam")

    assert eventually(lambda: processed() == "10")
    for i in (0, 1, 9):
        stamp_ns = T0_NS + i * STEP_NS
        made.publish(to_segmentation(Segmentation("cam", stamp_ns, WIDTH, HEIGHT, ()), "cam"))
    said = "2 segmentations came when pictures 0.5 s newer than theirs had come"
    assert eventually(lambda: any(said in m.status[0].message for m in peer.heard["/diagnostics"]))
    flushed = json.loads(peer.call(Flush, "clusters/flush").report)
    assert flushed["counts"]["late_segmentations"] == 2
    assert [r for r in flushed["remarks"] if said in r and "raise clusters.wait_s" in r]


def test_clusters_node_camera_without_info_says_what_is_missing(start, peer, eventually):
    camera = CameraOnGraph(peer.node)
    start("clusters", **FAST)
    peer.listen(DiagnosticArray, "/diagnostics")
    assert eventually(lambda: camera.is_heard)
    for i in range(3):
        camera.pictures.publish(camera.message(i))

    def told():
        return [s.message for m in peer.heard["/diagnostics"][-1:] for s in m.status]

    assert eventually(lambda: "no camera_info beside them" in " ".join(told())), told()
    answer = peer.call(Flush, "clusters/flush")
    assert not answer.success and "no camera_info" in answer.message


def test_camera_that_falls_silent_is_told_while_the_other_goes_on_and_so_is_its_return(
    start, peer, eventually
):
    left, right = (CameraOnGraph(peer.node, name=name) for name in ("left", "right"))
    kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    links = peer.node.create_publisher(TFMessage, "/tf_static", kept)
    links.publish(TFMessage(transforms=[left.link(0.3), right.link(-0.3)]))
    process = start("clusters", node__silence_s=0.5, **FAST)
    peer.listen(DiagnosticArray, "/diagnostics")
    assert eventually(lambda: left.is_heard and right.is_heard)
    numbers = itertools.count()

    def told(*senders):
        i = next(numbers)
        for camera in senders:
            camera.send(camera.message(i))
        status = [s for m in peer.heard["/diagnostics"][-1:] for s in m.status][0]
        return status, {pair.key: pair.value for pair in status.values}

    assert eventually(lambda: int(told(left, right)[1].get("received.right", 0)) >= 20)
    assert told(left, right)[0].message == "working"
    assert eventually(lambda: "camera right has sent nothing for" in told(left)[0].message)
    status, values = told(left)
    assert status.level == DiagnosticStatus.WARN
    assert float(values["silent_s.right"]) > 0.5 and "silent_s.left" not in values
    assert "/right/image_raw still has a publisher" in status.message
    peer.node.destroy_publisher(right.pictures)
    assert eventually(lambda: "nobody publishes /right/image_raw" in told(left)[0].message)
    right = CameraOnGraph(peer.node, name="right")
    assert eventually(lambda: told(left, right)[0].message == "working")
    report = json.loads(peer.call(Flush, "clusters/flush").report)
    assert [r.split(" nothing for")[0] for r in report["remarks"] if "nothing" in r] == [
        "camera right sent"
    ]
    code, text = process.end()
    assert code == 0
    assert text.count("camera right has sent nothing for") == 1  # in the log once
    assert text.count("camera right sends again, after") == 1


def test_odometry_that_dies_is_told_while_the_camera_goes_on(start, peer, eventually):
    camera = CameraOnGraph(peer.node)
    wheels = peer.node.create_publisher(Odometry, "/odom", 10)
    start("clusters", node__silence_s=0.5, **FAST)
    peer.listen(DiagnosticArray, "/diagnostics")
    assert eventually(lambda: camera.is_heard and wheels.get_subscription_count() == 1)
    numbers = itertools.count()

    def told(is_rolling):
        i = next(numbers)
        if is_rolling:
            rolling = Odometry()
            rolling.header.stamp = to_time(T0_NS + i * STEP_NS)
            rolling.pose.pose.position.x, rolling.pose.pose.orientation.w = 0.1 * i, 1.0
            wheels.publish(rolling)
        camera.send(camera.message(i))
        status = [s for m in peer.heard["/diagnostics"][-1:] for s in m.status][0]
        return status.message, {pair.key: pair.value for pair in status.values}

    assert eventually(lambda: int(told(True)[1].get("received.cam", 0)) >= 20)
    assert eventually(lambda: "odometry has sent nothing for" in told(False)[0])
    message, values = told(False)
    assert "/odom still has a publisher" in message and float(values["silent_s.odometry"]) > 0.5
    remarks = json.loads(peer.call(Flush, "clusters/flush").report)["remarks"]
    assert [r for r in remarks if r.startswith("odometry sent nothing any more after")]


def test_odometry_that_begins_long_after_the_pictures_counts_from_then(start, peer, eventually):
    camera = CameraOnGraph(peer.node)
    wheels = peer.node.create_publisher(Odometry, "/odom", 10)
    start("clusters", node__silence_s=0.5, **FAST)
    peer.listen(msg.Cluster, "clusters", KEEP_ALL)
    peer.listen(DiagnosticArray, "/diagnostics")
    assert eventually(lambda: camera.is_heard and wheels.get_subscription_count() == 1)
    numbers = itertools.count()

    def told():
        parked = camera.message(0)
        parked.header.stamp = to_time(T0_NS + next(numbers) * STEP_NS)
        camera.send(parked)
        return [s.message for m in peer.heard["/diagnostics"][-1:] for s in m.status]

    assert eventually(lambda: any("odometry has sent nothing for" in text for text in told()))
    first = next(numbers)
    for i in range(first, first + 60):
        rolling = Odometry()
        rolling.header.stamp = to_time(T0_NS + i * STEP_NS)
        rolling.pose.pose.position.x, rolling.pose.pose.orientation.w = 0.2 * (i - first), 1.0
        wheels.publish(rolling)
        seen = camera.message(i - first)
        seen.header.stamp = rolling.header.stamp
        camera.send(seen)
    flushed = peer.call(Flush, "clusters/flush")
    assert flushed.success, flushed.message
    remarks = json.loads(flushed.report)["remarks"]
    assert not [r for r in remarks if "left out" in r]
    assert eventually(lambda: any(c.is_last for c in peer.heard["clusters"]))
    clusters = [from_cluster(c) for c in peer.heard["clusters"]]
    assert "it counts from when it does" in " ".join(clusters[0].rig.remarks)
    told_m = [np.linalg.norm(o.T_i_j[:3, 3]) for c in clusters for o in c.odometry]
    assert max(told_m, default=0.0) > 0.5


def test_camera_that_is_announced_and_never_sends_is_left_out_and_named(start, peer, eventually):
    camera, idle = CameraOnGraph(peer.node), CameraOnGraph(peer.node, name="idle")
    start("clusters", **FAST)
    assert eventually(lambda: camera.is_heard and idle.is_heard)
    camera.send(*[camera.message(i) for i in range(5)])
    flushed = peer.call(Flush, "clusters/flush")
    assert flushed.success, flushed.message
    remarks = json.loads(flushed.report)["remarks"]
    assert [r.split(",")[0] for r in remarks if "left out" in r] == ["left out: idle"]
