"""A ring buffer of the latest messages."""

from typing import Any

from rclpy.time import Time

from message_filters.simple_filter import SimpleFilter, read_stamp


class Cache(SimpleFilter):
    """Keeps the latest messages of a filter, in order of arrival, and passes them on.

    Stamps are compared as they are: a Time of another clock raises TypeError, and those read from
    messages have the ROS clock.
    """

    def __init__(
        self, f: SimpleFilter, cache_size: int = 1, allow_headerless: bool = False
    ) -> None:
        """Listen to a filter.

        Args:
            f: The filter whose output is kept.
            cache_size: How many messages are kept.
            allow_headerless: Whether messages without stamp are kept under the time of arrival.
        """
        super().__init__()
        self.cache_size = cache_size
        self.cache_msgs: list[Any] = []
        self.cache_times: list[Time] = []
        self.allow_headerless = allow_headerless
        self.connectInput(f)

    def connectInput(self, f: SimpleFilter) -> None:
        """Listen to a filter."""
        self.incoming_connection = f.registerCallback(self.add)

    def add(self, msg: Any) -> None:
        """Keep a message, forget the one that came first where there are too many, pass it on."""
        stamp = read_stamp(msg, self.allow_headerless, "message_filters_cache")
        if stamp is None:
            return
        self.cache_msgs.append(msg)
        self.cache_times.append(stamp)
        if len(self.cache_msgs) > self.cache_size:
            self.cache_msgs.pop(0)
            self.cache_times.pop(0)
        self.signalMessage(msg)

    def getInterval(self, from_stamp: Time, to_stamp: Time) -> list[Any]:
        """Give the messages with from_stamp <= stamp <= to_stamp, in order of arrival."""
        assert from_stamp <= to_stamp
        return [m for m, t in self._entries() if from_stamp <= t <= to_stamp]

    def getElemAfterTime(self, stamp: Time) -> Any:
        """Give the first to arrive of those at or after the stamp, or None."""
        return next((m for m, t in self._entries() if t >= stamp), None)

    def getElemBeforeTime(self, stamp: Time) -> Any:
        """Give the last to arrive of those at or before the stamp, or None."""
        return next((m for m, t in reversed(self._entries()) if t <= stamp), None)

    def getLastestTime(self) -> Time | None:
        """Give the stamp of the message that came last, or None."""
        return self.cache_times[-1] if self.cache_times else None

    def getLatestTime(self) -> Time | None:
        """Give the stamp of the message that came last: the name that newer releases use."""
        return self.getLastestTime()

    def getOldestTime(self) -> Time | None:
        """Give the stamp of the message that came first of those kept, or None."""
        return self.cache_times[0] if self.cache_times else None

    def getLast(self) -> Any:
        """Give the message at the latest stamp, or None."""
        latest = self.getLastestTime()
        return None if latest is None else self.getElemAfterTime(latest)

    def _entries(self) -> list[tuple[Any, Time]]:
        return list(zip(self.cache_msgs, self.cache_times, strict=True))
