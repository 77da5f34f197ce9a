"""The mapping node as a real process, fed with clusters over DDS."""

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")
pytest.importorskip("seg2d3d_ros.msg", reason="the messages are not built: make setup")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from full_disk import no_room_beyond
from nav_msgs.msg import Path
from rclpy.qos import DurabilityPolicy, QoSProfile
from read_messages import from_instance, from_point_cloud
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

import seg2d3d_ros.msg as msg
from seg2d3d_ros.config import Config
from seg2d3d_ros.io.map_store import open_blocks
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.nodes.conversions.clusters import to_cluster
from seg2d3d_ros.nodes.parameters import KEEP_ALL
from seg2d3d_ros.srv import Finish, SaveMap

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def feed(peer, eventually):
    """Publish clusters to the mapping node, once it listens."""
    publisher = peer.node.create_publisher(msg.Cluster, "clusters", KEEP_ALL)

    def publish(clusters):
        assert eventually(lambda: publisher.get_subscription_count() > 0)
        for cluster in clusters:
            publisher.publish(to_cluster(cluster))

    return publish


def expected_map(clusters):
    stage = MappingStage(Config())
    for cluster in clusters:
        stage.push(cluster)
    return stage.finish()


def test_mapping_node_publishes_the_map_that_the_stage_makes(
    start, peer, feed, clusters, eventually
):
    start("mapping", node__points_voxel_m=0.0, node__publish_tf="true")
    peer.listen(PointCloud2, "mapping/points", LATCHED)
    peer.listen(PointCloud2, "mapping/points_update")
    peer.listen(msg.InstanceArray, "mapping/instances")
    peer.listen(MarkerArray, "mapping/markers", LATCHED)
    peer.listen(Path, "mapping/path", LATCHED)
    peer.listen(TFMessage, "/tf")
    feed(clusters)
    heard = peer.heard
    assert eventually(lambda: len(heard["mapping/instances"]) == len(clusters))
    ended = peer.call(Finish, "mapping/finish", timeout_s=5.0)
    assert eventually(lambda: heard["mapping/instances"][-1].is_full)
    full = expected_map(clusters)

    assert (ended.num_clusters, ended.num_instances) == (len(clusters), len(full.instances))
    published = [from_instance(m).id for m in heard["mapping/instances"][-1].instances]
    assert published == [instance.id for instance in full.instances] != []
    assert eventually(lambda: heard["mapping/points"][-1].width == len(full.cloud.ids))
    rows = from_point_cloud(heard["mapping/points"][-1])
    assert np.array_equal(rows["instance"], full.cloud.instances)
    assert np.allclose(rows["x"], full.cloud.points_map[:, 0], atol=1e-4)
    stamps = [p.header.stamp.nanosec for p in heard["mapping/path"][-1].poses]
    assert len(stamps) == full.trajectory.is_keyframe.sum()
    drawn = {m.id for m in heard["mapping/markers"][-1].markers if m.action == m.ADD}
    assert drawn == set(published)
    links = {(t.header.frame_id, t.child_frame_id) for m in heard["/tf"] for t in m.transforms}
    assert links == {("map", "odom")}
    assert all(m.header.frame_id == "map" for m in heard["mapping/points_update"])


def test_finish_is_idempotent_and_save_map_writes_the_result_folder(
    start, peer, feed, clusters, eventually, tmp_path
):
    start("mapping")
    peer.listen(msg.InstanceArray, "mapping/instances")
    feed(clusters)
    assert eventually(lambda: len(peer.heard["mapping/instances"]) == len(clusters))
    first = peer.call(Finish, "mapping/finish", timeout_s=5.0)
    heard = peer.heard["mapping/instances"]
    assert eventually(lambda: heard[-1].is_full)
    num_heard = len(heard)
    again = peer.call(Finish, "mapping/finish", timeout_s=5.0)
    assert again.num_points == first.num_points > 0
    assert again.success and again.message == "the map is finished"
    saved = peer.call(SaveMap, "mapping/save_map", folder=str(tmp_path / "out"))
    assert saved.success, saved.message
    assert len(heard) == num_heard  # who asks again gets the answer, nobody the map once more
    poses = np.loadtxt(tmp_path / "out" / "trajectory.tum")
    assert len(poses) == len({s for c in clusters for f in c.frames for s in f.picture_stamps_ns})


def test_refine_improves_the_map_so_far_and_clusters_may_follow(
    start, peer, feed, clusters, eventually
):
    start("mapping")
    peer.listen(msg.InstanceArray, "mapping/instances")
    assert "no map yet" in peer.call(Trigger, "mapping/refine").message
    feed(clusters[:1])
    heard = peer.heard["mapping/instances"]
    assert eventually(lambda: len(heard) == 1)
    refined = peer.call(Trigger, "mapping/refine")
    assert refined.success, refined.message
    assert eventually(lambda: heard[-1].is_full)
    feed(clusters[1:])
    assert eventually(lambda: len(heard) == len(clusters) + 1)
    assert [m.is_full for m in heard] == [False, True] + [False] * (len(clusters) - 1)
    ended = peer.call(Finish, "mapping/finish", timeout_s=5.0)
    assert (ended.num_clusters, ended.message) == (len(clusters), "the map is finished")


def test_finish_without_the_other_nodes_says_so_and_keeps_what_had_come(
    start, peer, feed, clusters, eventually
):
    start("mapping")
    peer.listen(msg.InstanceArray, "mapping/instances")
    feed(clusters[:1])
    assert eventually(lambda: peer.heard["mapping/instances"])
    ended = peer.call(Finish, "mapping/finish", timeout_s=5.0)
    assert not ended.success
    assert "'segmentation' does not answer" in ended.message
    assert ended.num_clusters == 1 and ended.num_keyframes > 0


def test_save_map_without_a_cluster_or_a_folder_says_what_is_missing(start, peer, tmp_path):
    start("mapping")
    assert "name one" in peer.call(SaveMap, "mapping/save_map").message
    refused = peer.call(SaveMap, "mapping/save_map", folder=str(tmp_path / "out"))
    assert not refused.success and "not one cluster" in refused.message
    assert not (tmp_path / "out").exists()


@pytest.fixture
def mapped(graph, clusters):
    """A mapping node in this process that has mapped, and its services."""
    from seg2d3d_ros.nodes.map_services import MapServices
    from seg2d3d_ros.nodes.mapping_node import MappingNode

    node = MappingNode()
    node.trigger_configure()
    services = MapServices(node)
    for cluster in clusters:
        node._map(cluster)
    yield node, services
    node.trigger_shutdown()
    node.destroy_node()


def test_map_that_is_saved_is_that_of_one_moment_whatever_comes_meanwhile(
    mapped, tmp_path, monkeypatch
):
    from seg2d3d_ros.io import result

    (node, services), write_result = mapped, result.write_result

    def write(*args, **kwargs):
        before = node.blocks.names()
        node.blocks.put("sums/1/000000", {"a": np.zeros(3)})
        node.blocks.drop(next(name for name in before if name.startswith("depths/")))
        write_result(*args, **kwargs)

    monkeypatch.setattr(result, "write_result", write)
    kept = open_blocks(services.write(str(tmp_path / "saved")) / "map")
    kept.check(kept.digests)
    assert {n.split("/")[0] for n in kept.names()} == {"depths", "stage", "state"}


def test_save_map_without_room_says_so_keeps_the_map_before_and_succeeds_once_there_is(
    mapped, tmp_path
):
    _, services = mapped
    request = SaveMap.Request(folder=str(tmp_path / "out"))
    assert services._save_map(request, SaveMap.Response()).success
    run, map = (tmp_path / "out" / name for name in ("run.json", "map/map.json"))
    before = run.read_bytes(), map.read_bytes()
    # the first large file that it writes is a copy of the state
    with no_room_beyond((tmp_path / "out" / "report.html").stat().st_size):
        refused = services._save_map(request, SaveMap.Response())
    assert not refused.success
    assert refused.message.startswith("frozen frames cannot be written to ")
    assert refused.message.endswith("make room there")
    assert (run.read_bytes(), map.read_bytes()) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert services._save_map(request, SaveMap.Response()).success
    assert run.read_bytes() != before[0]  # it tells seconds


def test_save_map_asked_again_while_it_writes_is_answered_by_that_unless_the_map_changed(
    mapped, clusters, tmp_path, monkeypatch
):
    from seg2d3d_ros.io import result

    node, services = mapped
    may_end, num_written = threading.Event(), []

    def write(*args, **kwargs):
        assert may_end.wait(10.0)
        num_written.append(1)

    monkeypatch.setattr(result, "write_result", write)

    def ask(num):
        may_end.clear()
        with ThreadPoolExecutor(num) as threads:
            request = SaveMap.Request(folder=str(tmp_path / "out"))
            answers = [
                threads.submit(services._save_map, request, SaveMap.Response()) for _ in range(num)
            ]
            time.sleep(0.3)
            if num == 1:
                node.refine_map()
            may_end.set()
            assert all(a.result().success for a in answers)

    ask(3)
    assert len(num_written) == 1 and node.is_saved
    ask(1)  # it is asked later: written again; and what is refined meanwhile is not saved
    assert len(num_written) == 2 and not node.is_saved
    monkeypatch.setattr(result, "write_result", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        services.write(str(tmp_path / "out"))
    assert not node.is_saved


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_what_there_is_and_ends_with_0(
    start, peer, feed, clusters, eventually, tmp_path, number
):
    process = start("mapping", node__output_dir=tmp_path / "out")
    peer.listen(msg.InstanceArray, "mapping/instances")
    feed(clusters[:1])
    assert eventually(lambda: peer.heard["mapping/instances"])
    code, text = process.end(number)
    assert code == 0
    assert "Traceback" not in text
    poses = np.loadtxt(tmp_path / "out" / "trajectory.tum")
    assert len(poses) == len({s for f in clusters[0].frames for s in f.picture_stamps_ns})


def test_gap_in_the_sequence_is_counted_and_shown_in_diagnostics(
    start, peer, feed, clusters, eventually
):
    start("mapping", node__diagnostics_period_s=0.1)
    peer.listen(DiagnosticArray, "/diagnostics")
    feed(clusters[1:])

    def errors():
        last = [s for m in peer.heard["/diagnostics"] for s in m.status][-1:]
        return [(s.message, {v.key: v.value for v in s.values}["errors"]) for s in last]

    assert eventually(lambda: errors() and errors()[0][1] == "1")
    assert "cluster 1 came where 0 was due" in errors()[0][0]


def test_clusters_node_killed_and_started_again_the_map_goes_on_and_its_pictures_are_told_lost(
    start, peer, feed, clusters_of_two_runs, eventually, tmp_path
):
    first, second = clusters_of_two_runs
    start("mapping", node__diagnostics_period_s=0.1)
    peer.listen(DiagnosticArray, "/diagnostics")
    peer.listen(msg.InstanceArray, "mapping/instances")
    told = peer.node.create_publisher(DiagnosticArray, "/diagnostics", 50)
    names = [camera.name for camera in first[0].rig.cameras]
    num, more = (len({f.stamp_ns for c in run for f in c.frames}) for run in (first, second))
    assert min(num, more) >= 20

    def received(run, left, right):
        status = DiagnosticStatus(name="clusters", hardware_id="seg2d3d_ros")
        values = {"run": run, **dict(zip(names, (left, right), strict=True))}
        status.values = [
            KeyValue(key=k if k == "run" else f"received.{k}", value=str(n))
            for k, n in values.items()
        ]
        told.publish(DiagnosticArray(status=[status]))

    def mapping():
        last = [s for m in peer.heard["/diagnostics"] for s in m.status if s.name == "mapping"]
        return last[-1].message, {v.key: v.value for v in last[-1].values}

    feed(first)
    assert eventually(lambda: len(peer.heard["mapping/instances"]) == len(first))
    received(1, num + 6, num + 4)  # it held six and four, and is killed
    received(2, 3, 3)
    feed(second)
    all_mapped = len(first) + len(second)
    assert eventually(lambda: len(peer.heard["mapping/instances"]) == all_mapped)
    assert eventually(lambda: f"dropped.{names[0]}.node_ended" in mapping()[1])
    message, values = mapping()
    assert f"6 pictures of {names[0]}, 4 pictures of {names[1]}" in message
    assert values["errors"] == "2"
    assert eventually(lambda: mapping()[1]["sessions"] == "2")
    saved = peer.call(SaveMap, "mapping/save_map", folder=str(tmp_path / "out"))
    assert saved.success, saved.message
    frames = json.loads((tmp_path / "out" / "run.json").read_text())["frames"]
    for name, lost in zip(names, (6, 4), strict=True):
        assert frames[name]["dropped"] == {"node_ended": lost}
        assert frames[name]["processed"] == num + more == frames[name]["received"] - lost
    poses = np.loadtxt(tmp_path / "out" / "trajectory.tum")
    before, after = poses[num - 1], poses[num]  # 6 m/s on the straight street
    assert np.linalg.norm(after[1:4] - before[1:4]) == pytest.approx(
        6.0 * (after[0] - before[0]), abs=1.0
    )


def test_late_listener_sees_the_whole_map_also_when_no_update_follows(
    start, peer, feed, clusters_of_two_runs, eventually
):
    start("mapping", node__points_period_s=3.0)
    peer.listen(msg.InstanceArray, "mapping/instances")
    given = [cluster for run in clusters_of_two_runs for cluster in run]
    feed(given)  # the first makes a whole map, the next one comes before another is due
    assert eventually(lambda: len(peer.heard["mapping/instances"]) == len(given))
    peer.listen(Path, "mapping/path", LATCHED)
    peer.listen(PointCloud2, "mapping/points", LATCHED)
    newest = max(f.stamp_ns for c in given for f in c.frames if f.is_keyframe)

    def end():
        poses = [p for path in peer.heard["mapping/path"][-1:] for p in path.poses]
        return max((p.header.stamp.sec * 10**9 + p.header.stamp.nanosec for p in poses), default=0)

    assert eventually(lambda: end() == newest, 20)
    assert eventually(lambda: peer.heard["mapping/points"], 20)
    stamp = peer.heard["mapping/points"][-1].header.stamp
    assert stamp.sec * 10**9 + stamp.nanosec >= newest


def test_pause_keeps_clusters_waiting_and_resume_maps_them(
    start, peer, feed, clusters, eventually
):
    start("mapping", node__diagnostics_period_s=0.1)
    peer.listen(msg.InstanceArray, "mapping/instances")
    peer.listen(DiagnosticArray, "/diagnostics")
    assert peer.call(Trigger, "mapping/pause").success
    feed(clusters)

    def told(key):
        values = [v for m in peer.heard["/diagnostics"] for s in m.status for v in s.values]
        return [v.value for v in values if v.key == key][-1:]

    assert eventually(lambda: told("received") == [str(len(clusters))])
    assert eventually(lambda: told("waiting") == [str(len(clusters))])
    assert peer.heard["mapping/instances"] == []
    assert peer.call(Trigger, "mapping/resume").success
    assert eventually(lambda: len(peer.heard["mapping/instances"]) == len(clusters))


def test_reset_begins_an_empty_map_that_takes_the_same_clusters_again(
    start, peer, feed, clusters, eventually
):
    start("mapping", node__finish_timeout_s=2.0)
    peer.listen(msg.InstanceArray, "mapping/instances")
    heard = peer.heard["mapping/instances"]
    feed(clusters)
    assert eventually(lambda: len(heard) == len(clusters))
    assert "did not answer" in peer.call(Trigger, "mapping/reset").message  # the other two nodes
    feed(clusters)
    assert eventually(lambda: len(heard) == 2 * len(clusters))
    before, after = heard[: len(clusters)], heard[len(clusters) :]
    assert [[i.id for i in m.instances] for m in before] == [
        [i.id for i in m.instances] for m in after
    ]
