"""What became of the pictures of a run: cameras that fall silent are told."""

import numpy as np
import pytest

from seg2d3d_ros.accounts import Accounts
from seg2d3d_ros.types import Camera, Dropped, Frame, Odometry, Rig

S = 1_000_000_000
IMAGE = np.zeros((2, 2), dtype=np.uint8)
RIG = Rig(tuple(Camera(name, 2, 2, np.eye(3), np.eye(4)) for name in ("left", "right")))


def remarks(**tenths):
    """Remarks of a run in which cameras sent pictures at the given tenths of a second."""
    accounts = Accounts(RIG)
    for tenth, camera in sorted((t, c) for c, stamps in tenths.items() for t in stamps):
        stamp_ns = 7 * S + tenth * S // 10
        is_picture = camera != "odometry"
        accounts.received(
            Frame(camera, stamp_ns, IMAGE) if is_picture else Odometry(stamp_ns, np.eye(4))
        )
    return accounts.remarks()


def test_remarks_camera_that_pauses_is_told_with_time_and_length():
    said = remarks(left=range(100), right=[*range(30), *range(60, 100)])
    assert said == ["camera right sent nothing for 3.1 s after 2.9 s"]


def test_remarks_camera_that_ends_before_the_others_is_told():
    assert remarks(left=range(100), right=range(41)) == [
        "camera right sent nothing any more after 4.0 s"
    ]


@pytest.mark.parametrize(("num", "end"), [(41, "4.0"), (1, "0.0")])
def test_remarks_odometry_that_ends_before_the_pictures_is_told(num, end):
    said = remarks(left=range(100), right=range(100), odometry=range(num))
    assert said == [f"odometry sent nothing any more after {end} s"]
    assert remarks(left=range(100), odometry=range(-50, 150)) == []


def test_remarks_camera_that_begins_after_the_others_is_told():
    assert remarks(left=range(100), right=range(50, 100)) == [
        "camera right sent nothing in the first 5.0 s"
    ]


def test_remarks_camera_whose_pictures_cannot_be_used_any_more_is_not_silent():
    accounts = Accounts(RIG)
    for tenth in range(100):
        accounts.received(Frame("left", tenth * S // 10, IMAGE))
        right = ("right", tenth * S // 10)
        accounts.received(Frame(*right, IMAGE) if tenth < 50 else Dropped(*right, "size_mismatch"))
    assert accounts.remarks() == []


def test_remarks_pause_of_all_cameras_is_told_of_each():
    gap = [*range(20), *range(50, 70)]
    assert [r.split(" sent")[0] for r in remarks(left=gap, right=gap)] == [
        "camera left",
        "camera right",
    ]


@pytest.mark.parametrize(
    "right",
    [
        range(0, 100, 20),  # a slow camera, two seconds apart
        [*range(0, 40), *range(49, 100)],  # nine tenths of a second are no pause
        [99],
    ],
)
def test_remarks_camera_that_is_slow_or_loses_little_is_not_told(right):
    assert remarks(left=range(100), right=right) == []


def test_remarks_stamps_that_come_again_make_no_pause():
    accounts = Accounts(RIG)
    for tenth in (*range(50), *range(50)):
        accounts.received(Frame("left", tenth * S // 10, IMAGE))
    assert accounts.remarks() == []
