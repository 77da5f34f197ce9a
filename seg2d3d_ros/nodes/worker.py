"""A thread around a synchronous stage, behind a bounded queue that counts what it sheds."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

_LOG = logging.getLogger(__name__)


@dataclass
class Job:
    """One thing to push through the stage.

    Attributes:
        make: Returns the item to push; decoding happens here, in the worker's thread.
        shed: Returns what stands in for the item when there is no time for it; None: never shed.
        lane: Jobs that may be shed come in lanes (cameras), each with a newest one.
        since_s: When it came, by the monotonic clock.
    """

    make: Callable[[], Any]
    shed: Callable[[], Any] | None = None
    lane: str = ""
    since_s: float = field(default_factory=time.monotonic)


class Worker:
    """Feeds a stage from its own thread, in the order of arrival.

    When more than `capacity` sheddable jobs (pictures) wait, the oldest of them is replaced, where
    it stands, by its stand-in: order is kept, and every job reaches the stage in one form or the
    other. Once the oldest has waited longer than `max_wait_s`, all are replaced but the newest of
    each lane, so that what is worked on is new however slow the stage is. An exception in the
    stage costs the item it was about: it is counted, logged, and the thread goes on.
    """

    def __init__(
        self,
        push: Callable[[Any], Iterable[Any]],
        emit: Callable[[Any], None],
        capacity: int,
        max_wait_s: float = 0.0,
    ) -> None:
        """Prepare; `start` starts the thread.

        Args:
            push: the stage's `push`, item in, outputs out.
            emit: takes each output.
            capacity: largest number of sheddable jobs that wait.
            max_wait_s: longest wait of a sheddable job while there is a newer one; 0: any.
        """
        self._push, self._emit, self._capacity = push, emit, capacity
        self._max_wait_s, self._resumed_s = max_wait_s, 0.0
        self._jobs: deque[Job] = deque()
        self._num_sheddable = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_running = self._is_busy = self._is_paused = False
        self._counts: Counter[str] = Counter()
        self._busy_s = 0.0
        self.last_error = ""

    def start(self) -> None:
        """Start the thread."""
        self._is_running = True
        self._thread = threading.Thread(target=self._run, name="stage", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> bool:
        """End the thread after the item it is at; what still waits is dropped as `stopped`."""
        with self._changed:
            self._is_running = False
            self._counts["stopped"] += len(self._jobs)
            self._jobs.clear()
            self._num_sheddable = 0
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    @property
    def is_running(self) -> bool:
        """Return whether jobs are worked off, now or after a pause."""
        return self._is_running

    def put(self, job: Job, is_first: bool = False) -> None:
        """Take a job, to be done after those that wait, or before them; never blocks."""
        with self._changed:
            self._counts["received"] += 1
            if is_first:
                self._jobs.appendleft(job)
            else:
                self._jobs.append(job)
            if job.shed is not None:
                self._num_sheddable += 1
                if self._num_sheddable > self._capacity:
                    self._shed_oldest()
            self._changed.notify_all()

    def pause(self, is_paused: bool) -> None:
        """Stop or go on taking jobs from the queue."""
        with self._changed:
            self._is_paused = is_paused
            self._resumed_s = time.monotonic()  # a pause is nobody's fault: waiting starts anew
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Wait until nothing waits and nothing is at work; False if it took too long."""
        with self._changed:
            return self._changed.wait_for(self._is_idle, timeout_s)

    def stats(self) -> dict[str, float]:
        """Return counters by name: received, processed, shed, failed, stopped, waiting, busy_s.

        Those that wait are the sheddable jobs (pictures); `queued` are all.
        """
        with self._changed:
            named = {
                k: float(self._counts[k]) for k in ("received", "processed", "shed", "failed")
            }
            return named | {
                "stopped": float(self._counts["stopped"]),
                "waiting": float(self._num_sheddable),
                "queued": float(len(self._jobs)),
                "busy_s": self._busy_s,
            }

    def _is_idle(self) -> bool:
        return not self._jobs and not self._is_busy

    def _shed_oldest(self) -> None:
        i, stand_in = next((i, j.shed) for i, j in enumerate(self._jobs) if j.shed is not None)
        self._shed(i, stand_in)

    def _shed_late(self) -> None:
        """Keep only the newest job of each lane if the oldest has waited too long."""
        waiting = [(i, j, j.shed) for i, j in enumerate(self._jobs) if j.shed is not None]
        if not self._max_wait_s or not waiting:
            return
        since_s = max(waiting[0][1].since_s, self._resumed_s)
        if time.monotonic() - since_s > self._max_wait_s:
            newest = {job.lane: i for i, job, _ in waiting}
            for i, job, stand_in in waiting:
                if newest[job.lane] != i:
                    self._shed(i, stand_in)

    def _shed(self, i: int, stand_in: Callable[[], Any]) -> None:
        """Replace a waiting job by its stand-in."""
        self._jobs[i] = Job(make=stand_in)
        self._num_sheddable -= 1
        self._counts["shed"] += 1

    def _next(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(
                lambda: not self._is_running or (self._jobs and not self._is_paused)
            )
            if not self._is_running:
                return None
            self._shed_late()
            job = self._jobs.popleft()
            self._num_sheddable -= job.shed is not None
            self._is_busy = True
            return job

    def _run(self) -> None:
        while (job := self._next()) is not None:
            start_s = time.perf_counter()
            try:
                for output in self._push(job.make()):
                    self._emit(output)
                outcome = "processed"
            except Exception as error:  # a stage must not take the node with it
                outcome = "failed"
                self.last_error = f"{type(error).__name__}: {error}"
                _LOG.exception("the stage failed on one item; it goes on with the next")
            with self._changed:
                self._counts[outcome] += 1
                self._busy_s += time.perf_counter() - start_s
                self._is_busy = False
                self._changed.notify_all()
