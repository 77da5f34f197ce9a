"""What has been heard on the graph so far, read like a recording.

So that live and replay find cameras, calibration and extrinsics by the very same rules, the
functions of `io/` that read a recording are given this instead of a file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from rclpy.node import Node

from seg2d3d_ros.io.dead_reckoning import is_usable
from seg2d3d_ros.io.rosbag_topics import (
    CAMERA_INFO,
    COMPRESSED,
    FIX,
    IMAGE,
    ODOMETRY,
    TF,
    Layout,
    Topic,
)

_TYPES = (IMAGE, COMPRESSED, CAMERA_INFO, ODOMETRY, FIX, TF)
_MOST_KEPT = 200

#: Last part of the names of our own pictures for eyes: never an input.
LABEL_PICTURE = "label_picture"


def published_topics(node: Node) -> list[Topic]:
    """Return the topics of the graph that somebody publishes and that we could use, sorted."""
    return sorted(
        Topic(name, msgtype, 1)
        for name, msgtypes in node.get_topic_names_and_types()
        for msgtype in msgtypes
        if msgtype in _TYPES and not name.endswith(f"/{LABEL_PICTURE}")
        if node.count_publishers(name) > 0
    )


class Hearing:
    """Topics of a layout with the messages that came first."""

    def __init__(self, topics: list[Topic]) -> None:
        """Start with topics and no messages."""
        self._topics = topics
        self._types = {topic.name: topic.msgtype for topic in topics}
        self._heard: dict[str, list[Any]] = {topic.name: [] for topic in topics}

    @property
    def duration_s(self) -> float:
        """Return the length of what was heard: the first messages come at nearly one time."""
        return 0.0

    @property
    def topics(self) -> list[Topic]:
        """Return the topics that were heard, and labels that are announced: they may take long."""
        return [t for t in self._topics if self._heard[t.name] or t.name.endswith("/labels")]

    def keep(self, topic: str, message: Any) -> None:
        """Remember a message: only the first of pictures and the like, many of TF.

        Odometry that is not finite yet, as of a filter that begins, counts as silence.
        """
        heard = self._heard[topic]
        if self._types[topic] == ODOMETRY and not is_usable(message):
            return
        most = _MOST_KEPT if topic.endswith(("/tf", "/tf_static")) else 1
        if len(heard) < most:
            heard.append(message)

    def has_heard(self, topic: str) -> bool:
        """Return whether a topic has brought anything."""
        return bool(self._heard[topic])

    def is_complete(self, layout: Layout) -> bool:
        """Return whether all that a rig is made of has been heard at least once."""
        once = [name for c in layout.cameras for name in (c.picture.name, c.info) if name]
        once += [name for name in (layout.odometry, layout.fix, *layout.tf_static) if name]
        return all(self.has_heard(name) for name in once)

    def messages(self, names: Collection[str]) -> Iterator[tuple[str, str, Any]]:
        """Yield (topic, type, message) of the named topics."""
        for topic in self._topics:
            if topic.name in names:
                for message in self._heard[topic.name]:
                    yield topic.name, topic.msgtype, message

    def parse(self, raw: Any, msgtype: str) -> Any:
        """Return the message as it is: rclpy has parsed it."""
        return raw

    def first(self, topic: str) -> Any | None:
        """Return the first message of a topic, None if there is none."""
        return next((message for _, _, message in self.messages([topic])), None)
