"""A node that hears in a thread can be taken back at any moment."""

import sys
import threading
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")


@pytest.fixture
def graph(ros_domain):
    from seg2d3d_ros.nodes.graph import ros_graph

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns often enough for a race to be lost
    with ros_graph():
        yield
    sys.setswitchinterval(interval_s)


def test_spinner_stopped_in_the_midst_of_callbacks_ends_without_a_traceback(graph, monkeypatch):
    from rclpy.node import Node

    from seg2d3d_ros.nodes.spinner import Spinner

    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    before = threading.active_count()
    for k in range(60):
        node, heard = Node(f"busy_{k}", use_global_arguments=False), []
        node.create_timer(1e-4, lambda heard=heard: heard.append(time.sleep(1e-3)))
        spinner = Spinner(node)
        while len(heard) < 3:
            time.sleep(1e-3)
        spinner.stop()
        num = len(heard)
        time.sleep(2e-3)
        assert len(heard) == num
    assert told == [] and threading.active_count() == before


def test_spinner_ends_by_itself_when_ros_is_shut_down(graph, monkeypatch):
    import rclpy
    from rclpy.node import Node

    from seg2d3d_ros.nodes.spinner import Spinner

    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    before = threading.active_count()
    spinner = Spinner(Node("left", use_global_arguments=False))
    rclpy.try_shutdown()
    until = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() == before and told == []
    spinner.stop()
