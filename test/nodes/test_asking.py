"""Answers that get lost are asked for again, where that does no harm."""

import threading

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")

from rclpy.task import Future

from seg2d3d_ros.nodes import asking
from seg2d3d_ros.nodes.asking import ask


class Client:
    """A client whose first answers are lost on the way."""

    def __init__(self, num_lost, answer_after_s=0.0):
        self.asked, self.removed = [], []
        self._num_lost, self._after_s = num_lost, answer_after_s

    def call_async(self, request):
        self.asked.append(Future())
        if len(self.asked) > self._num_lost:
            future, answer = self.asked[-1], f"answer {len(self.asked)} to {request}"
            threading.Timer(self._after_s, future.set_result, [answer]).start()
        return self.asked[-1]

    def remove_pending_request(self, future):
        self.removed.append(future)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(asking, "_AGAIN_S", 0.2)
    monkeypatch.setattr(asking, "_POLL_S", 0.01)


def test_ask_answer_that_comes_is_returned_and_nothing_stays_pending():
    client = Client(num_lost=0)
    assert ask(client, "hello", 5.0) == "answer 1 to hello"
    assert (len(client.asked), client.removed) == (1, [])


def test_ask_lost_answer_of_what_may_be_asked_twice_comes_the_next_time():
    client = Client(num_lost=2)
    assert ask(client, "flush", 10.0, is_idempotent=True) == "answer 3 to flush"
    assert client.removed == client.asked[:2]


def test_ask_lost_answer_of_what_may_not_be_asked_twice_is_none_in_the_end():
    client = Client(num_lost=1)
    assert ask(client, "reset", 0.6) is None
    assert client.removed == client.asked and len(client.asked) == 1


def test_ask_of_a_server_that_is_long_at_it_asks_three_times_at_most():
    client = Client(num_lost=9)
    assert ask(client, "finish", 2.5, is_idempotent=True) is None
    assert client.removed == client.asked and len(client.asked) == 3


def test_ask_slow_answer_to_the_first_question_is_taken():
    client = Client(num_lost=0, answer_after_s=0.5)
    assert ask(client, "flush", 10.0, is_idempotent=True) == "answer 1 to flush"


def test_ask_gives_up_when_told_to():
    client = Client(num_lost=9)
    assert ask(client, "finish", 60.0, lambda: len(client.asked) == 2, is_idempotent=True) is None
    assert client.removed == client.asked
