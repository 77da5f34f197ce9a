"""How messages of sensors are taken from the graph."""

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")

from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from seg2d3d_ros.nodes.conversions.primitives import to_time
from seg2d3d_ros.nodes.inputs import waiting


def test_waiting_messages_of_a_subscription_are_all_taken_by_one_callback(graph, eventually):
    node = Node("hearer", use_global_arguments=False)
    calls, stamps = [], []

    def heard(message):
        calls.append(message)
        stamps.extend(m.header.stamp.nanosec for m in (message, *waiting(subscription)))

    subscription = node.create_subscription(Odometry, "/odom", heard, 100)
    publisher = node.create_publisher(Odometry, "/odom", 100)
    assert eventually(lambda: publisher.get_subscription_count() == 1)
    for k in range(50):
        message = Odometry()
        message.header.stamp = to_time(k)
        publisher.publish(message)
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def all_came():
        executor.spin_once(timeout_sec=0.1)
        return len(stamps) == 50

    assert eventually(all_came)
    assert stamps == list(range(50))
    assert len(calls) < 10  # by the executor alone each is a turn of its own
    executor.shutdown()
    node.destroy_node()
