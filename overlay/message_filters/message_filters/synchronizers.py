"""Filters that put messages of several inputs together by their stamps."""

import itertools
import threading
from collections.abc import Sequence
from typing import Any

from rclpy.clock import ROSClock
from rclpy.duration import Duration
from rclpy.time import Time

from message_filters.simple_filter import SimpleFilter, read_stamp


class TimeSynchronizer(SimpleFilter):
    """Puts out one message of every input when all have the same stamp, to the nanosecond.

    Each input keeps `queue_size` messages; the one with the smallest stamp, not the one that came
    first, is forgotten. Sets come out in order of their stamps.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        """Listen to filters.

        Args:
            fs: One filter per argument of the callbacks, in their order.
            queue_size: Messages kept per input.
        """
        super().__init__()
        self.queue_size = queue_size
        self.lock = threading.Lock()
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[SimpleFilter]) -> None:
        """Listen to filters; each gets a queue {stamp in nanoseconds: message}."""
        self.queues: list[dict[int, Any]] = [{} for _ in fs]
        self.input_connections = [
            f.registerCallback(self.add, queue, index)
            for index, (f, queue) in enumerate(zip(fs, self.queues, strict=True))
        ]

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Take a message of one input and put out every set that is whole."""
        with self.lock:
            self._keep(Time.from_msg(msg.header.stamp).nanoseconds, msg, my_queue)
            common = set(self.queues[0]).intersection(*self.queues[1:])
            for stamp_ns in sorted(common):
                self._emit([stamp_ns] * len(self.queues))

    def _keep(self, stamp_ns: int, msg: Any, queue: dict[int, Any]) -> None:
        queue[stamp_ns] = msg
        while len(queue) > self.queue_size:
            del queue[min(queue)]

    def _emit(self, stamps_ns: Sequence[int]) -> None:
        """Put out one message per queue, then forget them (kept where a callback raises)."""
        taken = list(zip(self.queues, stamps_ns, strict=True))
        self.signalMessage(*[queue[stamp_ns] for queue, stamp_ns in taken])
        for queue, stamp_ns in taken:
            del queue[stamp_ns]


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Puts out one message of every input when their stamps lie within `slop` of each other.

    Looked for whenever a message comes, around that message: of the others the nearest first,
    the last input varying fastest. At most one set comes out per message. A candidate may be as
    far as `slop` from the new message, but the whole set has to span strictly less than it.
    """

    def __init__(
        self,
        fs: Sequence[SimpleFilter],
        queue_size: int,
        slop: float,
        allow_headerless: bool = False,
        sync_arrival_time: bool = False,
    ) -> None:
        """Listen to filters.

        Args:
            fs: One filter per argument of the callbacks, in their order.
            queue_size: Messages kept per input.
            slop: Seconds that the stamps of a set may span.
            allow_headerless: Whether messages without stamp get the time of their arrival.
            sync_arrival_time: Whether all messages get the time of their arrival.
        """
        super().__init__(fs, queue_size)
        self.slop = Duration(seconds=slop)
        self.allow_headerless = allow_headerless
        self.sync_arrival_time = sync_arrival_time

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Take a message of one input and put out the first set found around it."""
        if self.sync_arrival_time:
            stamp: Time | None = ROSClock().now()
        else:
            stamp = read_stamp(msg, self.allow_headerless, "message_filters_approx")
        if stamp is None:
            return
        with self.lock:
            self._keep(stamp.nanoseconds, msg, my_queue)
            found = self._find_set(stamp.nanoseconds, my_queue_index)
            if found is not None:
                self._emit(found)

    def _find_set(self, stamp_ns: int, my_queue_index: int | None) -> list[int] | None:
        """Choose one stamp per queue around a new one, or None."""
        slop_ns = self.slop.nanoseconds
        candidates = []
        for index, queue in enumerate(self.queues):
            if index == my_queue_index:
                candidates.append([stamp_ns] if stamp_ns in queue else [])
                continue
            near = [other for other in queue if abs(other - stamp_ns) <= slop_ns]
            candidates.append(sorted(near, key=lambda other: abs(other - stamp_ns)))
        for stamps_ns in itertools.product(*candidates):
            if max(stamps_ns) - min(stamps_ns) < slop_ns:
                return list(stamps_ns)
        return None
