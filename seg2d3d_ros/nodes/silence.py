"""Sensors that fall silent while others go on, told while they are silent."""

from __future__ import annotations

import threading
from dataclasses import dataclass

_UNUSUAL = 5.0
_UNKNOWN_S = 10.0
_FEW = 5


@dataclass
class _Stream:
    """Arrivals of one sensor since it began to send, or was back: monotonic seconds."""

    first_s: float
    last_s: float
    num: int = 1
    is_told: bool = False

    @property
    def unusual_s(self) -> float:
        """Return the pause that is strange for this sensor, whatever is strange for others."""
        if self.num < _FEW:
            return _UNKNOWN_S
        return _UNUSUAL * (self.last_s - self.first_s) / (self.num - 1)


class SilenceWatch:
    """Says which cameras, or whether odometry, send nothing while other sensors go on.

    Where everything ends, nothing is strange: the drive is over, or a player waits. So a silence
    is counted up to the newest arrival of whatever sensor. Arrivals come and questions are asked
    in different threads.
    """

    def __init__(self, limit_s: float) -> None:
        """Start before the first arrival.

        Args:
            limit_s: Shortest silence that is told; longer for sensors that take their time. 0:
                none is.
        """
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._newest_s = float("-inf")

    def hear(self, sensor: str, now_s: float) -> float:
        """Take an arrival; return the length of the silence it ends, 0 if untold."""
        with self._lock:
            self._newest_s = now_s
            stream = self._streams.get(sensor)
            if stream is None or stream.is_told:
                self._streams[sensor] = _Stream(now_s, now_s)
                return now_s - stream.last_s if stream is not None else 0.0
            stream.last_s, stream.num = now_s, stream.num + 1
            return 0.0

    def go_on(self, now_s: float) -> None:
        """Take an arrival of a sensor whose silence is never told."""
        with self._lock:
            self._newest_s = now_s

    def silent(self) -> dict[str, float]:
        """Return the seconds for which sensors have been silent, by name."""
        with self._lock:
            told = [(name, stream) for name, stream in self._streams.items() if stream.is_told]
            return {name: self._newest_s - stream.last_s for name, stream in sorted(told)}

    def fall_silent(self) -> list[str]:
        """Return the sensors that have fallen silent since the last question."""
        with self._lock:
            fallen = [
                name
                for name, stream in sorted(self._streams.items())
                if not stream.is_told and self._is_strange(stream)
            ]
            for name in fallen:
                self._streams[name].is_told = True
            return fallen

    def _is_strange(self, stream: _Stream) -> bool:
        silence_s = self._newest_s - stream.last_s
        return self._limit_s > 0 and silence_s > max(self._limit_s, stream.unusual_s)
