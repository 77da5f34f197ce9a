"""A node that hears in a thread can be taken back at any moment."""

import sys
import threading
import time
from contextlib import contextmanager

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")


@contextmanager
def turns_taken_often():
    """Let threads take turns so often that a race is lost."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval_s)


@pytest.fixture
def graph(ros_domain):
    from seg2d3d_ros.nodes.graph import ros_graph

    with turns_taken_often(), ros_graph():
        yield


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


def test_spinner_ends_by_itself_at_whatever_moment_ros_is_shut_down(ros_domain, monkeypatch):
    import rclpy
    from rclpy.node import Node

    from seg2d3d_ros.nodes.graph import ros_graph
    from seg2d3d_ros.nodes.spinner import Spinner

    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    for k in range(40):
        with turns_taken_often(), ros_graph():
            before = threading.active_count()
            node = Node(f"left_{k}", use_global_arguments=False)
            node.create_timer(1e-4, lambda: None)
            spinner = Spinner(node)
            time.sleep(k * 1e-4)
            rclpy.try_shutdown()
            until = time.monotonic() + 10
            while threading.active_count() > before and time.monotonic() < until:
                time.sleep(1e-3)
            assert threading.active_count() == before
            spinner.stop()
    assert told == []


def test_spinner_hides_no_failure_of_a_callback(graph, monkeypatch):
    from rclpy.node import Node

    from seg2d3d_ros.nodes.spinner import Spinner

    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    node = Node("failing", use_global_arguments=False)
    node.create_timer(1e-3, lambda: 1 / 0)
    spinner = Spinner(node)
    until = time.monotonic() + 10
    while not told and time.monotonic() < until:
        time.sleep(1e-3)
    spinner.stop()
    assert [error.exc_type for error in told] == [ZeroDivisionError]
