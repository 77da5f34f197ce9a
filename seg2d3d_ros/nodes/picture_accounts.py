"""What became of every picture that reached a node, per camera, for /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import Counter

AFTER_FINISH = "after_finish"


class PictureAccounts:
    """Counts pictures so that received = processed + dropped by reason + waiting, per camera.

    Pictures come in and are worked off in different threads.

    Attributes:
        run: Number that tells these accounts from those of a run before or after, of this process
            or another: the time at which they began, nanoseconds.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self.run = time.time_ns()
        self._lock = threading.Lock()
        self._received: Counter[str] = Counter()
        self._processed: Counter[str] = Counter()
        self._dropped: Counter[tuple[str, str]] = Counter()

    def receive(self, camera: str) -> None:
        """Count a picture that has come."""
        with self._lock:
            self._received[camera] += 1

    def process(self, camera: str) -> None:
        """Count a picture that the stage has taken."""
        with self._lock:
            self._processed[camera] += 1

    def drop(self, camera: str, reason: str) -> None:
        """Count a picture that the stage has not taken."""
        with self._lock:
            self._dropped[camera, reason] += 1

    def drop_waiting(self, reason: str) -> None:
        """Count every picture that still waits as dropped."""
        with self._lock:
            for camera in self._received:
                self._dropped[camera, reason] += self._num_waiting(camera)

    @property
    def received(self) -> dict[str, int]:
        """Return how many pictures have come before the run was finished, per camera."""
        with self._lock:
            return {k: n - self._dropped[k, AFTER_FINISH] for k, n in self._received.items()}

    def values(self) -> dict[str, int]:
        """Return `received.<camera>`, `processed.…`, `waiting.…` and `dropped.<camera>.<reason>`.

        Reasons that never occurred are left out.
        """
        with self._lock:
            named: dict[str, int] = {}
            for camera in sorted(self._received):
                named[f"received.{camera}"] = self._received[camera]
                named[f"processed.{camera}"] = self._processed[camera]
                named[f"waiting.{camera}"] = self._num_waiting(camera)
            for (camera, reason), num in sorted(self._dropped.items()):
                if num:
                    named[f"dropped.{camera}.{reason}"] = num
            return named

    def _num_waiting(self, camera: str) -> int:
        dropped = sum(n for (name, _), n in self._dropped.items() if name == camera)
        return self._received[camera] - self._processed[camera] - dropped
