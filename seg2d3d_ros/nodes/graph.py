"""The three nodes as processes of our own: started, watched over, stopped together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seg2d3d_ros.errors import NodeError
from seg2d3d_ros.nodes.remote import NODES, Remote

_PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
_PROFILE_VARIABLES = (_PROFILE_VARIABLE, "FASTRTPS_DEFAULT_PROFILES_FILE")
_STOP_S = 45.0  # longer than a node waits for the item that its worker is at
_SAVE_S = 120.0  # for mapping, which may have a map to write
_TELL_S = 5.0
_OWNER_VARIABLE = "SEG2D3D_OWNER_PID"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class GraphOptions:
    """How the nodes are started.

    Attributes:
        params_file: ROS 2 parameter file; None for the defaults.
        parameters: Further parameters by dotted name, over the file.
        namespace: Namespace of the nodes.
        remaps: `from:=to`, for every node.
        use_sim_time: Let the nodes follow /clock.
        start_timeout_s: Longest wait until all are active.
    """

    params_file: Path | None = None
    parameters: tuple[tuple[str, str], ...] = ()
    namespace: str = ""
    remaps: tuple[str, ...] = ()
    use_sim_time: bool = False
    start_timeout_s: float = 120.0


def share_folder() -> Path:
    """Return the folder that holds config/ and launch/: the checkout, else the installed share."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "config").is_dir():
        return checkout
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory("seg2d3d_ros"))


def use_large_shared_memory() -> None:
    """Let Fast DDS carry pictures through a larger shared memory, unless a profile is chosen.

    It is read when rclpy is initialized; child processes inherit it.
    """
    if not any(os.environ.get(name) for name in _PROFILE_VARIABLES):
        os.environ[_PROFILE_VARIABLE] = str(share_folder() / "config" / "fastdds.xml")


@contextmanager
def ros_graph() -> Iterator[None]:
    """Take part in the graph while the block runs; signals stay with the caller."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    use_large_shared_memory()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield
    finally:
        rclpy.try_shutdown()


def is_orphan() -> bool:
    """Return whether this process is a node of a graph whose owner was killed."""
    owner = os.environ.get(_OWNER_VARIABLE)
    return owner is not None and os.getppid() != int(owner)


class Graph:
    """Mapping, clusters and segmentation, each a process; use it as a context."""

    def __init__(self, options: GraphOptions) -> None:
        """Prepare; entering the context starts the processes."""
        self._options = options
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Graph:
        """Start the processes, the last stage first."""
        environment = {**os.environ, _OWNER_VARIABLE: str(os.getpid())}
        for name in NODES:
            # Sessions of their own: Ctrl-C reaches only us, and we stop them in order.
            self._processes[name] = subprocess.Popen(
                self._command(name), start_new_session=True, env=environment
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what still runs."""
        self.stop()

    def _command(self, name: str) -> Sequence[str]:
        o = self._options
        command = [sys.executable, "-m", f"seg2d3d_ros.nodes.{name}_node", "--ros-args"]
        if o.params_file is not None:
            command += ["--params-file", str(o.params_file)]
        for key, value in (*o.parameters, ("use_sim_time", str(o.use_sim_time).lower())):
            command += ["-p", f"{key}:={value}"]
        if o.namespace:
            command += ["-r", f"__ns:=/{o.namespace.strip('/')}"]
        for remap in o.remaps:
            command += ["-r", remap]
        return command

    def dead(self) -> dict[str, int]:
        """Return the exit codes of the nodes that have ended."""
        codes = {name: process.poll() for name, process in self._processes.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def check(self) -> None:
        """Check that all nodes run.

        Raises:
            NodeError: one has ended over something that the user can mend, or was killed.
            RuntimeError: one has ended otherwise.
        """
        dead = self.dead()
        if not dead:
            return
        names = ", ".join(f"'{name}' (exit code {code})" for name, code in dead.items())
        codes = set(dead.values())
        if codes <= {1, -signal.SIGKILL, -signal.SIGTERM}:
            cure = (
                "its last lines above say why"
                if codes == {1}
                else "it was killed, mostly because memory ran out: see to memory and start again"
            )
            raise NodeError(f"node {names} has ended; {cure}")
        raise RuntimeError(f"node {names} has ended by itself")

    def wait_until_active(self, remote: Remote, should_stop: Callable[[], bool]) -> None:
        """Wait until all nodes are active.

        Raises:
            NodeError: one has ended, or takes too long.
        """
        limit_s = self._options.start_timeout_s
        missing = remote.wait_until_active(limit_s, lambda: should_stop() or bool(self.dead()))
        self.check()
        if missing and not should_stop():
            raise NodeError(f"not active after {limit_s:.0f} s: {', '.join(missing)}")

    def stop(self) -> None:
        """Ask the nodes to end, in order of the flow.

        What does not end is killed, once it has written down where it stands.
        """
        for name in reversed(NODES):
            if self._processes[name].poll() is None:
                self._processes[name].send_signal(signal.SIGTERM)
        asked_s = time.monotonic()
        for name in reversed(NODES):
            limit_s = _SAVE_S if name == "mapping" else _STOP_S
            if not _ends_within(self._processes[name], asked_s + limit_s - time.monotonic()):
                _LOG.error("node '%s' does not end: killed after %.0f s", name, limit_s)
                self._processes[name].send_signal(signal.SIGABRT)  # it writes down its stacks
                if not _ends_within(self._processes[name], _TELL_S):
                    self._processes[name].kill()
                    self._processes[name].wait()


def _ends_within(process: subprocess.Popen[bytes], limit_s: float) -> bool:
    try:
        process.wait(max(0.1, limit_s))
    except subprocess.TimeoutExpired:
        return False
    return True
