"""A stage in a process of its own: the same calls and answers, beside another interpreter lock.

The process is a new interpreter (nothing is forked, so threads and devices of this one do not
matter) that makes the stage and then answers one call at a time over a socket. It ends when the
socket is closed, and within a call when its owner is no more, however that one ended.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from seg2d3d_ros.errors import StageError

_PACKAGE = __package__
_START = "import sys; sys.path[:] = {path!r}; from {module} import serve; serve({descriptor})"
_END_S = 10.0
_LOOK_S = 1.0


class StageProcess:
    """A stage elsewhere.

    Attributes:
        busy_s: CPU time that the stage took for the calls so far.
        peak_memory_mib: Most resident memory of its process so far.
    """

    def __init__(self, make: Callable[[], Any], name: str) -> None:
        """Start the process; it makes the stage by `make`, which is pickled, meanwhile.

        Args:
            make: Makes the stage.
            name: What errors call it.
        """
        self.busy_s = 0.0
        self.peak_memory_mib = 0.0
        self._is_made = False
        self._name = name
        self._connection, theirs = Pipe()
        with theirs:
            code = _START.format(path=sys.path, module=__name__, descriptor=theirs.fileno())
            command = [sys.executable, "-c", code]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C is for its owner
            )
        level = logging.getLogger(_PACKAGE).getEffectiveLevel()
        self._send((level, gc.get_threshold(), make))

    def wait_until_made(self) -> None:
        """Wait for the stage; the first call does so, too.

        Raises:
            Exception: what making it raised; the process has ended then.
        """
        if self._is_made:
            return
        try:
            self._receive()
        except BaseException:
            self.end()
            raise
        self._is_made = True

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a method of the stage, or read an attribute of it, and return the answer.

        Raises:
            StageError: the process was killed.
            Exception: what the stage raised.
        """
        self.ask(name, *arguments)
        return self.hear()

    def ask(self, name: str, *arguments: Any) -> None:
        """Begin a call; `hear` has to come before the next one.

        Raises:
            StageError: the process was killed.
        """
        self.wait_until_made()
        self._send((name, arguments))

    def hear(self) -> Any:
        """Wait for the answer to what was asked.

        Raises:
            StageError: the process was killed.
            Exception: what the stage raised.
        """
        return self._receive()

    def end(self) -> None:
        """End the process and its forks, at once and whatever they do; may be called again."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _send(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except OSError:
            raise self._death() from None

    def _receive(self) -> Any:
        while True:
            try:
                kind, value = self._connection.recv()
            except (EOFError, OSError):
                raise self._death() from None
            if kind == "log":
                logging.getLogger(value.name).handle(value)
                continue
            answer, self.peak_memory_mib, busy_s = value
            self.busy_s += busy_s
            if kind == "error":
                raise answer
            return answer

    def _death(self) -> Exception:
        """Return what is to be said of a process that is gone."""
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return RuntimeError(f"the process of {self._name} closed its socket and goes on")
        if code == -signal.SIGKILL:
            return StageError(
                f"the process of {self._name} was killed from outside, as systems do that run "
                "out of memory; free memory, or map a shorter stretch at a time"
            )
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return RuntimeError(f"the process of {self._name} ended by itself: {how}")


# ------------------------------------------------------------------------------- in that process


class _Outlet(logging.Handler):
    """Hands log records to whoever owns the stage; holds the lock of what is sent."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._sending = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        self.send("log", record)

    def send(self, kind: str, value: Any) -> None:
        with self._sending:
            self._connection.send((kind, value))


def serve(descriptor: int) -> None:
    """Make a stage and answer calls about it until the socket is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # its owner decides what they mean
        signal.signal(number, signal.SIG_IGN)
    _end_with(os.getppid())
    connection = Connection(descriptor)
    outlet = _Outlet(connection)
    try:
        level, thresholds, make = connection.recv()
        gc.set_threshold(*thresholds)  # garbage is looked for as often as its owner does
        logging.basicConfig(handlers=[outlet])
        logging.getLogger(_PACKAGE).setLevel(level)
        stage = _answer(outlet, make, is_told=False)
        while True:
            name, arguments = connection.recv()
            _answer(outlet, partial(_use, stage, name, arguments))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # nobody is there any more: no need to take a large map to pieces


def _end_with(owner: int) -> None:
    """Let this process and its forks end when its owner was killed, also within a long call.

    By a timer, as a thread would forbid forks; forks have none, and reads go on after it.
    """

    def look(*_: object) -> None:
        if os.getppid() != owner:
            os.killpg(0, signal.SIGKILL)

    signal.signal(signal.SIGALRM, look)
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, _LOOK_S, _LOOK_S)


def _use(stage: Any, name: str, arguments: tuple[Any, ...]) -> Any:
    member = getattr(stage, name)
    return member(*arguments) if callable(member) else member


def _answer(outlet: _Outlet, work: Callable[[], Any], is_told: bool = True) -> Any:
    """Send what the work gives (that it is done, unless told what) or raises; return it."""
    start = time.thread_time()
    try:
        kind, value = "answer", work()
    except Exception as error:
        error.add_note("in the process of the stage:\n" + traceback.format_exc())
        kind, value = "error", error
    told = value if is_told or kind == "error" else None
    outlet.send(kind, (told, peak_memory_mib(), time.thread_time() - start))
    return value


def peak_memory_mib() -> float:
    """Return the most resident memory of this process so far.

    `getrusage` would count that of the process which started it, from before `exec`.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) / 1024.0
    raise RuntimeError("/proc/self/status has no VmHWM")
