"""Odometry that says nothing of the pictures: its stamps come from another clock, or it is NaN."""

from __future__ import annotations

import logging
from typing import Any

from seg2d3d_ros.io.dead_reckoning import is_usable
from seg2d3d_ros.io.rosbag_topics import Messages

_LOG = logging.getLogger(__name__)

_MAX_APART_S = 60.0


def first_odometry(bag: Messages, topic: str, pictures: str, remarks: list[str]) -> Any | None:
    """Return the first odometry; None if none is usable, or it has another clock than pictures.

    Odometry that never overlaps the pictures says nothing of them, and they would wait for it.
    Neither does odometry without a number, and poses that nothing is known of would rest on it.

    Args:
        bag: The recording, or what was heard.
        topic: Topic of odometry, empty for none.
        pictures: Topic of the pictures of a camera.
        remarks: Gets a sentence if odometry is there and is not used.
    """
    if not topic or bag.first(topic) is None:
        return None
    odometry, picture = _first_usable(bag, topic), bag.first(pictures)
    if odometry is None:
        fault = "not one of its messages holds a pose, or a twist, that is finite"
    elif picture is None:
        return odometry
    else:
        stamps_s = [_stamp_s(message) for message in (odometry, picture)]
        ahead_s = stamps_s[0] - stamps_s[1]
        if abs(ahead_s) <= bag.duration_s + _MAX_APART_S or min(stamps_s) <= 0:
            return odometry
        fault = (
            f"it is {ahead_s:+.0f} s off the pictures in a recording of {bag.duration_s:.0f} s: "
            "its clock is another"
        )
    remarks.append(f"odometry of {topic} is not used: {fault}")
    _LOG.warning("%s", remarks[-1])
    return None


def _first_usable(bag: Messages, topic: str) -> Any | None:
    for _, msgtype, raw in bag.messages([topic]):
        message = bag.parse(raw, msgtype)
        if message is not None and is_usable(message):
            return message
    return None


def _stamp_s(message: Any) -> float:
    stamp = message.header.stamp
    return float(stamp.sec) + 1e-9 * float(stamp.nanosec)
