import threading

import pytest

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.io.sources import clip, prefetch
from seg2d3d_ros.types import Dropped

S = 1_000_000_000


def items(n):
    return [Dropped("c", i * S, "test") for i in range(n)]


def test_prefetch_keeps_items_and_order():
    assert list(prefetch(items(100), depth=3)) == items(100)


def test_prefetch_error_comes_after_the_items_before_it():
    def broken():
        yield from items(3)
        raise InputError("cut off")

    got = []
    with pytest.raises(InputError, match="cut off"):
        for item in prefetch(broken()):
            got.append(item)
    assert got == items(3)


def test_prefetch_reads_no_further_ahead_than_its_depth():
    read = []

    def counted():
        for item in items(100):
            read.append(item)
            yield item

    stream = prefetch(counted(), depth=4)
    next(stream)
    stream.close()
    # one given out, four in the queue, one waiting to enter it
    assert len(read) <= 6


def test_prefetch_closed_early_leaves_no_thread():
    stream = prefetch(items(1000), depth=2)
    next(stream)
    stream.close()
    assert not [t for t in threading.enumerate() if t.name == "prefetch"]


def test_clip_counts_from_the_first_stamp():
    given = [Dropped("c", 100 * S + i * S, "test") for i in range(10)]
    assert [i.stamp_ns // S for i in clip(given, 2.0, 3.0)] == [102, 103, 104, 105]
    assert len(list(clip(given, 0.0, None))) == 10
