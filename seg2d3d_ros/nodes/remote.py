"""Talks to the three nodes from outside: are they active, finish, save."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import GetState
from rclpy.node import Node

from seg2d3d_ros.errors import NodeError, ResultError
from seg2d3d_ros.nodes.asking import ask
from seg2d3d_ros.nodes.spinner import Spinner
from seg2d3d_ros.srv import Finish, SaveMap

NODES = ("mapping", "clusters", "segmentation")
_POLL_S = 0.1
_CALL_S = 5.0


class Remote:
    """A small node that calls the services of the others; needs rclpy to be initialized."""

    def __init__(self, namespace: str = "", has_ended: Callable[[], bool] = lambda: False) -> None:
        """Make the clients.

        Args:
            namespace: That of the nodes.
            has_ended: Tells that the mapping node is gone, so that no answer is waited for.
        """
        self._has_ended = has_ended
        self._node = Node("remote", namespace=namespace, use_global_arguments=False)
        self._states = {n: self._node.create_client(GetState, f"{n}/get_state") for n in NODES}
        self._finish = self._node.create_client(Finish, "mapping/finish")
        self._save = self._node.create_client(SaveMap, "mapping/save_map")
        self._spinner = Spinner(self._node)

    def close(self) -> None:
        """Take the clients back."""
        self._spinner.stop()

    def inactive(self) -> list[str]:
        """Return the nodes that are not active, or do not answer."""
        return [name for name, client in self._states.items() if not _is_active(client)]

    def wait_until_active(self, timeout_s: float, should_stop: Callable[[], bool]) -> list[str]:
        """Wait until all nodes are active; return those that are not when the time is up."""
        limit_s = time.monotonic() + timeout_s
        missing = list(NODES)
        while missing and time.monotonic() < limit_s and not should_stop():
            missing = self.inactive()
            time.sleep(_POLL_S if missing else 0.0)
        return missing

    def finish(self, timeout_s: float) -> Finish.Response:
        """Finish the run; the response says what went wrong.

        Raises:
            NodeError: the mapping node does not answer in time.
        """
        request = Finish.Request(timeout_s=float(timeout_s))
        return self._require(self._finish, request, timeout_s + 60)

    def save_map(self, folder: str, timeout_s: float) -> str:
        """Write the result folder; return its absolute path.

        Raises:
            ResultError: it could not be written.
            NodeError: the mapping node does not answer in time.
        """
        response = self._require(self._save, SaveMap.Request(folder=folder), timeout_s)
        if not response.success:
            raise ResultError(response.message)
        return response.folder

    def _require(self, client: Any, request: Any, timeout_s: float) -> Any:
        is_there = client.wait_for_service(_CALL_S)
        response = None
        if is_there:
            response = ask(client, request, timeout_s, self._has_ended, is_idempotent=True)
        if response is None and self._has_ended():
            raise NodeError(f"{client.srv_name} cannot answer: node 'mapping' has ended")
        if response is None:
            raise NodeError(
                f"{client.srv_name} did not answer within {timeout_s:.0f} s; is the node active?"
            )
        return response


def _is_active(client: Any) -> bool:
    if not client.service_is_ready():
        return False
    response = ask(client, GetState.Request(), _CALL_S)
    return response is not None and response.current_state.label == "active"
