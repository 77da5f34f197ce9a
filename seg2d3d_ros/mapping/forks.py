"""Work on many items by forks of this process, where that is allowed and worth it.

Mapping is half Python, which threads cannot share. A fork sees all that is there and hands its
results back; what it changes is lost, so work must only return. Forking is safe in a process with
one thread only: whoever runs a stage alone in one says so, nobody else does.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe
from typing import NoReturn, TypeVar

from seg2d3d_ros.errors import StageError

Item = TypeVar("Item")
Result = TypeVar("Result")

_num_processes = 1


def allow(num: int) -> None:
    """Let this process work in up to `num` at a time; no other thread of it may do anything."""
    global _num_processes
    _num_processes = min(num, os.cpu_count() or 1)


def num_allowed() -> int:
    """Return how many may work at a time: what threads do has to end before the next fork."""
    return _num_processes


def in_order(
    work: Callable[[Item], Result], items: Sequence[Item], least: int = 2
) -> list[Result]:
    """Return what the work gives for each item, in order: the same with forks and without.

    Args:
        work: Changes nothing; its results can be pickled.
        items: What to work on; neighbours go into one process.
        least: Fewer items are not worth a fork.

    Raises:
        StageError: a fork was killed.
        Exception: what the work raised.
    """
    num = min(_num_processes, len(items))
    if num < 2 or len(items) < least:
        return [work(item) for item in items]
    ends = [len(items) * k // num for k in range(num + 1)]
    shares = [items[low:high] for low, high in zip(ends, ends[1:], strict=False)]
    gc.freeze()  # else collecting garbage would copy every page that is shared
    forks = [_fork(work, share) for share in shares[1:]]
    try:
        results = [work(item) for item in shares[0]]
    finally:
        told = [_listen(*fork) for fork in forks]
        gc.unfreeze()
    for answer in told:
        if isinstance(answer, BaseException):
            raise answer
        results += answer
    return results


def _fork(work: Callable[[Item], Result], items: Sequence[Item]) -> tuple[int, Connection]:
    ours, theirs = Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        _work_and_leave(work, items, theirs)
    theirs.close()
    return pid, ours


def _work_and_leave(
    work: Callable[[Item], Result], items: Sequence[Item], out: Connection
) -> NoReturn:
    """Send the results or the exception, and leave without cleaning up what is not ours."""
    code = 1
    try:
        logging.disable()  # the log goes to a socket that is not ours
        try:
            answer: object = [work(item) for item in items]
        except Exception as error:
            answer = error
        out.send(answer)
        code = 0
    finally:
        os._exit(code)


def _listen(pid: int, answers: Connection) -> list | BaseException:
    with answers:
        try:
            answer: list | BaseException = answers.recv()
        except EOFError:
            answer = StageError(
                "a fork of the mapping process was killed, as systems do that run out of memory; "
                "free memory, or map a shorter stretch at a time"
            )
    os.waitpid(pid, 0)
    return answer
