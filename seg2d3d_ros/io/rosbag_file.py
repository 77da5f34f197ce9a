"""A rosbag2 recording as topics and raw messages, with every failure as one named error."""

from __future__ import annotations

import logging
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.io.rosbag_damage import Damage, skip_damage
from seg2d3d_ros.io.rosbag_salvage import (
    NO_METADATA,
    allow_any_order,
    files_of,
    gaps,
    needs_salvage,
    salvage,
)
from seg2d3d_ros.io.rosbag_topics import Topic

_LOG = logging.getLogger(__name__)


class RosbagFile:
    """An open recording: a folder of rosbag2, or a bare .mcap or .db3 file.

    One that was cut off is read as far as it can be, what is broken in its middle is left out, and
    `losses` says what is lost. Messages are read with the definitions of common ROS 2 types rather
    than those in the file, so that a foreign type that cannot be parsed spoils nothing. On broken
    bytes the reader, SQLite, the decompressors and the deserializer raise errors of a dozen kinds,
    all of which mean the same: hence `except Exception` around them, and only around them.

    Attributes:
        path: Where it lies.
    """

    def __init__(self, path: Path) -> None:
        """Open the recording.

        Raises:
            InputError: it is not a rosbag2 recording, or no message of it can be read.
        """
        if not path.exists():
            raise InputError(f"there is nothing at {path}")
        if path.is_file() and path.suffix not in (".mcap", ".db3"):
            raise InputError(f"{path} is no recording: a folder, .mcap or .db3 is needed")
        self.path = path
        self._losses: tuple[str, ...] = ()
        self._damage: list[Damage] = []
        self._types = get_typestore(Stores.ROS2_JAZZY)
        with ExitStack() as stack:
            self._storages = self._open(stack)
            if not sum(storage.metadata.message_count for storage in self._storages):
                raise InputError(
                    f"the recording {path.name} is empty: it holds no messages; needed are "
                    "pictures of a camera and their camera_info. Record them, say by `ros2 bag "
                    "record --all`"
                )
            self._stack = stack.pop_all()

    def _open(self, stack: ExitStack) -> list[Any]:
        """Return what reads the recording: one storage, or several that were salvaged."""
        why = ""
        if not needs_salvage(self.path):
            try:
                reader = Reader(self.path)
                reader.open()
                stack.callback(reader.close)
                allow_any_order(reader.storage)
                self._damage = skip_damage(reader.storage)
                self._losses = tuple(gaps(files_of(reader.storage)))
                return [reader.storage]
            except Exception as error:
                why = str(error).rstrip(".").replace(f"{self.path}/", "")
                if "not supported" in why:
                    text = f"cannot open the recording {self.path.name}: {why}"
                    raise InputError(text) from error
        if self.path.is_dir() and not (self.path / "metadata.yaml").exists():
            why = NO_METADATA
        storages, losses = salvage(self.path, why, stack)
        self._losses = (*losses, *gaps(storages))
        for storage in storages:
            self._damage += skip_damage(storage)
        return list(storages)

    @property
    def losses(self) -> tuple[str, ...]:
        """Return sentences about what cannot be read, as far as it was read; empty if nothing."""
        return (*self._losses, *(loss for damage in self._damage for loss in damage.losses))

    def __enter__(self) -> RosbagFile:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the recording."""
        self.close()

    def close(self) -> None:
        """Close the recording."""
        self._stack.close()

    @property
    def connections(self) -> list[Connection]:
        """Return topics with type and QoS as recorded, once for every file and publisher."""
        return [c for storage in self._storages for c in storage.connections]

    @property
    def topics(self) -> list[Topic]:
        """Return the topics, one entry per name and type, sorted."""
        counts: Counter[tuple[str, str]] = Counter()
        for c in self.connections:
            counts[c.topic, c.msgtype] += c.msgcount
        return sorted(Topic(name, msgtype, n) for (name, msgtype), n in counts.items())

    @property
    def duration_s(self) -> float:
        """Return the time between the first and last message as recorded."""
        spans = [s.metadata for s in self._storages if s.metadata.message_count]
        return (max(m.end_time for m in spans) - min(m.start_time for m in spans)) * 1e-9

    def messages(self, names: Collection[str]) -> Iterator[tuple[str, str, bytes]]:
        """Yield (topic, type, raw message) of the named topics as they arrived.

        Raises:
            InputError: the file is damaged; what came before it is good.
        """
        for topic, msgtype, _, raw in self.arrivals(names):
            yield topic, msgtype, raw

    def arrivals(self, names: Collection[str]) -> Iterator[tuple[str, str, int, bytes]]:
        """Yield (topic, type, time of arrival in ns, raw message) of the named topics.

        Raises:
            InputError: the file is damaged; what came before it is good.
        """
        num = 0
        for storage in self._storages:
            connections = [c for c in storage.connections if c.topic in names]
            if not connections:
                continue
            try:
                for connection, stamp_ns, raw in storage.messages(connections):
                    yield connection.topic, connection.msgtype, stamp_ns, raw
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
            _LOG.debug("a %s cannot be parsed: %s", msgtype, error)
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
