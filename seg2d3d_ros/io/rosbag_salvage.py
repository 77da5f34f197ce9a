"""Recordings that were cut off: what can be read of their files, and what is lost."""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from backports import zstd
from rosbags.interfaces import Connection
from rosbags.rosbag2.metadata import ReaderMetadata
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from seg2d3d_ros.errors import InputError

_LOG = logging.getLogger(__name__)

_PART = re.compile(r"(?P<stem>.*?)(_(?P<number>\d+))?\.(mcap|db3)(\.zstd)?")
_MAGIC = b"\x89MCAP0\r\n"
_NEVER_NS = 1 << 62

#: What is wrong with a folder of files that may be whole nevertheless.
NO_METADATA = "metadata.yaml is missing"
_HEADER, _FOOTER, _CHUNK, _DATA_END = 0x01, 0x02, 0x06, 0x0F
_MOST_MISSED = 10_000
_TABLES = ("schema", "topics", "message_definitions", "messages")


def parts_of(folder: Path) -> list[Path]:
    """Return the storage files of a folder that are one recording, as `<name>_<number>.mcap`."""
    found = [(m, p) for p in folder.iterdir() if (m := _PART.fullmatch(p.name))]
    is_one = len(found) == 1 or (
        len({m["stem"] for m, _ in found}) == 1 and all(m["number"] for m, _ in found)
    )
    return [p for _, p in sorted(found, key=lambda f: int(f[0]["number"] or 0))] if is_one else []


def needs_salvage(path: Path) -> bool:
    """Return whether SQLite files are shorter than they say, or have a journal beside them.

    The reader of rosbags looks at neither, and would leave out what only the journal holds.
    """
    files = parts_of(path) if path.is_dir() else [path]
    return any(f.suffix == ".db3" and (_journals(f) or _missing_bytes(f) > 0) for f in files)


def files_of(storage: Any) -> list[Any]:
    """Return the readers of the single files behind a reader of rosbags."""
    return list(getattr(storage, "storages", [storage]))


def gaps(readers: Iterable[Any]) -> Iterator[str]:
    """Yield a sentence for each stretch of a split recording of which no file is read.

    Args:
        readers: Open, of single files in their order.
    """
    named = [(m, r) for r in readers if (m := _PART.fullmatch(r.path.name)) and m["number"]]
    for (left, before), (right, after) in pairwise(named):
        first, last = int(left["number"]) + 1, int(right["number"]) - 1
        if first > last or left["stem"] != right["stem"]:
            continue
        lost = [right[0].replace(f"_{right['number']}.", f"_{n}.") for n in (first, last)]
        text = f"{' to '.join(dict.fromkeys(lost))} {'are' if first < last else 'is'} lost"
        seconds = (after.metadata.start_time - before.metadata.end_time) * 1e-9
        if seconds > 0 and before.metadata.message_count and after.metadata.message_count:
            text += f": {seconds:.1f} s between {left[0]} and {right[0]}"
        yield text


def allow_any_order(storage: Any) -> None:
    """Let mcap files without chunks (`fastwrite`) be read as they lie, in whatever order.

    The reader of rosbags ends where times of arrival go back; ours are sorted by their stamps.
    """
    for part in files_of(storage):
        if isinstance(part, McapReader) and not part.chunks:
            part.messages = part.messages_scan  # type: ignore[method-assign]


def salvage(
    path: Path, why: str, stack: ExitStack
) -> tuple[list[McapReader | Sqlite3Reader], list[str]]:
    """Return readers of all that can be read of a recording, in order, and what is lost.

    Args:
        path: A folder or file.
        why: What is wrong with it.
        stack: Closes the readers and removes the copies that were needed.

    Raises:
        InputError: no message of it can be read.
    """
    readers: list[McapReader | Sqlite3Reader] = []
    losses: list[str] = []
    scratch = Path(stack.enter_context(TemporaryDirectory(prefix="seg2d3d_salvage_")))
    for file in parts_of(path) if path.is_dir() else [path]:
        try:
            reader, lost = _open(file, scratch)
            stack.callback(reader.close)
        except Exception as error:  # of a dozen kinds, as `RosbagFile` says
            losses.append(f"nothing of {file.name} can be read: {str(error).rstrip('.')}")
            continue
        readers.append(reader)
        losses += [f"{file.name}: {lost}"] if lost else []
    if why:
        is_whole = why == NO_METADATA and not losses
        what = "is read from its files" if is_whole else "is cut off or damaged"
        losses.insert(0, f"the recording {path.name} {what}: {why}")
    if not sum(reader.metadata.message_count for reader in readers):
        raise InputError(
            f"cannot open the recording {path.name}: {'; '.join(losses)}. No message of it can be "
            "read: record it again"
        )
    return readers, losses


def _open(file: Path, scratch: Path) -> tuple[McapReader | Sqlite3Reader, str]:
    """Return an open reader of a storage file, and a sentence about what it lost, if anything."""
    lost = ""
    if file.suffix == ".zstd":
        file, lost = _unpacked(file, scratch)
    if file.suffix == ".db3":
        sqlite, more = _open_database(file, scratch)
        return sqlite, "; ".join(filter(None, (lost, more)))
    mcap = McapReader(file)
    try:
        mcap.open()
        return mcap, lost
    except Exception:
        mcap = CutMcapReader(file)
        mcap.open()
        damaged = f"{mcap.num_damaged} damaged chunks are left out" if mcap.num_damaged else ""
        end = ""
        if mcap.num_lost_bytes:
            end = f"its last {_mib(mcap.num_lost_bytes)} cannot be read"
        if not damaged and not end:
            end = "all messages can be read"
        return mcap, "; ".join(filter(None, (lost, damaged, end)))


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.2f} MiB"


def _unpacked(file: Path, scratch: Path) -> tuple[Path, str]:
    """Return a copy of a compressed file as far as it can be unpacked, and what is lost."""
    target = scratch / file.stem
    with zstd.open(file, "rb") as packed, target.open("wb") as unpacked:
        try:
            shutil.copyfileobj(packed, unpacked)
        except (zstd.ZstdError, EOFError) as error:
            return target, f"it can be unpacked up to {_mib(unpacked.tell())} only ({error})"
    return target, ""


# ---------------------------------------------------------------------------------------- mcap


class CutMcapReader(McapReader):
    """Reads an mcap file without its end and index: whole records, in the order of the file.

    Attributes:
        num_lost_bytes: Length of the end that cannot be read.
        num_damaged: Damaged chunks before that.
    """

    num_lost_bytes = 0
    num_damaged = 0

    def _open(self) -> None:
        """Find the whole records, the topics and the counts."""
        assert self.bio
        head = self.bio.read(9)
        if head[:8] != _MAGIC or head[8:] != bytes([_HEADER]):
            raise InputError("it is not an mcap file")
        size = int.from_bytes(self.bio.read(8), "little")
        if not self.bio.read(size).startswith(b"\x04\0\0\0ros2"):
            raise InputError("its profile is not ros2")
        self._find_whole(self.bio.tell())
        counts = self._num_messages
        for i, connection in enumerate(self.connections):
            self.connections[i] = connection._replace(msgcount=counts[connection.id])
        num = counts.total()
        self.metadata = ReaderMetadata(
            duration=self._last_ns - self._first_ns + 1 if num else 0,
            start_time=self._first_ns,
            end_time=self._last_ns + 1,
            message_count=num,
            compression_format=None,
            compression_mode=None,
            ros_distro=None,
            custom=None,
        )

    def _find_whole(self, data_start: int) -> None:
        """Find the stretches of records that can be read: each chunk, and what is between them."""
        stretches, is_ended = self._stretches(data_start)
        self._num_messages: Counter[int] = Counter()
        self._first_ns, self._last_ns = _NEVER_NS, 0
        self._whole = [stretch for stretch in stretches if self._is_whole(*stretch)]
        last = self._whole[-1][1] if self._whole else data_start
        num_before = sum(end <= last for _, end in stretches)
        self.num_damaged = num_before - len(self._whole)
        is_ended = is_ended and num_before == len(stretches)
        self.num_lost_bytes = 0 if is_ended else self.path.stat().st_size - last

    def _stretches(self, at: int) -> tuple[list[tuple[int, int]], bool]:
        """Return begin and end of all stretches, and whether they are followed by a proper end."""
        assert self.bio
        size, stretches, start, opcode = self.path.stat().st_size, [], at, 0
        while at + 9 <= size:
            self.bio.seek(at)
            opcode, end = self.bio.read(1)[0], at + 9 + int.from_bytes(self.bio.read(8), "little")
            if not 0 < opcode < _DATA_END or opcode == _FOOTER or end > size:
                break
            if opcode == _CHUNK:
                stretches += [(start, at), (at, end)]
                start = end
            at = end
        stretches = [(start, end) for start, end in [*stretches, (start, at)] if end > start]
        return stretches, at < size and opcode in (_FOOTER, _DATA_END)

    def _is_whole(self, start: int, end: int) -> bool:
        """Return whether a stretch can be read; count its messages then."""
        self.data_start, self.data_end = start, end
        try:
            self.meta_scan()
        except Exception:  # of a dozen kinds, as `RosbagFile` says
            return False
        if self.statistics is not None and self.statistics.message_count:
            self._num_messages.update(self.statistics.channel_message_counts)
            self._first_ns = min(self._first_ns, self.statistics.start_time)
            self._last_ns = max(self._last_ns, self.statistics.end_time)
        return True

    def messages(
        self,
        connections: Collection[Connection],
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, time of arrival (ns) and bytes in the order of the file."""
        for begin, end in self._whole:
            self.data_start, self.data_end = begin, end
            yield from self.messages_scan(connections, start, stop)


# -------------------------------------------------------------------------------------- sqlite3


def _journals(file: Path) -> list[Path]:
    beside = [file.with_name(file.name + end) for end in ("-wal", "-journal")]
    return [p for p in beside if p.is_file() and p.stat().st_size > 0]


def _missing_bytes(file: Path) -> int:
    """Return how much shorter a database is than its header says; page size and count there."""
    with file.open("rb") as database:
        head = database.read(32)
    if len(head) < 32:
        return 0
    page_size = int.from_bytes(head[16:18], "big")
    page_size = 65536 if page_size == 1 else page_size
    return page_size * int.from_bytes(head[28:32], "big") - file.stat().st_size


def _open_database(file: Path, scratch: Path) -> tuple[Sqlite3Reader, str]:
    """Return an open reader of a database, or of a copy of what is whole of it."""
    file, lost = _rolled_back(file, scratch)
    missing = _missing_bytes(file)
    if missing <= 0:
        try:
            reader = Sqlite3Reader(file)
            reader.open()
            return reader, lost
        except Exception as error:  # of a dozen kinds, as `RosbagFile` says
            why = str(error).rstrip(".")
    else:
        why = f"its last {_mib(missing)} are missing"
    (scratch / "rows").mkdir(exist_ok=True)
    reader = Sqlite3Reader(_rows_before_cut(file, scratch / "rows" / file.name))
    reader.open()
    return reader, "; ".join(filter(None, (lost, f"{why}; messages are read around that")))


def _rolled_back(file: Path, scratch: Path) -> tuple[Path, str]:
    """Return the file, or a copy which SQLite brought to its last whole state by its journal."""
    journals = _journals(file)
    if not journals:
        return file, ""
    for each in (file, *journals):
        shutil.copyfile(each, scratch / each.name)
    copy = scratch / file.name
    with closing(sqlite3.connect(copy)) as database:
        database.execute("PRAGMA journal_mode = DELETE").fetchall()
    return copy, f"brought to its last whole state by {', '.join(p.name for p in journals)}"


def _rows_before_cut(file: Path, target: Path) -> Path:
    """Return a new database with the messages that can be read, in the order of their writing."""
    uri = f"{file.absolute().as_uri()}?immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as cut, closing(sqlite3.connect(target)) as to:
        cut.execute("PRAGMA writable_schema = ON")  # else a file shorter than it says is refused
        tables = dict(cut.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        for name in filter(tables.get, _TABLES):
            to.execute(tables[name])
            num_columns = len(cut.execute(f"PRAGMA table_info({name})").fetchall())
            insert = f"INSERT INTO {name} VALUES ({','.join('?' * num_columns)})"
            to.executemany(insert, _rows(name, cut))
            to.commit()
    return target


def _rows(table: str, cut: sqlite3.Connection) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a table; behind the first that is broken one by one, until none comes."""
    id, num_missed = 0, 0
    try:
        for row in cut.execute(f"SELECT rowid, * FROM {table} NOT INDEXED ORDER BY rowid"):
            id = row[0]
            yield row[1:]
        return
    except sqlite3.DatabaseError as error:  # the caller says that, or how much, is missing
        _LOG.debug("rows of %s are read one by one: %s", table, error)
    while num_missed < _MOST_MISSED:
        id, num_missed = id + 1, num_missed + 1
        try:
            found = cut.execute(f"SELECT * FROM {table} WHERE rowid = ?", (id,)).fetchall()
        except sqlite3.DatabaseError:
            continue
        if found:
            num_missed = 0
            yield found[0]
