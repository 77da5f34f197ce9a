"""Edits by hand over DDS: services, events, a map that is saved, loaded and continued."""

import json
import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")
pytest.importorskip("seg2d3d_ros.msg", reason="the messages are not built: make setup")

from geometry_msgs.msg import Point
from rclpy.qos import DurabilityPolicy, QoSProfile
from read_messages import from_event, from_instance
from visualization_msgs.msg import Marker, MarkerArray

import seg2d3d_ros.msg as msg
from seg2d3d_ros.io.result import read_result
from seg2d3d_ros.nodes.conversions.clusters import to_cluster
from seg2d3d_ros.nodes.parameters import KEEP_ALL
from seg2d3d_ros.srv import (
    ExplainInstance,
    Finish,
    LoadMap,
    MergeInstances,
    SaveMap,
    SplitInstance,
    Undo,
)

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Map:
    """What a listener knows of the map: instances, markers and events."""

    def __init__(self, peer):
        self.peer = peer
        peer.listen(msg.InstanceArray, "mapping/instances")
        peer.listen(msg.InstanceEvent, "mapping/events", KEEP_ALL)
        peer.listen(MarkerArray, "mapping/markers", LATCHED)
        self.publisher = peer.node.create_publisher(msg.Cluster, "clusters", KEEP_ALL)

    @property
    def updates(self):
        return self.peer.heard["mapping/instances"]

    @property
    def events(self):
        return [from_event(e) for e in self.peer.heard["mapping/events"]]

    def ids(self):
        """Ids on the map, put together from all that was told."""
        alive = {}
        for update in self.updates:
            alive = {} if update.is_full else alive
            alive |= {i.id: from_instance(i) for i in update.instances}
            for gone in update.removed:
                alive.pop(gone, None)
        return alive

    def drawn(self):
        """Ids that a viewer shows."""
        shown = set()
        for m in [m for a in self.peer.heard["mapping/markers"] for m in a.markers]:
            if m.ns == "box":
                (shown.add if m.action == Marker.ADD else shown.discard)(m.id)
        return shown

    def feed(self, clusters, eventually):
        before = len(self.updates)
        assert eventually(lambda: self.publisher.get_subscription_count() > 0)
        for cluster in clusters:
            self.publisher.publish(to_cluster(cluster))
        assert eventually(lambda: len(self.updates) >= before + len(clusters))


def neighbours(known):
    """Ids of the two instances that are nearest to each other, of those that are sure to stay."""
    sure = [i for i in known.values() if i.num_points >= 50]
    pairs = [(a, b) for a in sure for b in sure if a.id < b.id]
    distance = [((a.centroid_map - b.centroid_map) ** 2).sum() for a, b in pairs]
    return [i.id for i in pairs[int(np.argmin(distance))]]


@pytest.fixture
def live(start, peer, clusters, eventually):
    start("mapping")
    known = Map(peer)
    known.feed(clusters, eventually)
    peer.call(Finish, "mapping/finish", timeout_s=5.0)
    assert eventually(lambda: known.updates[-1].is_full)
    return known


def test_edits_over_services_are_published_and_undone(live, peer, eventually):
    before = live.ids()
    keeper, other = neighbours(before)
    merged = peer.call(MergeInstances, "mapping/merge_instances", instances=[other, keeper])
    assert (merged.success, merged.instance) == (True, keeper), merged.message
    assert eventually(lambda: set(live.ids()) == set(before) - {other} == live.drawn())
    told = peer.call(ExplainInstance, "mapping/explain_instance", instance=keeper)
    assert told.success and "by hand" in told.message
    assert json.loads(told.report)["num_edits"] == 1
    assert from_event(told.events[-1]).evidence["manual"] == 1.0

    at = live.ids()[keeper].centroid_map
    line = [Point(x=at[0], y=at[1]), Point(x=at[0], y=at[1] + 1.0)]
    parted = peer.call(SplitInstance, "mapping/split_instance", instance=keeper, line=line)
    assert parted.success and parted.other > max(before), parted.message
    assert eventually(lambda: parted.other in live.ids() and parted.other in live.drawn())

    assert peer.call(Undo, "mapping/undo").num_left == 1
    undone = peer.call(Undo, "mapping/undo")
    assert (undone.success, undone.num_left) == (True, 0)
    assert eventually(lambda: set(live.ids()) == set(before) == live.drawn())
    after = live.ids()
    assert all(repr(after[i]) == repr(before[i]) for i in before)
    # whoever follows the events alone hears every number once
    assert eventually(lambda: live.events[-1].kind == "undone")
    assert [e.sequence for e in live.events] == list(range(len(live.events)))


def test_edits_that_cannot_be_done_say_why_and_change_nothing(live, peer):
    known = live.ids()
    answers = [
        peer.call(MergeInstances, "mapping/merge_instances", instances=[min(known)]),
        peer.call(SplitInstance, "mapping/split_instance", instance=min(known), cameras=["a"]),
        peer.call(ExplainInstance, "mapping/explain_instance", instance=999),
        peer.call(Undo, "mapping/undo"),
        peer.call(LoadMap, "mapping/load_map", folder="/nowhere"),
        peer.call(LoadMap, "mapping/load_map"),
        peer.call(
            SplitInstance,
            "mapping/split_instance",
            instance=min(known),
            line=[Point(x=math.nan), Point(x=1.0)],
        ),
    ]
    assert not any(a.success for a in answers)
    said = [
        *("two or more", "one of each", "no instance 999", "nothing to undo", "no saved map"),
        *("needs a folder", "finite numbers; this is [[nan, 0.0], [1.0, 0.0]]"),
    ]
    for answer, text in zip(answers, said, strict=True):
        assert text in answer.message
    assert live.ids().keys() == known.keys()


def test_map_that_was_saved_is_loaded_and_takes_more_clusters(
    live, peer, clusters, eventually, tmp_path
):
    first = live.ids()
    keeper, other = neighbours(first)
    peer.call(MergeInstances, "mapping/merge_instances", instances=[keeper, other])
    saved = peer.call(SaveMap, "mapping/save_map", folder=str(tmp_path / "kept"))
    assert saved.success, saved.message
    peer.call(Undo, "mapping/undo")
    loaded = peer.call(LoadMap, "mapping/load_map", folder=str(tmp_path / "kept"))
    assert loaded.success, loaded.message
    assert loaded.num_instances == len(first) - 1
    assert eventually(lambda: set(live.ids()) == set(first) - {other} == live.drawn())
    # the edit came along, and so did its undo
    live.feed(clusters, eventually)
    peer.call(Finish, "mapping/finish", timeout_s=5.0)
    again = peer.call(SaveMap, "mapping/save_map", folder=str(tmp_path / "more"))
    assert again.success, again.message
    both = [read_result(tmp_path / name) for name in ("kept", "more")]
    assert len(both[1].stamps_ns) == 2 * len(both[0].stamps_ns)
    assert len(both[1].points) > len(both[0].points)
    assert peer.call(Undo, "mapping/undo").success
    assert eventually(lambda: {keeper, other} <= set(live.ids()))
