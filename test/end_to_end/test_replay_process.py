"""The two processes of a replay end together, whatever ends one of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def replay(drive, tmp_path):
    """A replay that has begun, in a process group of its own, and its process for mapping."""
    command = [sys.executable, "-m", "seg2d3d_ros.cli.main", "replay", str(drive / "bag")]
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until = time.monotonic() + 60
        while not (children := psutil.Process(process.pid).children()):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        yield process, children[0]
        process.kill()


def ended(process, mapping, folder):
    """Return exit code and message of a replay that left neither process nor files."""
    message = process.communicate(timeout=60)[1]
    psutil.wait_procs([mapping], timeout=20)
    assert not mapping.is_running()
    assert list(folder.iterdir()) == []
    return process.returncode, message


def test_replay_interrupted_at_the_keyboard_leaves_nothing(replay, tmp_path):
    process, mapping = replay
    os.killpg(process.pid, signal.SIGINT)
    code, message = ended(process, mapping, tmp_path)
    assert (code, message) == (130, "seg2d3d: interrupted: nothing was written\n")


def test_replay_whose_mapping_is_killed_is_one_and_says_why(replay, tmp_path):
    process, mapping = replay
    mapping.kill()
    code, message = ended(process, mapping, tmp_path)
    assert code == 1
    assert message.startswith("seg2d3d: error: the process of the mapping stage was killed")
