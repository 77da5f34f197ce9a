"""Sensors whose stamps come from another clock than those of the pictures."""

from __future__ import annotations

import logging
from typing import Any

from seg2d3d_ros.io.rosbag_file import RosbagFile

log = logging.getLogger(__name__)

_MAX_APART_S = 60.0


def first_odometry(bag: RosbagFile, topic: str, pictures: str, remarks: list[str]) -> Any | None:
    """Return the first odometry; None if there is none, or it has another clock than pictures.

    Odometry that never overlaps the pictures says nothing of them, and they would wait for it.

    Args:
        bag: The recording.
        topic: Topic of odometry, empty for none.
        pictures: Topic of the pictures of a camera.
        remarks: Gets a sentence if odometry is there and is not used.
    """
    odometry = bag.first(topic) if topic else None
    picture = None if odometry is None else bag.first(pictures)
    if odometry is None or picture is None:
        return odometry
    stamps_s = [_stamp_s(message) for message in (odometry, picture)]
    ahead_s = stamps_s[0] - stamps_s[1]
    if abs(ahead_s) <= bag.duration_s + _MAX_APART_S or min(stamps_s) <= 0:
        return odometry
    remark = (
        f"{topic} is {ahead_s:+.0f} s off the pictures in a recording of {bag.duration_s:.0f} s: "
        "its clock is another, and it is not used"
    )
    log.warning("%s", remark)
    remarks.append(remark)
    return None


def _stamp_s(message: Any) -> float:
    stamp = message.header.stamp
    return float(stamp.sec) + 1e-9 * float(stamp.nanosec)
