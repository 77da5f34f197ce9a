"""Runs the callbacks of a node of ours that is no stage: of players, clients and checks."""

from __future__ import annotations

import threading

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

_SPIN_S = 0.2
_END_S = 2.0


class Spinner:
    """A thread in which a node hears and is answered.

    `Executor.spin` cannot be ended from outside without a race: what it wakes itself by may be
    gone when a callback has just ended, and the thread dies with a traceback.
    """

    def __init__(self, node: Node) -> None:
        """Begin; the node may get further clients and subscriptions."""
        self._node = node
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the callback under way end, then destroy the node."""
        self._stopped.set()
        self._thread.join(_END_S)
        self._executor.shutdown(timeout_sec=_END_S)
        self._node.destroy_node()

    def _spin(self) -> None:
        try:
            while not self._stopped.is_set():
                self._executor.spin_once(timeout_sec=_SPIN_S)
        except Exception:  # by how far rclpy had come: ExternalShutdown, InvalidHandle, RCLError
            if self._executor.context.ok():
                raise
            # rclpy was shut down before us: nobody is to be heard any more
