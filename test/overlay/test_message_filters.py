"""What message_filters does, stated so that the original passes too."""

import itertools
import random
import threading

import pytest

message_filters = pytest.importorskip("message_filters", reason="needs `source env.bash`")
rclpy_time = pytest.importorskip("rclpy.time", reason="needs `source env.bash`")

Time = rclpy_time.Time
MS = 1_000_000


class Header:
    def __init__(self, stamp):
        self.stamp = stamp


class Message:
    def __init__(self, stamp_ms, name=""):
        stamp_ns = round(stamp_ms * MS)
        self.header = Header(rclpy_time.Time(nanoseconds=stamp_ns).to_msg())
        self.stamp_ms, self.name = stamp_ms, name

    def __repr__(self):
        return f"{self.name}@{self.stamp_ms}"


class Headerless:
    pass


def make_inputs(count):
    return [message_filters.SimpleFilter() for _ in range(count)]


def collect(synchronizer):
    found = []
    synchronizer.registerCallback(lambda *messages: found.append(messages))
    return found


def stamps(found):
    return [tuple(message.stamp_ms for message in messages) for messages in found]


def at(stamp_ms):
    """A Time on the clock that stamps of messages have."""
    return Time.from_msg(Time(nanoseconds=stamp_ms * MS).to_msg())


# --- SimpleFilter, Subscriber ---------------------------------------------------------------


def test_simple_filter_callbacks_run_in_order_with_their_own_arguments():
    calls = []
    simple = message_filters.SimpleFilter()
    assert simple.registerCallback(lambda *a: calls.append(("first", a)), "extra", 5) == 0
    assert simple.registerCallback(lambda *a: calls.append(("second", a))) == 1
    simple.signalMessage(1, 2)
    assert calls == [("first", (1, 2, "extra", 5)), ("second", (1, 2))]


class Node:
    """Records what create_subscription was asked for."""

    def create_subscription(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs
        self.subscription = type("Subscription", (), {"topic_name": "/resolved"})()
        return self.subscription


def test_subscriber_asks_the_node_and_passes_messages_on():
    node, calls = Node(), []
    subscriber = message_filters.Subscriber(node, str, "camera/image")
    subscriber.registerCallback(calls.append)
    assert node.args == (str, "camera/image", subscriber.callback)
    assert node.kwargs == {"qos_profile": 10}
    node.args[2]("a message")
    assert calls == ["a message"]
    assert subscriber.getTopic() == "camera/image"
    assert subscriber.sub is node.subscription
    assert subscriber.topic_name == "/resolved"


def test_subscriber_passes_its_own_options_to_the_node():
    node = Node()
    message_filters.Subscriber(node, str, "topic", qos_profile=3, callback_group="group")
    assert node.kwargs == {"qos_profile": 3, "callback_group": "group"}


# --- Cache ----------------------------------------------------------------------------------


def make_cache(*stamps_ms, size=5):
    cache = message_filters.Cache(message_filters.SimpleFilter(), size)
    for stamp_ms in stamps_ms:
        cache.add(Message(stamp_ms))
    return cache


def test_cache_interval_holds_both_ends():
    cache = make_cache(0, 10, 20, 30)
    assert [m.stamp_ms for m in cache.getInterval(at(10), at(20))] == [10, 20]
    assert cache.getInterval(at(11), at(19)) == []
    with pytest.raises(AssertionError):
        cache.getInterval(at(20), at(10))


def test_cache_neighbours_of_a_stamp_hold_the_stamp_itself():
    cache = make_cache(0, 10, 20)
    assert cache.getElemAfterTime(at(10)).stamp_ms == 10
    assert cache.getElemAfterTime(at(11)).stamp_ms == 20
    assert cache.getElemAfterTime(at(21)) is None
    assert cache.getElemBeforeTime(at(10)).stamp_ms == 10
    assert cache.getElemBeforeTime(at(9)).stamp_ms == 0


def test_cache_full_forgets_what_came_first():
    cache = make_cache(0, 10, 20, size=2)
    assert cache.getOldestTime() == at(10)
    assert cache.getLast().stamp_ms == 20
    assert cache.getElemBeforeTime(at(5)) is None


def test_cache_reordered_stamps_stay_in_order_of_arrival():
    cache = make_cache(20, 0, 10)
    assert cache.getOldestTime() == at(20)
    assert [m.stamp_ms for m in cache.getInterval(at(0), at(20))] == [20, 0, 10]
    assert cache.getElemAfterTime(at(5)).stamp_ms == 20


def test_cache_empty_gives_none():
    cache = make_cache()
    assert cache.getOldestTime() is None
    assert cache.getLast() is None
    assert cache.getElemAfterTime(at(0)) is None


def test_cache_passes_messages_of_its_input_on():
    simple, calls = message_filters.SimpleFilter(), []
    message_filters.Cache(simple, 1).registerCallback(calls.append)
    message = Message(1)
    simple.signalMessage(message)
    assert calls == [message]


def test_cache_headerless_message_is_refused_unless_allowed():
    simple, calls = message_filters.SimpleFilter(), []
    refusing = message_filters.Cache(simple, 3)
    refusing.registerCallback(calls.append)
    allowing = message_filters.Cache(simple, 3, allow_headerless=True)
    message = Headerless()
    simple.signalMessage(message)
    assert calls == []
    assert refusing.getLast() is None
    assert allowing.getLast() is message


# --- TimeSynchronizer -----------------------------------------------------------------------


def test_time_synchronizer_equal_stamps_come_out_in_order_of_the_inputs():
    left, right = make_inputs(2)
    found = collect(message_filters.TimeSynchronizer([left, right], 10))
    right.signalMessage(Message(5, "right"))
    assert found == []
    left.signalMessage(Message(5, "left"))
    assert [m.name for m in found[0]] == ["left", "right"]


def test_time_synchronizer_a_nanosecond_apart_is_not_equal():
    left, right = make_inputs(2)
    found = collect(message_filters.TimeSynchronizer([left, right], 10))
    left.signalMessage(Message(5))
    right.signalMessage(Message(5 + 1 / MS))
    assert found == []


def test_time_synchronizer_set_comes_out_once():
    left, right = make_inputs(2)
    found = collect(message_filters.TimeSynchronizer([left, right], 10))
    left.signalMessage(Message(5))
    right.signalMessage(Message(5))
    right.signalMessage(Message(5))
    assert stamps(found) == [(5, 5)]


def test_time_synchronizer_full_queue_forgets_the_smallest_stamp():
    left, right = make_inputs(2)
    found = collect(message_filters.TimeSynchronizer([left, right], 2))
    # 0 comes last and is forgotten at once: it is the smallest, not the oldest arrival.
    for stamp_ms in (20, 10, 0):
        left.signalMessage(Message(stamp_ms))
    for stamp_ms in (0, 10, 20):
        right.signalMessage(Message(stamp_ms))
    assert stamps(found) == [(10, 10), (20, 20)]


def test_time_synchronizer_same_stamp_twice_keeps_the_later_message():
    left, right = make_inputs(2)
    found = collect(message_filters.TimeSynchronizer([left, right], 2))
    left.signalMessage(Message(5, "first"))
    left.signalMessage(Message(5, "second"))
    right.signalMessage(Message(5, "right"))
    assert [m.name for m in found[0]] == ["second", "right"]


def test_time_synchronizer_three_inputs_wait_for_all():
    inputs = make_inputs(3)
    found = collect(message_filters.TimeSynchronizer(inputs, 5))
    for simple in inputs[:2]:
        simple.signalMessage(Message(1))
    assert found == []
    inputs[2].signalMessage(Message(1))
    assert stamps(found) == [(1, 1, 1)]


# --- ApproximateTimeSynchronizer ------------------------------------------------------------


def make_approximate(count=2, queue_size=10, slop_s=0.010, **options):
    inputs = make_inputs(count)
    synchronizer = message_filters.ApproximateTimeSynchronizer(
        inputs, queue_size, slop_s, **options
    )
    return inputs, collect(synchronizer)


@pytest.mark.parametrize(("gap_ms", "num_sets"), [(0, 1), (9, 1), (10, 0), (11, 0)])
def test_approximate_span_has_to_be_less_than_slop(gap_ms, num_sets):
    (left, right), found = make_approximate()
    left.signalMessage(Message(100))
    right.signalMessage(Message(100 + gap_ms))
    assert len(found) == num_sets


def test_approximate_nearest_candidate_is_taken():
    (left, right), found = make_approximate()
    for stamp_ms in (100, 104, 108):
        left.signalMessage(Message(stamp_ms))
    right.signalMessage(Message(105))
    assert stamps(found) == [(104, 105)]


def test_approximate_matches_at_arrival_though_a_nearer_one_is_to_come():
    (left, right), found = make_approximate()
    left.signalMessage(Message(100))
    right.signalMessage(Message(108))
    left.signalMessage(Message(108))
    assert stamps(found) == [(100, 108)]


def test_approximate_one_set_per_message_and_its_messages_are_gone():
    (left, right), found = make_approximate()
    for stamp_ms in (100, 101):
        left.signalMessage(Message(stamp_ms))
    right.signalMessage(Message(100))
    assert stamps(found) == [(100, 100)]
    right.signalMessage(Message(102))
    assert stamps(found) == [(100, 100), (101, 102)]
    right.signalMessage(Message(103))
    assert len(found) == 2


def test_approximate_full_queue_forgets_the_smallest_stamp():
    (left, right), found = make_approximate(queue_size=1)
    left.signalMessage(Message(100))
    left.signalMessage(Message(200))
    right.signalMessage(Message(100))
    assert found == []
    right.signalMessage(Message(200))
    assert stamps(found) == [(200, 200)]


def test_approximate_message_older_than_a_full_queue_is_forgotten_at_once():
    (left, right), found = make_approximate(queue_size=1)
    left.signalMessage(Message(200))
    right.signalMessage(Message(100))
    left.signalMessage(Message(100))
    assert found == []


def test_approximate_three_inputs_whole_set_has_to_fit():
    # 92 and 108 are both within 10 ms of 100, but 16 ms apart; 99 fits with either.
    inputs, found = make_approximate(count=3)
    inputs[0].signalMessage(Message(92))
    inputs[1].signalMessage(Message(108))
    inputs[2].signalMessage(Message(100))
    assert found == []
    inputs[0].signalMessage(Message(101))
    assert stamps(found) == [(101, 108, 100)]


def test_approximate_any_order_of_arrival_finds_the_same_pairs():
    # Stamps 100 ms apart, slop 10 ms: the pairs are beyond doubt whatever the order.
    shuffler = random.Random(3)
    messages = [(side, Message(100 * k + 3 * side)) for k in range(8) for side in (0, 1)]
    for _ in range(20):
        shuffler.shuffle(messages)
        inputs, found = make_approximate(queue_size=8)
        for side, message in messages:
            inputs[side].signalMessage(message)
        assert sorted(stamps(found)) == [(100 * k, 100 * k + 3) for k in range(8)]


def test_approximate_headerless_message_is_refused_unless_allowed():
    (left, right), found = make_approximate()
    left.signalMessage(Headerless())
    right.signalMessage(Headerless())
    assert found == []
    # A minute of slop: the two times of arrival lie within it however slow the machine is.
    (left, right), found = make_approximate(slop_s=60.0, allow_headerless=True)
    pair = Headerless(), Headerless()
    left.signalMessage(pair[0])
    right.signalMessage(pair[1])
    assert found == [pair]


def test_approximate_stamps_that_are_times_already_work_too():
    (left, right), found = make_approximate()
    messages = Message(0), Message(0)
    for message, stamp_ms in zip(messages, (100, 105), strict=True):
        message.header.stamp = Time(nanoseconds=stamp_ms * MS)
    left.signalMessage(messages[0])
    right.signalMessage(messages[1])
    assert found == [messages]


def test_synchronizers_take_messages_of_several_threads():
    inputs, found = make_approximate(count=2, queue_size=200)
    threads = [
        threading.Thread(
            target=lambda simple=simple: [
                simple.signalMessage(Message(100 * k)) for k in range(100)
            ]
        )
        for simple in inputs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stamps(found)) == [(100 * k, 100 * k) for k in range(100)]


def test_approximate_every_arrival_order_of_four_loses_at_most_what_the_queue_forgets():
    for order in itertools.permutations([(0, 0), (0, 100), (1, 2), (1, 102)]):
        inputs, found = make_approximate(queue_size=2)
        for side, stamp_ms in order:
            inputs[side].signalMessage(Message(stamp_ms))
        assert sorted(stamps(found)) == [(0, 2), (100, 102)]
