"""Does the graph work on this machine: a picture sent through DDS to ourselves."""

from __future__ import annotations

import array
import threading
import time

from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import Image

from seg2d3d_ros.errors import NodeError
from seg2d3d_ros.nodes.spinner import Spinner

_HEIGHT_PX, _WIDTH_PX, _NUM = 384, 640, 10
_TIMEOUT_S = 10.0


def measure_latency_ms() -> tuple[str, float]:
    """Send pictures to ourselves; return the middleware's name and the median latency.

    Raises:
        NodeError: nothing arrives.
    """
    node = Node("self_check", use_global_arguments=False)
    arrived: list[float] = []
    has_come = threading.Event()

    def take(message: Image) -> None:
        arrived.append(time.perf_counter())
        has_come.set()

    node.create_subscription(Image, "~/picture", take, 10)
    publisher = node.create_publisher(Image, "~/picture", 10)
    spinner = Spinner(node)
    try:
        latencies_ms = []
        message = Image(height=_HEIGHT_PX, width=_WIDTH_PX, step=3 * _WIDTH_PX, encoding="bgr8")
        message.data = array.array("B", bytes(3 * _HEIGHT_PX * _WIDTH_PX))
        for _ in range(_NUM):
            has_come.clear()
            sent = time.perf_counter()
            publisher.publish(message)
            if not has_come.wait(_TIMEOUT_S):
                raise NodeError(
                    f"a picture sent to ourselves did not arrive within {_TIMEOUT_S:.0f} s; is "
                    "multicast or UDP on the loopback device blocked, or /dev/shm full?"
                )
            latencies_ms.append(1e3 * (arrived[-1] - sent))
    finally:
        spinner.stop()
    return get_rmw_implementation_identifier(), sorted(latencies_ms)[_NUM // 2]
