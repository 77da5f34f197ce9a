import threading
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")

from seg2d3d_ros.nodes.worker import Job, Worker


class Gate:
    """A stage that waits at the item `0` until it is opened, and notes what it got."""

    def __init__(self):
        self.entered, self.opened, self.got = threading.Event(), threading.Event(), []

    def push(self, item):
        if item == 0:
            self.entered.set()
            assert self.opened.wait(10)
        if item == "bad":
            raise ValueError("no good")
        self.got.append(item)
        return [item]


@pytest.fixture
def make_gated():
    made = []

    def make(**options):
        gate, out = Gate(), []
        made.append((Worker(gate.push, out.append, **options), gate, out))
        made[-1][0].start()
        return made[-1]

    yield make
    for worker, gate, _ in made:
        gate.opened.set()
        assert worker.stop()


@pytest.fixture
def gated(make_gated):
    return make_gated(capacity=3)


def picture(i, lane=""):
    return Job(make=lambda: i, shed=lambda: -i, lane=lane)


def test_worker_overload_replaces_the_oldest_pictures_where_they_stand(gated):
    worker, gate, out = gated
    worker.put(picture(0))
    assert gate.entered.wait(10)
    for i in range(1, 7):
        worker.put(picture(i))
    gate.opened.set()
    assert worker.drain(10)
    assert out == [0, -1, -2, -3, 4, 5, 6]
    stats = worker.stats()
    assert (stats["received"], stats["processed"], stats["shed"]) == (7, 7, 3)


def test_worker_overload_never_sheds_what_must_not_be_lost(gated):
    worker, gate, out = gated
    worker.put(picture(0))
    assert gate.entered.wait(10)
    odometry = [f"odom{i}" for i in range(50)]
    for name in odometry:
        worker.put(Job(make=lambda name=name: name))
    for i in range(1, 6):
        worker.put(picture(i))
    gate.opened.set()
    assert worker.drain(10)
    assert out == [0, *odometry, -1, -2, 3, 4, 5]


def test_worker_within_capacity_sheds_nothing(gated):
    worker, gate, out = gated
    worker.put(picture(0))
    assert gate.entered.wait(10)
    for i in range(1, 4):
        worker.put(picture(i))
    gate.opened.set()
    assert worker.drain(10)
    assert out == [0, 1, 2, 3]
    assert worker.stats()["shed"] == 0


def test_worker_too_late_keeps_only_the_newest_picture_of_each_lane(make_gated):
    worker, gate, out = make_gated(capacity=100, max_wait_s=0.02)
    worker.put(picture(0))
    assert gate.entered.wait(10)
    for i in range(1, 7):
        worker.put(picture(i, lane="left" if i < 4 else "right"))
    worker.put(Job(make=lambda: "odom"))
    time.sleep(0.05)
    gate.opened.set()
    assert worker.drain(10)
    assert out == [0, -1, -2, 3, -4, -5, 6, "odom"]
    assert worker.stats()["shed"] == 4


def test_worker_pause_is_no_wait(make_gated):
    worker, gate, out = make_gated(capacity=100, max_wait_s=0.2)
    gate.opened.set()
    worker.pause(True)
    for i in range(1, 4):
        worker.put(picture(i))
    time.sleep(0.3)
    worker.pause(False)
    assert worker.drain(10)
    assert out == [1, 2, 3]


def test_worker_stage_raises_is_counted_and_the_next_item_is_processed(gated):
    worker, gate, out = gated
    gate.opened.set()
    for item in ("bad", 1, "bad", 2):
        worker.put(Job(make=lambda item=item: item))
    assert worker.drain(10)
    assert out == [1, 2]
    stats = worker.stats()
    assert (stats["failed"], stats["processed"], stats["received"]) == (2, 2, 4)
    assert worker.last_error == "ValueError: no good"


def test_worker_paused_keeps_what_comes_and_goes_on_after_resume(gated):
    worker, gate, out = gated
    gate.opened.set()
    worker.pause(True)
    worker.put(picture(1))
    assert not worker.drain(0.05)
    assert out == []
    worker.pause(False)
    assert worker.drain(10)
    assert out == [1]


def test_worker_job_put_first_is_done_before_those_that_wait(gated):
    worker, gate, out = gated
    gate.opened.set()
    worker.pause(True)
    worker.put(picture(1))
    worker.put(Job(make=lambda: "warm-up"), is_first=True)
    worker.pause(False)
    assert worker.drain(10)
    assert out == ["warm-up", 1]


def test_worker_stopped_counts_what_still_waited(gated):
    worker, gate, out = gated
    worker.put(picture(0))
    assert gate.entered.wait(10)
    worker.put(picture(1))
    worker.put(Job(make=lambda: "odom"))
    threading.Timer(0.05, gate.opened.set).start()
    assert worker.stop(10)
    stats = worker.stats()
    assert out == [0]
    assert stats["received"] == stats["processed"] + stats["stopped"] + stats["failed"] == 3
    assert stats["waiting"] == 0


def test_worker_drain_while_an_item_is_at_work_waits_for_it(gated):
    worker, gate, out = gated
    worker.put(picture(0))
    assert gate.entered.wait(10)
    started = time.monotonic()
    threading.Timer(0.1, gate.opened.set).start()
    assert worker.drain(10)
    assert out == [0]
    assert time.monotonic() - started >= 0.09
