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


def test_map_raises_what_the_work_raises():
    threads = Threads(2)
    with pytest.raises(ZeroDivisionError):
        threads.map(lambda k: 1 // k, [1, 0])
    threads.close()
