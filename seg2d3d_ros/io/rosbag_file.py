"""A rosbag2 recording as topics and raw messages, with every failure as one named error."""

from __future__ import annotations

import logging
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.io.rosbag_topics import Topic

log = logging.getLogger(__name__)


class RosbagFile:
    """An open recording: a folder with metadata.yaml, or a bare .mcap or .db3 file.

    Messages are read with the definitions of common ROS 2 types rather than those in the file, so
    that a foreign type that cannot be parsed spoils nothing. On broken bytes the reader, SQLite,
    the decompressors and the deserializer raise errors of a dozen kinds, all of which mean the
    same: hence `except Exception` around them, and only around them.
    """

    def __init__(self, path: Path) -> None:
        """Open the recording.

        Raises:
            InputError: it is not a rosbag2 recording, is damaged or holds no messages.
        """
        self.path = path
        self._types = get_typestore(Stores.ROS2_JAZZY)
        try:
            self._reader = Reader(path)
            self._reader.open()
        except Exception as error:
            raise InputError(
                f"cannot open the recording {path.name}: {str(error).rstrip('.')}. If it was cut "
                "off, try `ros2 bag reindex` or `mcap recover`"
            ) from error
        if not self._reader.message_count:
            self.close()
            raise InputError(
                f"the recording {path.name} is empty: it holds no messages; needed are pictures "
                "of a camera and their camera_info. Record them, say by `ros2 bag record --all`"
            )

    def __enter__(self) -> RosbagFile:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the recording."""
        self.close()

    def close(self) -> None:
        """Close the recording."""
        self._reader.close()

    @property
    def topics(self) -> list[Topic]:
        """Return the topics, one entry per name and type, sorted."""
        counts: dict[tuple[str, str], int] = {}
        for c in self._reader.connections:
            counts[c.topic, c.msgtype] = counts.get((c.topic, c.msgtype), 0) + c.msgcount
        return sorted(Topic(name, msgtype, n) for (name, msgtype), n in counts.items())

    @property
    def duration_s(self) -> float:
        """Return the time between the first and last message as recorded."""
        return self._reader.duration * 1e-9

    def messages(self, names: Collection[str]) -> Iterator[tuple[str, str, bytes]]:
        """Yield (topic, type, raw message) of the named topics as they arrived.

        Raises:
            InputError: the file is damaged; what came before it is good.
        """
        connections = [c for c in self._reader.connections if c.topic in names]
        if not connections:
            return
        num = 0
        try:
            for connection, _, raw in self._reader.messages(connections):
                yield connection.topic, connection.msgtype, raw
                num += 1
        except Exception as error:
            raise InputError(
                f"the recording {self.path.name} is damaged after {num} messages: {error}"
            ) from error

    def parse(self, raw: bytes, msgtype: str) -> Any | None:
        """Return the message, or None if its bytes are not one of that type."""
        try:
            return self._types.deserialize_cdr(raw, msgtype)
        except Exception as error:
            log.debug("a %s cannot be parsed: %s", msgtype, error)
            return None

    def first(self, topic: str) -> Any | None:
        """Return the first message of a topic that can be parsed, None if there is none."""
        return next(
            (m for _, t, raw in self.messages([topic]) if (m := self.parse(raw, t)) is not None),
            None,
        )


def header_stamp_ns(raw: bytes) -> int | None:
    """Return the stamp of a serialized message that starts with a header."""
    if len(raw) < 12:
        return None
    order = "<" if raw[1] & 1 else ">"
    sec, nanosec = struct.unpack_from(f"{order}iI", raw, 4)
    return sec * 1_000_000_000 + nanosec
