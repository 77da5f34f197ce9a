"""Calls of services from threads that are not the executor's, with answers that may get lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

_POLL_S = 0.1
_AGAIN_S = 10.0
_MOST = 3


def ask(
    client: Any,
    request: Any,
    timeout_s: float,
    should_give_up: Callable[[], bool] = lambda: False,
    is_idempotent: bool = False,
) -> Any:
    """Return the response of a service, None if there is none in time.

    A server sends its answer into the void if it has not discovered the client's reader within a
    tenth of a second (rmw_fastrtps: "client will not receive response"), as happens on machines
    under load to clients that are new. So what may be asked twice is asked again, but not often:
    by then the server knows us, and each question that waits there holds one of its threads.

    Args:
        client: Of a service that is there.
        request: For it.
        timeout_s: Longest wait.
        should_give_up: Asked now and then.
        is_idempotent: To ask again does no harm.
    """
    answered, answers = threading.Event(), []

    def take(future: Any) -> None:
        answers.append(future.result())
        answered.set()

    start_s = asked_s = time.monotonic()
    futures, wait_s = [client.call_async(request)], _AGAIN_S
    futures[0].add_done_callback(take)
    while not answered.wait(_POLL_S):
        now_s = time.monotonic()
        if now_s - start_s > timeout_s or should_give_up():
            break
        if is_idempotent and len(futures) < _MOST and now_s - asked_s > wait_s:
            futures.append(client.call_async(request))
            futures[-1].add_done_callback(take)
            asked_s, wait_s = now_s, 2.0 * wait_s
    for future in futures:
        if not future.done():
            client.remove_pending_request(future)
    return answers[0] if answers else None
