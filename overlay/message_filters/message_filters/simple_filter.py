"""What every filter can do, and the filter at the head of every chain."""

from collections.abc import Callable
from typing import Any

import rclpy.logging
from rclpy.clock import ROSClock
from rclpy.time import Time


class SimpleFilter:
    """Passes its output to the callbacks registered with it, in the order of registration."""

    def __init__(self) -> None:
        """Start without callbacks."""
        self.callbacks: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:
        """Have `cb(*messages, *args)` called with every output; returns a connection number."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:
        """Call every registered callback with these messages."""
        for callback, arguments in self.callbacks.values():
            callback(*msg, *arguments)


class Subscriber(SimpleFilter):
    """A subscription as a filter: takes a node and then what `create_subscription` takes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Subscribe; `qos_profile` is a depth of 10 unless given by name.

        Args:
            *args: Node, message type, topic.
            **kwargs: Passed on to `Node.create_subscription`.
        """
        super().__init__()
        self.node, message_type, self.topic = args[0], args[1], args[2]
        kwargs.setdefault("qos_profile", 10)
        self.sub = self.node.create_subscription(message_type, *args[2:], self.callback, **kwargs)

    def callback(self, msg: Any) -> None:
        """Pass a received message on."""
        self.signalMessage(msg)

    def getTopic(self) -> str:
        """Give the topic's name as it was asked for."""
        return self.topic

    def __getattr__(self, key: str) -> Any:
        """Look everything else up in the subscription."""
        if key == "sub":
            raise AttributeError(key)
        return getattr(self.sub, key)


def read_stamp(msg: Any, allow_headerless: bool, logger_name: str) -> Time | None:
    """Read a message's stamp as a Time.

    Args:
        msg: The message; its stamp may be a message or a Time.
        allow_headerless: Whether a message without stamp gets the time of now.
        logger_name: Where a refused message is warned of.

    Returns:
        The stamp, or None where there is none and none is given.
    """
    stamp = getattr(getattr(msg, "header", None), "stamp", None)
    if stamp is None:
        if allow_headerless:
            return ROSClock().now()
        rclpy.logging.get_logger(logger_name).warning(
            "a message without header.stamp is left out; allow_headerless=True would give it "
            "the time of its arrival"
        )
        return None
    return stamp if hasattr(stamp, "nanoseconds") else Time.from_msg(stamp)
