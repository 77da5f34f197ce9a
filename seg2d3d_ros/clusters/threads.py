"""Threads for work on several cameras at once, there only while there is work."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import cv2

Given = TypeVar("Given")
Result = TypeVar("Result")


class Threads:
    """A pool that is made by the first work and can be closed and used again."""

    def __init__(self, num: int) -> None:
        """Use up to `num` threads; with one, work is done where it is asked for."""
        self._num = num
        self._pool: ThreadPoolExecutor | None = None

    def map(self, work: Callable[[Given], Result], given: Iterable[Given]) -> list[Result]:
        """Return what the work gives, in the order of what was given; raise what it raises.

        The last is worked on here: who would wait does not wake a thread for it.
        """
        items = list(given)
        if not items:
            return []
        begun = self.begin(work, items[:-1])
        own = work(items[-1])
        return [*begun(), own]

    def begin(
        self, work: Callable[[Given], Result], given: Iterable[Given]
    ) -> Callable[[], list[Result]]:
        """Begin work and return what waits for its results, as `map` returns them."""
        if self._num <= 1:
            done = [work(one) for one in given]
            return lambda: done
        if self._pool is None:
            cv2.setNumThreads(1)  # OpenCV's own threads spin while they wait, beside these
            self._pool = ThreadPoolExecutor(self._num, thread_name_prefix="camera")
        begun = [self._pool.submit(work, one) for one in given]
        return lambda: [one.result() for one in begun]

    def close(self) -> None:
        """End the threads; the next work starts new ones."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
