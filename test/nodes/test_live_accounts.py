import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")

from seg2d3d_ros.config import Config
from seg2d3d_ros.nodes.live_accounts import LiveAccounts
from seg2d3d_ros.types import (
    Camera,
    Cluster,
    Dropped,
    Keyframe,
    Landmarks,
    Observations,
    Rig,
)

NOBODY = np.zeros(0, dtype=np.int64)


def cluster(*stamps, session=0, dropped=(), is_last=False):
    """Return a cluster of two cameras with frames at the given stamps and no landmarks."""
    cameras = tuple(Camera(n, 4, 4, np.eye(3), np.eye(4)) for n in ("left", "right"))
    return Cluster(
        sequence=0,
        session=session,
        scale="metric",
        num_overlap=0,
        rig=Rig(cameras, remarks=("level at the start",)),
        frames=tuple(Keyframe(s, np.eye(4), True, (0, 1), (s, s + 1)) for s in stamps),
        landmarks=Landmarks(
            NOBODY,
            np.zeros((0, 3)),
            np.zeros((0, 3), dtype=np.uint8),
            np.zeros((0, 0), dtype=np.uint8),
            np.zeros(0, dtype=np.float32),
        ),
        observations=Observations(NOBODY, NOBODY, NOBODY, np.zeros((0, 2), dtype=np.float32)),
        dropped=dropped,
        is_last=is_last,
    )


def report(accounts):
    return accounts.report(Config(), {"mapping": 2.0}, {"clusters": 2.0})


def test_accounts_overlapping_clusters_count_each_picture_once():
    accounts = LiveAccounts()
    accounts.mapped(cluster(10, 20, 30))
    accounts.mapped(cluster(20, 30, 40, dropped=(Dropped("left", 25, "overload"),)))
    frames = report(accounts).frames
    assert (frames["left"].received, frames["left"].processed) == (5, 4)
    assert frames["left"].dropped == {"overload": 1}
    assert (frames["right"].received, frames["right"].dropped) == (4, {})


def test_accounts_classes_bear_the_names_of_cityscapes_until_others_are_told():
    accounts = LiveAccounts()
    assert (accounts.classes[11], accounts.classes[23]) == ("building", "sky")
    accounts.heard("segmentation", {"classes": {"40": "kiosk"}})
    assert accounts.classes == {40: "kiosk"}


def test_accounts_stamps_that_come_again_in_a_new_session_count_again():
    accounts = LiveAccounts()
    accounts.mapped(cluster(10, 20, 30))
    accounts.mapped(cluster(10, 20, session=1))
    assert report(accounts).frames["left"].processed == 5


def test_accounts_more_received_than_mapped_appear_as_not_mapped():
    accounts = LiveAccounts()
    accounts.mapped(cluster(10, 20))
    accounts.heard("clusters", {"received": {"left": 5, "right": 2}})
    frames = report(accounts).frames
    assert frames["left"].dropped == {"not_mapped": 3}
    assert frames["left"].received == frames["left"].processed + 3 == 5
    assert frames["right"].dropped == {}


def test_accounts_reports_of_the_other_nodes_are_joined_with_those_of_the_map():
    accounts = LiveAccounts()
    accounts.mapped(cluster(0, 2_000_000_000))
    accounts.heard(
        "segmentation",
        {
            "seconds": {"segmentation": 1.5},
            "segmentation": {"left": {"ok": 2}},
            "backend": "labels",
            "classes": {"11": "building"},
            "remarks": ["backend 'labels' because"],
        },
    )
    accounts.heard("clusters", {"seconds": {"clusters": 3.0}, "wall_s": 8.0})
    made = report(accounts)
    assert made.seconds == {"segmentation": 1.5, "clusters": 3.0, "mapping": 2.0}
    assert (made.backend, made.classes) == ("labels", {11: "building"})
    assert made.frames["left"].segmentation == {"ok": 2}
    assert made.remarks == ("level at the start", "backend 'labels' because")
    assert made.recording_s == pytest.approx(2.0)
    assert made.real_time_factor == pytest.approx(2.0 / 8.0)


def test_accounts_run_ends_once_however_often_it_is_finished(monkeypatch):
    accounts, now_s = LiveAccounts(), [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    accounts.heard("clusters", {"wall_s": 8.0})
    for now_s[0] in (103.0, 900.0):
        accounts.finished()
        assert report(accounts).wall_s == pytest.approx(8.0 + 3.0)


def test_accounts_last_cluster_is_remembered():
    accounts = LiveAccounts()
    accounts.mapped(cluster(10))
    assert not accounts.has_last
    accounts.mapped(cluster(20, is_last=True))
    accounts.mapped(cluster(30))
    assert accounts.has_last


def diagnostics(run, after_finish=0, **received):
    values = {f"received.{name}": str(num) for name, num in received.items()}
    after = {f"dropped.{name}.after_finish": str(after_finish) for name in received}
    return {"run": str(run), "waiting": "0", **values, **after}


def balance(counts):
    return counts.received - counts.processed - sum(counts.dropped.values())


def killed_and_started_again():
    """Return accounts of a clusters node that was killed over three pictures of each camera."""
    accounts = LiveAccounts()
    accounts.told("clusters", diagnostics(1, left=5, right=5))
    accounts.mapped(cluster(10, 20))
    accounts.told("segmentation", diagnostics(7, left=6, right=6))
    accounts.told("clusters", diagnostics(2, left=1, right=1))  # seven and eight came to nobody
    assert accounts.ledger.lost() == {}  # clusters of the first run may still wait to be mapped
    accounts.ledger.begin()
    accounts.mapped(cluster(90, 100))
    return accounts


def test_accounts_node_started_again_its_pictures_are_lost_and_the_sum_is_right():
    accounts = killed_and_started_again()
    assert accounts.ledger.lost() == {"left": 3, "right": 3}
    received = {"left": 10, "right": 11}
    accounts.heard("segmentation", {"run": 7, "received": received})
    accounts.heard("clusters", {"run": 2, "received": {"left": 2, "right": 3}})
    frames = report(accounts).frames
    assert (frames["left"].received, frames["left"].processed) == (10, 4)
    assert frames["left"].dropped == {"node_ended": 6}
    assert frames["right"].dropped == {"node_ended": 6, "not_mapped": 1}
    assert [balance(c) for c in frames.values()] == [0, 0]
    assert "6 pictures of left, 6 pictures of right" in report(accounts).remarks[-1]


def test_accounts_node_killed_before_its_first_cluster_is_lost_with_the_one_before():
    accounts = killed_and_started_again()
    accounts.told("clusters", diagnostics(3, left=8, right=8))
    accounts.told("clusters", diagnostics(4, left=2, right=2))
    accounts.ledger.begin()
    accounts.mapped(cluster(200, 210, 220))
    accounts.told("clusters", diagnostics(4, left=3, right=3))
    frames = report(accounts).frames
    assert frames["left"].processed == 7
    # three of the first run and all of the third; the second told of one, and two were mapped
    assert (frames["left"].received, frames["left"].dropped) == (17, {"node_ended": 10})
    assert balance(frames["left"]) == 0


def test_accounts_node_that_is_gone_at_the_end_takes_what_it_held():
    accounts = LiveAccounts()
    accounts.mapped(cluster(10, 20))
    accounts.told("clusters", diagnostics(1, left=5, right=4))
    accounts.told("segmentation", diagnostics(7, left=9, right=4))
    assert report(accounts).frames["left"].dropped == {"not_mapped": 3}
    accounts.ledger.end(True)
    frames = report(accounts).frames
    assert frames["left"].dropped == {"node_ended": 7}
    assert frames["right"].dropped == {"node_ended": 2}
    assert [balance(c) for c in frames.values()] == [0, 0]


def test_accounts_pictures_after_the_end_are_none_of_the_run():
    accounts = LiveAccounts()
    accounts.mapped(cluster(10, 20))
    accounts.told("clusters", diagnostics(1, left=9, after_finish=7))
    counts = report(accounts).frames["left"]
    assert (counts.received, counts.dropped) == (2, {})


def test_accounts_late_words_of_a_run_before_the_reset_are_not_heard():
    before = LiveAccounts()
    before.told("clusters", diagnostics(1, left=50))
    accounts = LiveAccounts(before.ledger.runs.all())
    accounts.told("clusters", diagnostics(1, left=51))
    accounts.told("clusters", {"problem": "no camera has been seen yet"})
    accounts.told("clusters", diagnostics(2, left=2))
    accounts.mapped(cluster(10, 20))
    counts = report(accounts).frames["left"]
    assert (counts.received, counts.dropped) == (2, {})


def test_accounts_clusters_that_come_before_their_node_is_heard_are_not_held_against_others():
    accounts = LiveAccounts()
    accounts.told("clusters", diagnostics(1, left=5, right=5))
    accounts.mapped(cluster(10, 20))
    accounts.ledger.begin()  # started again, and its first words are still on their way
    accounts.mapped(cluster(90, 100))
    assert accounts.ledger.lost() == {"left": 3, "right": 3}
    accounts.told("clusters", diagnostics(2, left=4, right=2))
    frames = report(accounts).frames
    assert frames["left"].dropped == {"node_ended": 3, "not_mapped": 2}
    assert frames["right"].dropped == {"node_ended": 3}
    assert [balance(c) for c in frames.values()] == [0, 0]
