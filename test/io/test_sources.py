from seg2d3d_ros.io.sources import clip
from seg2d3d_ros.types import Dropped

S = 1_000_000_000


def items(n):
    return [Dropped("c", i * S, "test") for i in range(n)]


def test_clip_counts_from_the_first_stamp():
    given = [Dropped("c", 100 * S + i * S, "test") for i in range(10)]
    assert [i.stamp_ns // S for i in clip(given, 2.0, 3.0)] == [102, 103, 104, 105]
    assert len(list(clip(given, 0.0, None))) == 10
