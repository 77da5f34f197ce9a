import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seg2d3d_ros.mapping import forks

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("allowed", [1, 2])
def test_in_order_gives_what_a_loop_gives(allowed):
    code = (
        "import os\n"
        "os.cpu_count = lambda: 4\n"
        "from seg2d3d_ros.mapping import forks\n"
        f"forks.allow({allowed})\n"
        "found = forks.in_order(lambda n: (n * n, os.getpid()), range(7))\n"
        "assert [a for a, _ in found] == [n * n for n in range(7)], found\n"
        "assert forks.in_order(str, []) == [] and forks.in_order(str, [3]) == ['3']\n"
        "few = forks.in_order(lambda n: os.getpid(), range(7), least=8)\n"
        "assert set(few) == {os.getpid()}\n"
        "print(len({pid for _, pid in found}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == str(allowed), done.stderr


def test_in_order_is_not_allowed_by_default():
    assert set(forks.in_order(lambda _: os.getpid(), range(50))) == {os.getpid()}


def run(work):
    """Run work, given as a line of Python about n, on four items in two processes."""
    code = (
        "import os, signal, time\n"
        "os.cpu_count = lambda: 2\n"
        "from seg2d3d_ros.mapping import forks\n"
        "forks.allow(2)\n"
        f"def work(n):\n    {work}\n"
        "try:\n"
        "    print(forks.in_order(work, range(4)))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
        "try:\n"
        "    os.waitpid(-1, os.WNOHANG)\n"
        "except ChildProcessError:\n"
        "    print('alone')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("at", [0, 3])
def test_in_order_error_is_raised_wherever_it_happened(at):
    said = run(f"assert n != {at}, 'no'; return n")
    assert said == ["AssertionError no", "alone"]


def test_in_order_killed_fork_is_told():
    said = run(f"n == 3 and os.kill(os.getpid(), {int(signal.SIGKILL)}); return n")
    assert said[0].startswith("StageError a fork of the mapping process was killed")
    assert said[1:] == ["alone"]
