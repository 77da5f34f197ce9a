import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg2d3d_ros.clusters.assembly import Assembler
from seg2d3d_ros.config import ClustersConfig
from seg2d3d_ros.types import Camera, Frame, Odometry, Rig, Segmentation

MS = 1_000_000
CONFIG = ClustersConfig(sync_tolerance_s=0.005, wait_s=0.5)
IMAGE = np.zeros((2, 2), dtype=np.uint8)


def rig(num=2, has_odometry=False):
    cameras = tuple(Camera(f"c{k}", 2, 2, np.eye(3), np.eye(4)) for k in range(num))
    return Rig(cameras, has_odometry=has_odometry)


def frame(camera, ms):
    return Frame(f"c{camera}", ms * MS, IMAGE)


def segmentation(camera, ms):
    return Segmentation(f"c{camera}", ms * MS, 2, 2, ())


def odometry(ms):
    return Odometry(ms * MS, np.eye(4))


def assemble(assembler, items, flush=True):
    """Push all items; return what was released as (stamp, cameras, segmented cameras), in ms."""
    out = []
    for item in items:
        assembler.push(item)
        while (moment := assembler.pop()) is not None:
            out.append(moment)
    while flush and (moment := assembler.pop(flush=True)) is not None:
        out.append(moment)
    return [(m.stamp_ns // MS, sorted(m.frames), sorted(m.segmentations)) for m in out]


@st.composite
def arrivals(draw):
    """Items of two cameras, their segmentations and odometry with delays below the wait."""
    lost = draw(st.sets(st.tuples(st.integers(0, 1), st.integers(0, 11)), max_size=6))
    stops_at = draw(st.integers(6, 12))
    streams = [[odometry(ms) for ms in range(0, 1300, 50)]]
    for c in range(2):
        skew = draw(st.integers(0, 4))
        last = 12 if c == 0 else stops_at
        stamps = [100 * k + skew * c for k in range(last) if (c, k) not in lost]
        streams += [[frame(c, ms) for ms in stamps], [segmentation(c, ms) for ms in stamps]]
    timed = []
    for index, stream in enumerate(streams):
        arrival = 0
        for item in stream:
            # every stream keeps its own order; nothing comes later than 0.4 s after its stamp
            delay_ms = draw(st.integers(0, 400))
            arrival = max(arrival, item.stamp_ns // MS + delay_ms)
            timed.append((arrival, index, item))
    in_order = sorted((i for _, _, i in timed), key=lambda i: i.stamp_ns)
    return in_order, [i for _, _, i in sorted(timed, key=lambda t: t[:2])]


@given(arrivals())
@settings(max_examples=150, deadline=None)
def test_assembler_any_arrival_within_wait_gives_the_same_moments(both):
    in_order, arrived = both
    reference = Assembler(CONFIG, rig(has_odometry=True))
    tested = Assembler(CONFIG, rig(has_odometry=True))
    expected = assemble(reference, in_order)
    assert assemble(tested, arrived) == expected
    assert reference.dropped == tested.dropped == []
    num_pictures = sum(isinstance(i, Frame) for i in in_order)
    assert sum(len(cameras) for _, cameras, _ in expected) == num_pictures
    assert all(cameras == segmented for _, cameras, segmented in expected)


def test_assembler_pictures_within_tolerance_share_a_moment():
    items = [frame(0, 100), frame(1, 105), frame(0, 200), frame(1, 206)]
    moments = assemble(Assembler(CONFIG, rig(), expects_segmentation=False), items)
    assert moments == [(100, [0, 1], []), (200, [0], []), (206, [1], [])]


def test_assembler_waits_for_segmentation_and_odometry_behind_the_picture():
    assembler = Assembler(CONFIG, rig(1, has_odometry=True))
    assert assemble(assembler, [frame(0, 100), odometry(90)], flush=False) == []
    assert assemble(assembler, [segmentation(0, 100)], flush=False) == []
    assert assemble(assembler, [odometry(110)], flush=False) == [(100, [0], [0])]


def test_assembler_missing_segmentation_is_waited_for_by_stamps_only():
    assembler = Assembler(CONFIG, rig(1))
    pictures = [frame(0, ms) for ms in range(0, 600, 100)]
    # the first is given up when something 0.6 s newer has come, not before
    assert assemble(assembler, pictures, flush=False) == []
    assert assemble(assembler, [frame(0, 600)], flush=False) == [(0, [0], [])]


def test_assembler_camera_that_stops_holds_nothing_back_for_good():
    assembler = Assembler(CONFIG, rig(), expects_segmentation=False)
    items = [frame(0, 0), frame(1, 0)] + [frame(0, ms) for ms in range(100, 3100, 100)]
    moments = assemble(assembler, items, flush=False)
    # the last half second may still wait for the camera that is gone
    assert moments == [(0, [0, 1], [])] + [(ms, [0], []) for ms in range(100, 2500, 100)]


def test_assembler_camera_that_comes_back_joins_again():
    assembler = Assembler(CONFIG, rig(), expects_segmentation=False)
    items = [frame(0, ms) for ms in range(0, 2000, 100)]
    items += [f for ms in range(2000, 2300, 100) for f in (frame(0, ms), frame(1, ms))]
    assert assemble(assembler, items)[-3:] == [(ms, [0, 1], []) for ms in (2000, 2100, 2200)]


def test_assembler_pictures_that_come_long_after_odometry_are_all_used_with_their_masks():
    assembler = Assembler(CONFIG, rig(has_odometry=True))
    items = [odometry(ms) for ms in range(0, 3100, 50)]
    for ms in range(0, 2100, 100):
        items += [frame(0, ms), frame(1, ms)]
        items += [segmentation(c, ms - 300) for c in (0, 1) if ms >= 300]
    moments = assemble(assembler, items, flush=False)
    assert moments == [(ms, [0, 1], [0, 1]) for ms in range(0, 1800, 100)]
    assert assembler.dropped == [] and assembler.num_late_segmentations == 0


def test_assembler_late_picture_is_dropped_with_a_reason():
    assembler = Assembler(CONFIG, rig(), expects_segmentation=False)
    assemble(assembler, [frame(0, ms) for ms in range(0, 1000, 100)], flush=False)
    assemble(assembler, [frame(1, 200)], flush=False)
    assert [(d.camera, d.stamp_ns // MS, d.reason) for d in assembler.dropped] == [
        ("c1", 200, "stamp_back")
    ]


def test_assembler_repeated_stamp_is_dropped_once():
    assembler = Assembler(CONFIG, rig(1), expects_segmentation=False)
    moments = assemble(assembler, [frame(0, 0), frame(0, 100), frame(0, 100), frame(0, 200)])
    assert [m[0] for m in moments] == [0, 100, 200]
    assert [d.stamp_ns // MS for d in assembler.dropped] == [100]


def test_assembler_late_segmentation_is_ignored_and_counted():
    assembler = Assembler(CONFIG, rig(1))
    moments = assemble(assembler, [frame(0, ms) for ms in range(0, 700, 100)], flush=False)
    moments += assemble(assembler, [segmentation(0, 0), segmentation(0, 100)])
    assert moments[:2] == [(0, [0], []), (100, [0], [0])]
    assert assembler.num_late_segmentations == 1


def test_assembler_stamps_that_jump_back_for_good_start_again():
    assembler = Assembler(CONFIG, rig(1), expects_segmentation=False)
    first = assemble(assembler, [frame(0, ms) for ms in range(5000, 7000, 100)], flush=False)
    again = assemble(assembler, [frame(0, ms) for ms in range(0, 2000, 100)])
    assert assembler.jumped_back
    # nine are lost before the jump is believed
    assert [m[0] for m in again] == list(range(900, 2000, 100))
    assert len(first) + len(again) + len(assembler.dropped) == 40
    assert {d.reason for d in assembler.dropped} == {"stamp_back"}


def test_assembler_jump_back_accounts_for_pictures_that_still_waited():
    assembler = Assembler(CONFIG, rig(), expects_segmentation=False)
    before = assemble(assembler, [frame(0, ms) for ms in range(5000, 7000, 100)], flush=False)
    after = assemble(assembler, [frame(0, ms) for ms in range(0, 2000, 100)])
    reasons = [d.reason for d in assembler.dropped]
    assert reasons.count("stamp_back") == 9
    assert reasons.count("time_jump") == 20 - len(before)
    assert len(before) + len(after) + len(reasons) == 40


def test_assembler_old_pictures_between_new_ones_are_no_jump():
    assembler = Assembler(CONFIG, rig(1), expects_segmentation=False)
    new = [frame(0, ms) for ms in range(5000, 8000, 100)]
    old = [frame(0, ms) for ms in range(0, 3000, 100)]
    moments = assemble(assembler, [f for pair in zip(new, old, strict=True) for f in pair])
    assert [m[0] for m in moments] == list(range(5000, 8000, 100))
    assert len(assembler.dropped) == 30 and not assembler.jumped_back


@pytest.mark.parametrize("num_back", [1, 9])
def test_assembler_a_few_old_pictures_are_no_jump(num_back):
    assembler = Assembler(CONFIG, rig(1), expects_segmentation=False)
    items = [frame(0, ms) for ms in range(5000, 6000, 100)]
    items += [frame(0, ms) for ms in range(0, 100 * num_back, 100)]
    items += [frame(0, ms) for ms in range(6000, 7000, 100)]
    moments = assemble(assembler, items)
    assert [m[0] for m in moments] == list(range(5000, 7000, 100))
    assert len(assembler.dropped) == num_back
    assert not assembler.jumped_back
