"""Order by stamps: what a recording holds in order of arrival leaves in order of header stamps."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

HORIZON_NS = 500_000_000
LEAP_NS = 10_000_000_000
_NUM_BEHIND_LEAP = 20


class Entry(NamedTuple):
    """One message on its way: sorted by stamp, at equal stamps by rank, then by arrival."""

    stamp_ns: int
    rank: int
    arrival: int
    stream: str
    payload: Any
    is_leap: bool = False


def in_stamp_order(entries: Iterable[Entry], horizon_ns: int = HORIZON_NS) -> Iterator[Entry]:
    """Yield entries in stamp order as far as they arrive within the horizon; later ones at once.

    A single stamp that leaps far ahead of all others does not move the horizon; it is yielded with
    `is_leap` once the others have gone on behind it. A leap that others follow is a gap and kept.

    Args:
        entries: In order of arrival.
        horizon_ns: How far the newest stamp may be ahead before an entry is let go.
    """
    heap: list[Entry] = []
    leap: Entry | None = None
    newest: int | None = None
    num_behind = 0
    for entry in entries:
        is_ahead = newest is not None and entry.stamp_ns > newest + LEAP_NS
        if is_ahead and leap is None:
            leap, num_behind = entry, 0
            continue
        if leap is not None and is_ahead:
            heapq.heappush(heap, leap)
            leap = None
        elif leap is not None:
            num_behind += 1
            if num_behind >= _NUM_BEHIND_LEAP:
                yield leap._replace(is_leap=True)
                leap = None
        heapq.heappush(heap, entry)
        newest = entry.stamp_ns if newest is None else max(newest, entry.stamp_ns)
        while heap[0].stamp_ns <= newest - horizon_ns:
            yield heapq.heappop(heap)
    if leap is not None:
        heapq.heappush(heap, leap._replace(is_leap=num_behind > 0))
    while heap:
        yield heapq.heappop(heap)


class StampGate:
    """Keeps each stream's stamps strictly increasing."""

    def __init__(self) -> None:
        """Start with no stream seen."""
        self._last: dict[str, int] = {}

    def refuse(self, stream: str, stamp_ns: int) -> str:
        """Return why the next stamp of a stream cannot be used, or '' and remember it."""
        last = self._last.get(stream)
        if last is not None and stamp_ns <= last:
            return "duplicate_stamp" if stamp_ns == last else "stamp_back"
        self._last[stream] = stamp_ns
        return ""
