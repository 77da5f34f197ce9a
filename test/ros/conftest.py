"""Nodes as real processes, and a listener that hears what they publish."""

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # camera_on_graph


class Process:
    """A node started by `python -m`, with its output kept."""

    def __init__(self, name, parameters):
        command = [sys.executable, "-m", f"seg2d3d_ros.nodes.{name}_node", "--ros-args"]
        for key, value in parameters.items():
            command += ["-p", f"{key}:={value}"]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    @property
    def is_alive(self):
        return self._process.poll() is None

    def end(self, number=signal.SIGTERM, timeout_s=60):
        """Send a signal; return the exit code and what was printed."""
        if self.is_alive:
            self._process.send_signal(number)
        try:
            text, _ = self._process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise
        return self._process.returncode, text


@pytest.fixture
def start(ros_domain):
    """Start nodes; what still runs after the test is ended."""
    started = []

    def start_node(name, **parameters):
        named = {key.replace("__", "."): value for key, value in parameters.items()}
        started.append(Process(name, named))
        return started[-1]

    yield start_node
    for process in started:  # killed at once they would leave their shared memory behind
        process.end()


class Peer:
    """A node of the test: calls services, publishes, and keeps what it hears."""

    def __init__(self):
        from rclpy.node import Node

        from seg2d3d_ros.nodes.spinner import Spinner

        self.node = Node("peer", use_global_arguments=False)
        self.heard = {}
        self._clients = {}
        self._spinner = Spinner(self.node)

    def close(self):
        self._spinner.stop()

    def listen(self, msgtype, topic, qos=100):
        self.heard[topic] = []
        self.node.create_subscription(msgtype, topic, self.heard[topic].append, qos)

    def call(self, srvtype, name, within_s=60, **fields):
        if name not in self._clients:
            self._clients[name] = self.node.create_client(srvtype, name)
            assert self._clients[name].wait_for_service(30), f"no service {name}"
            # We know the server, it may not know us yet: then its answer would be lost.
            time.sleep(0.3)
        client = self._clients[name]
        assert client.wait_for_service(30), f"no service {name}"
        future = client.call_async(srvtype.Request(**fields))
        assert wait_until(future.done, within_s), f"{name} did not answer"
        return future.result()

    def change_state(self, node, label):
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        transition = Transition(id=getattr(Transition, f"TRANSITION_{label.upper()}"))
        return self.call(ChangeState, f"{node}/change_state", transition=transition).success

    def state(self, node):
        from lifecycle_msgs.srv import GetState

        return self.call(GetState, f"{node}/get_state").current_state.label


def wait_until(condition, timeout_s=60):
    limit_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > limit_s:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def eventually():
    return wait_until


@pytest.fixture
def peer(graph):
    made = Peer()
    yield made
    made.close()


SHORT = {"clusters.cluster_keyframes": 13}


def make_clusters(drive, from_s=0.0, to_s=1e9):
    """Return the clusters of what lies between two times of a drive, made in this process."""
    from seg2d3d_ros.clusters.stage import ClusterStage
    from seg2d3d_ros.config import Config, override
    from seg2d3d_ros.io.sources import clip, open_source
    from seg2d3d_ros.segmentation.stage import SegmentationStage
    from seg2d3d_ros.types import LabelImage

    # of some thirty metres, so that there are several
    source, config = open_source(drive / "bag"), override(Config(), SHORT)
    segmentation, stage = SegmentationStage(config, source.rig), ClusterStage(config, source.rig)
    made = []
    for item in clip(source, from_s, to_s - from_s):
        outputs = segmentation.push(item)
        if not isinstance(item, LabelImage):
            made += stage.push(item)
        for output in outputs:
            made += stage.push(output)
    for output in segmentation.finish():
        made += stage.push(output)
    return [*made, *stage.finish()]


@pytest.fixture(scope="session")
def clusters(drive):
    """The clusters of the drive."""
    return make_clusters(drive)


@pytest.fixture(scope="session")
def clusters_of_two_runs(drive):
    """The clusters of a node that was killed on the way, and of one that came after it."""
    first = [dataclasses.replace(c, is_last=False) for c in make_clusters(drive, 0.0, 2.3)]
    return first, make_clusters(drive, 2.8)
