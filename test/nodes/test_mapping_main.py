import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")

MAPPING_TOLD_TO_STOP = """
import os, signal, sys, time
from seg2d3d_ros.nodes import mapping_node

def run(make, args):
    heard = []
    signal.signal(signal.SIGTERM, lambda *_: heard.append(True))
    import seg2d3d_ros.geometry.ceres_bundle  # as the first long drive does that is refined
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
    return 0 if heard else 3

mapping_node.run = run
sys.exit(mapping_node.main())
"""


def test_mapping_node_hears_sigterm_also_after_the_solver_was_loaded():
    done = subprocess.run([sys.executable, "-c", MAPPING_TOLD_TO_STOP], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-500:]
