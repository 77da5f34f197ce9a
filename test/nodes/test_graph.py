"""Nodes as processes of our own: how those end that do not end by themselves."""

from __future__ import annotations

import sys
import time

import pytest

from seg2d3d_ros.nodes import graph
from seg2d3d_ros.nodes.graph import Graph, GraphOptions

_DEAF = """
import faulthandler, signal, time
faulthandler.enable()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def stuck_here():
    print("ready", flush=True)
    time.sleep(100)
stuck_here()
"""
_QUIET = "import time; time.sleep(100)"
_MUTE = _DEAF.replace("faulthandler.enable()", "signal.signal(signal.SIGABRT, signal.SIG_IGN)")


@pytest.fixture
def started(monkeypatch, capfd):
    """Start three processes in the place of nodes; `clusters` runs the code that is given."""
    monkeypatch.setattr(graph, "_STOP_S", 1.0)
    monkeypatch.setattr(graph, "_TELL_S", 1.0)

    def start(code):
        def command(_, name):
            return [sys.executable, "-c", code if name == "clusters" else _QUIET]

        monkeypatch.setattr(Graph, "_command", command)
        nodes = Graph(GraphOptions()).__enter__()
        limit_s = time.monotonic() + 20.0
        while "ready" not in capfd.readouterr().out and time.monotonic() < limit_s:
            time.sleep(0.05)
        return nodes

    return start


def test_stop_node_deaf_to_sigterm_tells_its_stack_and_is_killed(started, capfd, caplog):
    nodes = started(_DEAF)
    nodes.stop()
    assert set(nodes.dead()) == {"segmentation", "clusters", "mapping"}
    assert "stuck_here" in capfd.readouterr().err
    assert [r.getMessage() for r in caplog.records] == [
        "node 'clusters' does not end: killed after 1 s"
    ]


def test_stop_node_that_tells_nothing_is_killed_all_the_same(started):
    nodes = started(_MUTE)
    nodes.stop()
    assert nodes.dead()["clusters"] == -9


def test_stop_nodes_that_end_by_themselves_are_not_killed(started, caplog):
    nodes = started("print('ready', flush=True); " + _QUIET)
    nodes.stop()
    assert set(nodes.dead().values()) == {-15}
    assert not caplog.records
