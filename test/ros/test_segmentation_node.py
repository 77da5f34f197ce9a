"""The segmentation node as a real process: networks, prompts, load, transitions."""

import json

import numpy as np
import pytest
from tiny_weights import tiny_values

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")
pytest.importorskip("seg2d3d_ros.msg", reason="the messages are not built: make setup")

from camera_on_graph import HEIGHT, STEP_NS, T0_NS, WIDTH, CameraOnGraph
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

import seg2d3d_ros.msg as msg
from seg2d3d_ros.geometry.masks import decode
from seg2d3d_ros.nodes.conversions.primitives import from_time
from seg2d3d_ros.nodes.conversions.segmentations import from_segmentation
from seg2d3d_ros.nodes.parameters import KEEP_ALL
from seg2d3d_ros.srv import Flush, SetPrompt

FAST = {
    "node__discovery_s": 0.5,
    "node__inputs_wait_s": 1.0,
    "node__diagnostics_period_s": 0.1,
    "node__max_wait_s": 0.0,  # else a busy machine decides which pictures are looked at
}
RELIABLE = QoSProfile(depth=200)


def to_parameters(values):
    return {key.replace(".", "__"): value for key, value in values.items()}


class Street:
    """A camera beside a segmentation node, and what the node says."""

    def __init__(self, peer, eventually):
        self.camera = CameraOnGraph(peer.node, qos=RELIABLE)
        self._peer, self._eventually = peer, eventually
        peer.listen(msg.Segmentation, "segmentation/cam", KEEP_ALL)
        peer.listen(DiagnosticArray, "/diagnostics")
        self.made = peer.heard["segmentation/cam"]

    def show(self, first, num):
        """Send pictures as soon as the node listens."""
        assert self._eventually(lambda: self.camera.is_heard)
        self.camera.send(*[self.camera.message(i) for i in range(first, first + num)])

    def wait_for(self, num):
        """Return all segmentations when so many have come."""
        assert self._eventually(lambda: len(self.made) >= num), f"{len(self.made)} of {num}"
        return [from_segmentation(message) for message in self.made]

    def numbers(self):
        """Return the latest diagnostics."""
        status = self._peer.heard["/diagnostics"][-1].status[0]
        return {pair.key: float(pair.value) for pair in status.values}

    def settle(self, name, value):
        """Return the diagnostics when a number has become a value."""
        reached = self._eventually(lambda: self.numbers().get(name) == value, 20)
        assert reached, self.numbers()
        return self.numbers()


@pytest.fixture
def street(peer, eventually):
    return Street(peer, eventually)


def test_node_with_networks_follows_prompts_and_transitions(
    start, peer, street, eventually, weights, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    values = tiny_values(weights, "owlv2_sam2")
    prompt = json.dumps(["building=house,building", "car"])
    process = start(
        "segmentation",
        node__autostart="false",
        segmentation__prompt=prompt,
        **to_parameters(values),
        **FAST,
    )
    assert peer.change_state("segmentation", "configure")
    assert peer.change_state("segmentation", "activate")
    peer.listen(Image, "segmentation/cam/label_picture")
    street.show(0, 3)
    before = street.wait_for(3)
    assert {(s.status, s.backend, s.prompt_version) for s in before} == {("ok", "owlv2_sam2", 0)}
    assert {m.class_id for s in before for m in s.masks} == {11, 26}
    for mask in (m for s in before for m in s.masks):
        assert decode(mask.bbox_px, mask.runs, (HEIGHT, WIDTH)).any()
        assert np.linalg.norm(mask.embedding) == pytest.approx(1, abs=1e-4)
        assert mask.embedding_model_id == "owlv2:tiny-owl"
    pictures = peer.heard["segmentation/cam/label_picture"]
    assert eventually(lambda: len(pictures) >= 3), len(pictures)
    assert [from_time(p.header.stamp) for p in pictures] == [s.stamp_ns for s in before]
    assert all(np.frombuffer(p.data, np.uint8).any() for p in pictures)

    changed = peer.call(SetPrompt, "segmentation/set_prompt", classes=["tower=bridge"])
    assert (changed.success, changed.prompt_version) == (True, 1)
    wrong = peer.call(SetPrompt, "segmentation/set_prompt", classes=["car", "car"])
    assert not wrong.success and "twice" in wrong.message and "Error" not in wrong.message
    street.show(3, 2)
    after = street.wait_for(5)[3:]
    assert {s.prompt_version for s in after} == {1}
    assert {m.class_id for s in after for m in s.masks} == {40}

    assert peer.change_state("segmentation", "deactivate")
    asleep = peer.call(SetPrompt, "segmentation/set_prompt", classes=["car"])
    assert not asleep.success and "not active" in asleep.message
    assert peer.change_state("segmentation", "activate")
    street.show(5, 1)
    (last,) = street.wait_for(6)[5:]
    assert (last.prompt_version, {m.class_id for m in last.masks}) == (1, {40})
    assert peer.change_state("segmentation", "deactivate")
    assert peer.change_state("segmentation", "cleanup")
    assert process.is_alive


@pytest.mark.parametrize("name", ["grounded_sam", "grounded_sam2", "sam3", "sam_auto"])
def test_node_with_network_segments_what_a_camera_sends(
    start, peer, street, weights, tmp_path, monkeypatch, name
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    start("segmentation", **to_parameters(tiny_values(weights, name)), **FAST)
    street.show(0, 2)
    made = street.wait_for(2)
    assert [s.stamp_ns for s in made] == [T0_NS, T0_NS + STEP_NS]
    assert {(s.status, s.backend, s.width_px, s.height_px) for s in made} == {
        ("ok", name, WIDTH, HEIGHT)
    }
    masks = [m for s in made for m in s.masks]
    assert masks or name == "sam_auto"  # random weights find no mask good enough for it
    for mask in masks:
        x0, y0, x1, y1 = mask.bbox_px
        assert 0 <= x0 < x1 <= WIDTH and 0 <= y0 < y1 <= HEIGHT
        assert decode(mask.bbox_px, mask.runs, (HEIGHT, WIDTH)).any()


def test_node_under_load_passes_the_oldest_by_and_accounts_for_every_picture(
    start, peer, street, slow_backend
):
    start("segmentation", segmentation__backend="slow", node__queue_pictures=3, **FAST)
    street.show(0, 20)
    made = street.wait_for(20)
    assert [s.stamp_ns for s in made] == [T0_NS + i * STEP_NS for i in range(20)]
    statuses = [str(s.status) for s in made]
    num_seen = statuses.count("ok")
    assert set(statuses) == {"ok", "overload"}
    assert statuses[-3:] == ["ok"] * 3, "the newest are those that are looked at"
    assert statuses.count("overload") >= 10
    numbers = street.settle("segmentation.cam.ok", num_seen)
    accounts = {k: n for k, n in numbers.items() if ".cam" in k}
    assert accounts == {
        "received.cam": 20,
        "processed.cam": num_seen,
        "waiting.cam": 0,
        "dropped.cam.overload": 20 - num_seen,
        "segmentation.cam.ok": num_seen,
        "segmentation.cam.overload": 20 - num_seen,
    }
    assert numbers["latency_p95_ms"] >= numbers["latency_p50_ms"] >= 100  # the backend's own
    report = json.loads(peer.call(Flush, "segmentation/flush").report)
    assert report["segmentation"] == {"cam": {"ok": num_seen, "overload": 20 - num_seen}}


def test_node_slower_than_the_camera_looks_at_the_newest_picture(
    start, peer, street, slow_backend, monkeypatch
):
    monkeypatch.setenv("SLOW_BACKEND_S", "0.5")
    start("segmentation", segmentation__backend="slow", **{**FAST, "node__max_wait_s": 0.3})
    street.show(0, 20)  # the first is at work for half a second: by then all others are late
    statuses = [str(s.status) for s in street.wait_for(20)]
    assert statuses == ["ok", *["overload"] * 18, "ok"]


def test_node_whose_backend_cannot_go_on_deactivates_and_says_why(
    start, peer, street, slow_backend, eventually, monkeypatch
):
    monkeypatch.setenv("SLOW_BACKEND_PICTURES", "2")
    process = start("segmentation", segmentation__backend="slow", **FAST)
    street.show(0, 5)
    assert eventually(lambda: peer.state("segmentation") == "inactive")
    assert [str(s.status) for s in street.wait_for(3)] == ["ok", "ok", "failed"]
    numbers = street.settle("waiting.cam", 0)
    assert numbers["dropped.cam.stopped"] == 2
    (status,) = peer.heard["/diagnostics"][-1].status
    assert status.level == DiagnosticStatus.ERROR
    assert status.message == "segmentation stops: out of memory, and the ladder says to stop"
    flushed = peer.call(Flush, "segmentation/flush")
    assert not flushed.success and "the ladder says to stop" in flushed.message
    assert slow_backend()[-1] == "deactivate"
    assert peer.change_state("segmentation", "activate")
    assert process.is_alive


def test_node_has_the_model_on_its_device_only_while_it_is_active(
    start, peer, street, slow_backend, monkeypatch
):
    monkeypatch.setenv("SLOW_BACKEND_S", "0.5")
    start("segmentation", segmentation__backend="slow", node__autostart="false", **FAST)
    assert peer.change_state("segmentation", "configure")
    assert slow_backend() == ["made"]
    assert peer.change_state("segmentation", "activate")
    street.show(0, 4)
    street.wait_for(1)
    on_device = ["made", f"activate {(HEIGHT, WIDTH)}"]
    assert slow_backend() == on_device
    assert peer.change_state("segmentation", "deactivate")
    assert slow_backend() == [*on_device, "deactivate"]
    numbers = street.settle("waiting.cam", 0)
    assert numbers["received.cam"] == 4
    assert numbers["dropped.cam.stopped"] == 4 - numbers["processed.cam"] > 0
    assert peer.change_state("segmentation", "activate")
    street.show(4, 1)
    assert street.wait_for(int(numbers["processed.cam"]) + 1)[-1].status == "ok"
    assert slow_backend() == [*on_device, "deactivate", on_device[1]]
    wrong = peer.call(SetPrompt, "segmentation/set_prompt", classes=["car=van"])
    assert not wrong.success and wrong.message == "no synonyms here; give names alone"
    assert peer.change_state("segmentation", "deactivate")
    assert peer.change_state("segmentation", "cleanup")
    assert slow_backend()[4:] == ["deactivate", "close"]
