import threading

import pytest

from seg2d3d_ros.clusters.threads import Threads


def names():
    return {t.name for t in threading.enumerate() if t.name.startswith("camera")}


@pytest.mark.parametrize("num", [1, 3])
def test_map_keeps_the_order_and_works_again_after_close(num):
    before, threads = names(), Threads(num)
    for _ in range(2):
        assert threads.map(lambda k: k * k, range(20)) == [k * k for k in range(20)]
        threads.close()
        assert names() == before


def test_map_uses_as_many_threads_as_asked_for():
    threads, meeting = Threads(2), threading.Barrier(2, timeout=10)
    threads.map(lambda _: meeting.wait(), range(2))  # would break if they came one by one
    threads.close()


def test_map_works_on_the_last_item_itself():
    threads, here = Threads(2), threading.get_ident()
    assert threads.map(lambda _: threading.get_ident(), []) == []
    assert threads.map(lambda _: threading.get_ident(), [0]) == [here]
    first, last = threads.map(lambda _: threading.get_ident(), range(2))
    threads.close()
    assert first != here == last


def test_map_raises_what_the_work_raises():
    threads = Threads(2)
    with pytest.raises(ZeroDivisionError):
        threads.map(lambda k: 1 // k, [1, 0])
    threads.close()


def test_begin_goes_on_beside_what_follows_and_gives_results_in_order():
    threads, gate = Threads(2), threading.Event()

    def work(n):
        assert gate.wait(20)
        return n * n

    results = threads.begin(work, [3, 1, 2])
    gate.set()  # with work done where it is asked for, this line would not be reached in time
    assert results() == results() == [9, 1, 4]
    threads.close()


@pytest.mark.parametrize("num", [1, 2])
def test_begin_one_thread_or_two_give_the_same(num):
    threads = Threads(num)
    assert threads.begin(str, range(5))() == list("01234")
    threads.close()
