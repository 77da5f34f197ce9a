"""Damage in the middle of a recording: what is broken is left out and named, the rest is read."""

from __future__ import annotations

import heapq
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from backports import zstd
from rosbags.interfaces import Connection
from rosbags.rosbag2.storage_mcap import ChunkInfo, McapReader, Msg, msgsrc
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from seg2d3d_ros.io.rosbag_salvage import files_of

_LOG = logging.getLogger(__name__)

_LATEST_NS = 1 << 62
# CDR begins with a zero.
_ZSTD = b"\x28\xb5\x2f\xfd"
_rows = Sqlite3Reader.messages

_Messages: TypeAlias = Iterator[tuple[Connection, int, bytes]]


@dataclass(frozen=True)
class Stretch:
    """A part of a file that cannot be read.

    Attributes:
        start_ns: Time of arrival of its first message.
        end_ns: That of its last message.
        num_lost: Messages in it by topic, as far as the file says.
        why: What the reader said.
    """

    start_ns: int
    end_ns: int
    num_lost: Counter[str]
    why: str


@dataclass
class Damage:
    """The stretches of one file that turned out to be broken while it was read.

    Attributes:
        name: Of the file.
        start_ns: Time of arrival of its first message.
        stretches: By what tells them from others; found again they are the same.
    """

    name: str
    start_ns: int
    stretches: dict[tuple[int, ...], Stretch] = field(default_factory=dict)

    @property
    def losses(self) -> list[str]:
        """Return a sentence that says what is lost; none if nothing is."""
        if not self.stretches:
            return []
        found = sorted(self.stretches.values(), key=lambda s: s.start_ns)
        seconds = sum(s.end_ns - s.start_ns for s in found) * 1e-9
        times = dict.fromkeys(f"{(s.start_ns - self.start_ns) * 1e-9:.1f}" for s in found)
        at = ", ".join([*times][:5]) + (", …" if len(times) > 5 else "")
        lost = sum((s.num_lost for s in found), Counter())
        num = ", ".join(f"{n} of {topic}" for topic, n in sorted(lost.items()))
        what = f"{seconds:.1f} s" if seconds else f"{len(found)} messages"
        return [
            f"{self.name}: {what} are damaged and left out, {at} s from its start "
            f"({found[0].why.rstrip('.')}); lost are {num or 'an unknown number of messages'}"
        ]


def skip_damage(storage: Any) -> list[Damage]:
    """Let the readers of a storage go on behind what is broken; return what will have been.

    mcap: by chunks, whose checksum or compression tells; SQLite: by rows; messages that are packed
    one by one are unpacked here, and those that cannot be are left out.
    """
    found = []
    is_packed = storage.metadata.compression_mode == "message"
    if is_packed:
        storage.metadata = storage.metadata._replace(compression_mode=None)
    for part in files_of(storage):
        damage = Damage(part.path.name, part.metadata.start_time)
        found.append(damage)
        if isinstance(part, McapReader) and part.chunks:
            part.messages = partial(_whole_chunks, part, damage)  # type: ignore[method-assign]
        elif isinstance(part, Sqlite3Reader):
            part.messages = partial(_whole_rows, part, damage)  # type: ignore[method-assign]
        part.messages = partial(_unpacked, part.messages, damage, is_packed)
    return found


def _unpacked(
    read: Callable[..., _Messages],
    damage: Damage,
    is_packed: bool,
    connections: Collection[Connection],
    start_ns: int | None = None,
    stop_ns: int | None = None,
) -> _Messages:
    """Yield what is read, messages that were packed one by one unpacked.

    Where nothing says whether they were (`metadata.yaml` is missing), their first bytes do.
    """
    for connection, stamp_ns, data in read(connections, start_ns, stop_ns):
        if not is_packed and bytes(data[:4]) != _ZSTD:
            yield connection, stamp_ns, data
            continue
        try:
            raw = zstd.decompress(data)
        except Exception as error:  # of a dozen kinds, as `RosbagFile` says
            lost = Stretch(stamp_ns, stamp_ns, Counter([connection.topic]), str(error))
            damage.stretches[connection.id, stamp_ns, zlib.crc32(data)] = lost
            continue
        yield connection, stamp_ns, raw


# ---------------------------------------------------------------------------------------- mcap


def _whole_chunks(
    reader: McapReader,
    damage: Damage,
    connections: Collection[Connection],
    start_ns: int | None = None,
    stop_ns: int | None = None,
) -> _Messages:
    """Yield connection, time of arrival (ns) and bytes of what chunks hold, by time."""
    wanted = {connection.id: connection for connection in connections}
    chunks = [
        _messages_of(reader, damage, chunk, wanted)
        for chunk in reader.chunks
        if any(chunk.channel_count.get(id) for id in wanted)
    ]
    for timestamp, _, connection, data in heapq.merge(*chunks):
        is_in = (start_ns or 0) <= timestamp < (stop_ns or _LATEST_NS)
        if is_in and connection is not None and data is not None:
            yield connection, timestamp, data


def _messages_of(
    reader: McapReader, damage: Damage, chunk: ChunkInfo, wanted: dict[int, Connection]
) -> Iterator[Msg]:
    """Yield a mark with the time at which a chunk begins, and once it is due its messages."""
    assert reader.bio
    start_ns, end_ns = chunk.message_start_time, chunk.message_end_time
    source = msgsrc(chunk, wanted, start_ns, end_ns + 1, reader.bio)
    yield next(source)
    try:
        messages = list(source)
    except Exception as error:  # of a dozen kinds, as `RosbagFile` says
        topics = {connection.id: connection.topic for connection in reader.connections}
        lost = Counter({topics[id]: n for id, n in chunk.channel_count.items() if id in topics})
        why = str(error) or type(error).__name__
        damage.stretches[(chunk.chunk_start_offset,)] = Stretch(start_ns, end_ns, lost, why)
        return
    yield from messages


# -------------------------------------------------------------------------------------- sqlite3


def _whole_rows(
    reader: Sqlite3Reader,
    damage: Damage,
    connections: Collection[Connection],
    start_ns: int | None = None,
    stop_ns: int | None = None,
) -> _Messages:
    """Yield connection, time of arrival (ns) and bytes of all rows, by time.

    Once a page turns out to be broken, rows are asked for one by one.
    """
    done: Counter[tuple[int, int]] = Counter()
    try:
        for connection, stamp_ns, data in _rows(reader, connections, start_ns, stop_ns):
            yield connection, stamp_ns, data
            done[connection.id, stamp_ns] += 1
        return
    except Exception as error:  # of a dozen kinds, as `RosbagFile` says
        _LOG.debug("rows of %s are read one by one: %s", reader.path.name, error)
    assert reader.dbconn
    wanted = {connection.id: connection for connection in connections}
    for stamp_ns, id, topic in _heads(reader):
        if topic not in wanted or not (start_ns or 0) <= stamp_ns < (stop_ns or _LATEST_NS):
            continue
        if done[topic, stamp_ns]:
            done[topic, stamp_ns] -= 1
            continue
        try:
            ((data,),) = reader.dbconn.execute("SELECT data FROM messages WHERE id = ?", (id,))
        except Exception as error:
            lost = Counter([wanted[topic].topic])
            damage.stretches[(id,)] = Stretch(stamp_ns, stamp_ns, lost, str(error))
            continue
        yield wanted[topic], stamp_ns, data


def _heads(reader: Sqlite3Reader) -> list[tuple[int, int, int]]:
    """Return time of arrival (ns), id and topic of all rows, by time; no data is read."""
    assert reader.dbconn
    return sorted(reader.dbconn.execute("SELECT timestamp, id, topic_id FROM messages"))
