import random

from seg2d3d_ros.io.stamps import LEAP_NS, Entry, StampGate, in_stamp_order

S = 1_000_000_000


def entries(*stamps, stream="a"):
    return [Entry(int(s), 0, i, stream, None) for i, s in enumerate(stamps)]


def test_in_stamp_order_shuffled_within_horizon_is_sorted():
    stamps = [i * S // 10 for i in range(200)]
    rng = random.Random(1)
    arrival = sorted(stamps, key=lambda s: s + rng.uniform(0, 0.4 * S))
    assert arrival != stamps
    assert [e.stamp_ns for e in in_stamp_order(entries(*arrival))] == stamps


def test_in_stamp_order_equal_stamps_follow_rank_then_arrival():
    given = [Entry(5, 3, 0, "labels", None), Entry(5, 2, 1, "b", None), Entry(5, 2, 2, "c", None)]
    assert [e.stream for e in in_stamp_order(given)] == ["b", "c", "labels"]


def test_in_stamp_order_entry_later_than_horizon_comes_at_once():
    out = [e.stamp_ns for e in in_stamp_order(entries(0, S, 2 * S, 3 * S, S // 10, 4 * S))]
    assert sorted(out) == [0, S // 10, S, 2 * S, 3 * S, 4 * S]
    assert out.index(S // 10) == out.index(2 * S) + 1


def test_in_stamp_order_single_leap_is_marked_and_order_of_others_kept():
    normal = [i * S // 10 for i in range(60)]
    given = entries(*normal[:30], 3600 * S, *normal[30:])
    out = list(in_stamp_order(given))
    assert [e.stamp_ns for e in out if not e.is_leap] == normal
    assert [e.stamp_ns for e in out if e.is_leap] == [3600 * S]


def test_in_stamp_order_gap_in_the_recording_is_kept():
    given = entries(0, S, 3600 * S, 3601 * S)
    out = list(in_stamp_order(given))
    assert [(e.stamp_ns, e.is_leap) for e in out] == [(e.stamp_ns, False) for e in given]


def test_in_stamp_order_leap_at_the_end_without_successor_is_kept():
    out = list(in_stamp_order(entries(0, S, 2 * LEAP_NS)))
    assert [(e.stamp_ns, e.is_leap) for e in out] == [(0, False), (S, False), (2 * LEAP_NS, False)]


def test_in_stamp_order_leap_shortly_before_the_end_is_marked():
    given = entries(0, S // 10, 3600 * S, S // 5, 3 * S // 10)
    out = [(e.stamp_ns, e.is_leap) for e in in_stamp_order(given)]
    normal = [(i * S // 10, False) for i in range(4)]
    assert out == [*normal, (3600 * S, True)]


def test_in_stamp_order_holds_no_more_than_the_horizon():
    held = [0]

    def counted():
        for e in entries(*[i * S // 100 for i in range(1000)]):
            held[0] += 1
            yield e

    most = 0
    for _ in in_stamp_order(counted(), horizon_ns=S // 2):
        held[0] -= 1
        most = max(most, held[0])
    assert most <= 52  # half a second at 100 Hz, and the one on its way


def test_stamp_gate_streams_are_separate_and_reasons_named():
    gate = StampGate()
    assert [gate.refuse("a", s) for s in (5, 5, 4, 6)] == ["", "duplicate_stamp", "stamp_back", ""]
    assert gate.refuse("b", 1) == ""
