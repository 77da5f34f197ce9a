"""The whole graph as processes on a real DDS, fed by a bag that is played into it."""

import csv
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager

import numpy as np
import psutil
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")
pytest.importorskip("seg2d3d_ros.msg", reason="the messages are not built: make setup")

import rclpy
from rclpy.qos import QoSProfile

from seg2d3d_ros.config import Config
from seg2d3d_ros.io.result import write_result
from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.msg import Cluster
from seg2d3d_ros.nodes.graph import Graph, GraphOptions
from seg2d3d_ros.nodes.player import Player, PlayOptions
from seg2d3d_ros.nodes.remote import Remote
from seg2d3d_ros.pipeline import Pipeline


def never():
    return False


def map_live(bag, out, options, parameters=()):
    """Play a bag into a graph of our own and save what comes out; return what finish said."""
    with Graph(GraphOptions(parameters=(("node.discovery_s", "1.0"), *parameters))) as nodes:
        remote = Remote()
        nodes.wait_until_active(remote, never)
        player = Player(bag, options)
        assert player.wait_for_subscribers(never)
        assert player.play().is_complete
        player.close()
        ended = remote.finish(120)
        remote.save_map(str(out), 60)
        remote.close()
        nodes.check()
    assert nodes.dead() == {"mapping": 0, "clusters": 0, "segmentation": 0}
    return ended


def map_by_replay(bag, out):
    source = open_source(bag)
    pipeline = Pipeline(Config(), source.rig)
    for item in source:
        pipeline.push(item)
    full = pipeline.finish()
    write_result(out, full, pipeline.report(source.name))


def read_assignments(folder):
    with open(folder / "observations.csv") as file:
        return {
            (row["stamp_ns"], row["camera"], row["label"]): int(row["instance_id"])
            for row in csv.DictReader(file)
        }


@contextmanager
def listening_to_clusters():
    """Give what waits for the first cluster on the graph, some seconds at most."""
    node, clusters = rclpy.create_node("listener"), []
    node.create_subscription(Cluster, "clusters", clusters.append, QoSProfile(depth=10))

    def heard(seconds):
        limit_s = time.monotonic() + seconds
        while not clusters and time.monotonic() < limit_s:
            rclpy.spin_once(node, timeout_sec=0.1)
        return bool(clusters)

    yield heard
    node.destroy_node()


def adjusted_rand(a, b):
    """Return the adjusted Rand index of two groupings of the same things (Hubert, Arabie 1985)."""

    def pairs(counts):
        return sum(n * (n - 1) / 2 for n in counts.values())

    both, of_a, of_b = pairs(Counter(zip(a, b, strict=True))), pairs(Counter(a)), pairs(Counter(b))
    expected = of_a * of_b / (len(a) * (len(a) - 1) / 2)
    return (both - expected) / ((of_a + of_b) / 2 - expected)


def test_live_without_load_gives_what_replay_gives(graph, drive, tmp_path):
    live, replayed = tmp_path / "live", tmp_path / "replay"
    paced = PlayOptions(rate=1.0, min_subscribers=2, max_waiting=8)
    ended = map_live(drive / "bag", live, paced, (("node.max_wait_s", "0.0"),))
    map_by_replay(drive / "bag", replayed)

    assert ended.success, ended.message
    frames = json.loads((live / "run.json").read_text())["frames"]
    assert frames == json.loads((replayed / "run.json").read_text())["frames"]
    assert all(c["received"] == c["processed"] > 40 and not c["dropped"] for c in frames.values())
    poses, expected = (np.loadtxt(f / "trajectory.tum") for f in (live, replayed))
    assert np.array_equal(poses[:, 0], expected[:, 0])
    assert np.linalg.norm(poses[:, 1:4] - expected[:, 1:4], axis=1).max() < 0.02
    ours, theirs = read_assignments(live), read_assignments(replayed)
    assert ours.keys() == theirs.keys()
    keys = sorted(ours)
    assert adjusted_rand([ours[k] for k in keys], [theirs[k] for k in keys]) >= 0.98
    instances = [
        len(json.loads((f / "instances.json").read_text())["instances"]) for f in (live, replayed)
    ]
    assert instances[0] == instances[1] == ended.num_instances > 3


def test_live_under_overload_sheds_pictures_and_accounts_for_every_one(graph, drive, tmp_path):
    # Four times real time, unpaced, two pictures may wait: more than two cores can do.
    ended = map_live(
        drive / "bag",
        tmp_path / "out",
        PlayOptions(rate=4.0, min_subscribers=2),
        (("node.queue_pictures", "2"),),
    )
    assert ended.success, ended.message
    report = json.loads((tmp_path / "out" / "run.json").read_text())
    with (drive / "truth" / "trajectory.tum").open() as file:
        num_moments = sum(not line.startswith("#") for line in file)
    for counts in report["frames"].values():
        assert counts["received"] == num_moments
        assert counts["received"] == counts["processed"] + sum(counts["dropped"].values())
        assert sum(counts["segmentation"].values()) == counts["received"]
    dropped = sum((Counter(c["dropped"]) for c in report["frames"].values()), Counter())
    assert dropped["overload"] > 0
    assert set(dropped) == {"overload"}


@pytest.fixture
def live(ros_domain, tmp_path):
    """Start `seg2d3d live` and wait until it says that the nodes are active."""
    # keyframes near to each other, so that 30 m are more than a cluster
    options = ("--out", tmp_path / "out", "--set", "clusters.keyframe_distance_m=1.2")
    command = [sys.executable, "-m", "seg2d3d_ros.cli.main", "live", *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while "the nodes are active" not in (line := process.stdout.readline()):
        assert line, process.wait()
    children = psutil.Process(process.pid).children()
    yield process, children
    for child in children:
        if child.is_running():
            child.terminate()
    if process.poll() is None:
        process.terminate()
    process.communicate()


def test_live_node_killed_on_the_way_saves_what_was_mapped(graph, live, drive, tmp_path):
    process, children = live
    player = Player(drive / "bag", PlayOptions(rate=2.0, min_subscribers=2, max_waiting=8))
    with listening_to_clusters() as heard:
        assert player.wait_for_subscribers(never)
        assert player.play().is_complete
        player.close()
        assert heard(60.0)  # the last cluster is sent at flush only
    next(c for c in children if "segmentation_node" in " ".join(c.cmdline())).kill()
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 1, text
    assert "node 'segmentation' does not answer" in text
    assert "node 'segmentation' (exit code -9) has ended; it was killed" in text
    assert not any(child.is_running() for child in children)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["num_keyframes"] >= 20 and run["num_instances"] > 0


def test_live_mapping_killed_while_it_finishes_ends_at_once(live):
    process, children = live
    mapping = next(c for c in children if "mapping_node" in " ".join(c.cmdline()))
    mapping.suspend()  # so that it is still finishing when it is killed
    process.send_signal(signal.SIGINT)
    time.sleep(2.0)
    mapping.kill()
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "node 'mapping' has ended" in text
    assert not any(child.is_running() for child in children)


def test_live_killed_leaves_no_node_behind(live):
    process, children = live
    assert len(children) == 3
    process.kill()
    _, left = psutil.wait_procs(children, timeout=30)
    assert not left


def test_live_interrupted_before_any_picture_says_there_is_nothing_to_save(live, tmp_path):
    process, children = live
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "nothing to save" in text and "no camera" in text
    assert not (tmp_path / "out").exists()
    assert not any(child.is_running() for child in children)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "/**:\n  ros__parameters:\n    clusters:\n      max_feature: 3\n",
            "did you mean 'clusters.max_features'?",
        ),
        ("clusters:\n  max_features: 700\n", "sections without 'ros__parameters'"),
    ],
)
def test_live_wrong_params_file_is_found_before_a_node_is_started(
    ros_domain, tmp_path, content, told
):
    wrong = tmp_path / "params.yaml"
    wrong.write_text(content)
    command = [sys.executable, "-m", "seg2d3d_ros.cli.main", "live", "--params-file", wrong]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert told in done.stderr


@pytest.mark.slow
def test_demo_ends_with_a_table_that_adds_up_and_a_picture(ros_domain, tmp_path):
    command = [sys.executable, "-m", "seg2d3d_ros.cli.main", "demo", "--length-m", "30"]
    done = subprocess.run(
        [*command, "--out", tmp_path / "demo"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    table = dict(line.strip().split("  ", 1) for line in done.stdout.splitlines() if "  " in line)
    for camera in ("front_left", "front_right"):
        num_in, used = table[f"frames of camera_{camera}"].split(" in = ")
        num_processed, num_dropped = (int(part.split()[0]) for part in used.split(" + "))
        assert int(num_in) == num_processed + num_dropped > 40
    found, there = (int(n) for n in table["instances found"].strip().split() if n.isdigit())
    assert 0.5 * there <= found <= 2 * there
    assert (tmp_path / "demo" / "map.png").stat().st_size > 10_000
