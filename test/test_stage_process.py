import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from small_stage import SmallStage

from seg2d3d_ros.errors import ResultError, StageError
from seg2d3d_ros.stage_process import StageProcess

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def stage():
    process = StageProcess(partial(SmallStage, 3), "small things")
    yield process
    process.end()


def is_gone(pid, wait_s=10.0):
    """Return whether a process ends in time."""
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_stage_process_answers_calls_and_attributes_from_elsewhere(stage):
    assert stage.call("total") == 3
    assert [stage.call("add", n) for n in (4, 5)] == [7, 12]
    assert stage.call("total") == 12
    assert stage.call("pid") != os.getpid()


def test_stage_process_looks_for_garbage_as_often_as_its_owner():
    usual = gc.get_threshold()
    gc.set_threshold(12_345)
    try:
        stage = StageProcess(partial(SmallStage, 3), "small things")
    finally:
        gc.set_threshold(*usual)
    try:
        assert stage.call("garbage_threshold")[0] == 12_345
    finally:
        stage.end()


def test_stage_process_asked_works_while_its_owner_does_something_else(stage):
    stage.ask("sleep", 0.2)
    time.sleep(0.2)
    assert stage.hear() is None
    stage.ask("refuse")
    with pytest.raises(ResultError, match="no"):
        stage.hear()
    assert stage.call("total") == 3


def test_stage_process_error_is_raised_here_and_the_stage_goes_on(stage):
    with pytest.raises(ResultError) as raised:
        stage.call("refuse")
    assert str(raised.value) == "no"
    assert "small_stage.py" in raised.value.__notes__[0]
    assert stage.call("add", 1) == 4


def test_stage_process_making_that_fails_raises_and_ends_the_process():
    process = StageProcess(partial(SmallStage, -1), "small things")
    with pytest.raises(ResultError, match="nothing to go on from"):
        process.wait_until_made()
    assert process._process.returncode is not None


def test_stage_process_logs_of_the_wanted_level_come_in_order(stage, caplog):
    with caplog.at_level(logging.INFO, "seg2d3d_ros"):
        loud = StageProcess(SmallStage, "small things")
    loud.call("add", 2)
    with pytest.raises(ResultError):
        loud.call("refuse")
    loud.end()
    assert [r.getMessage() for r in caplog.records] == ["added 2", "refused"]
    assert {r.name for r in caplog.records} == {"seg2d3d_ros.small_stage"}
    caplog.clear()
    with caplog.at_level(logging.WARNING, "seg2d3d_ros"):
        quiet = StageProcess(SmallStage, "small things")
    quiet.call("add", 2)
    quiet.end()
    assert caplog.records == []


def test_stage_process_memory_is_its_own_and_holds_the_peak(stage):
    stage.call("add", 1)
    before = stage.peak_memory_mib
    assert 2 < before < 80  # that of pytest is larger
    stage.call("take", 150)
    stage.call("add", 1)
    assert before + 140 < stage.peak_memory_mib < before + 200


def test_peak_memory_is_not_that_of_a_large_process_which_started_this_one():
    child = "from seg2d3d_ros.stage_process import peak_memory_mib; print(peak_memory_mib())"
    large = (
        "import subprocess, sys; held = bytearray(300 << 20);"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", large], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert 2 < float(done.stdout) < 80, done.stderr


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (("die", "SIGKILL"), StageError, "out of memory"),
        (("die", "SIGSEGV"), RuntimeError, "SIGSEGV"),
        (("exit", 7), RuntimeError, "exit code 7"),
        (("hide",), RuntimeError, "exit code 1"),
    ],
    ids=str,
)
def test_stage_process_that_dies_is_told_with_its_cause(stage, call, kind, words):
    with pytest.raises(kind, match=words):
        stage.call(*call)
    with pytest.raises(kind, match=words):  # and again, instead of waiting
        stage.call("add", 1)


def test_stage_process_end_does_not_wait_for_a_call(stage):
    stage.wait_until_made()
    errors = []

    def sleep():
        try:
            stage.call("sleep", 60)
        except StageError as error:
            errors.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    time.sleep(0.2)
    start = time.monotonic()
    stage.end()
    thread.join()
    assert time.monotonic() - start < 10
    assert len(errors) == 1


def test_stage_process_end_takes_its_forks_along(stage):
    pid = stage.call("fork")
    assert psutil.Process(pid).is_running()
    stage.end()
    assert is_gone(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stage_process_leaves_signals_to_its_owner(stage, number):
    pid = stage.call("pid")
    os.kill(pid, number)
    assert stage.call("add", 1) == 4


def owner_of_a_stage(*lines):
    """Start a Python of its own that makes a stage and goes on with some lines."""
    made = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}",
        "from small_stage import SmallStage",
        "from seg2d3d_ros.stage_process import StageProcess",
        "stage = StageProcess(SmallStage, 'small things')",
    )
    command = [sys.executable, "-c", "\n".join([*made, *lines])]
    root = Path(__file__).parents[1]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


def test_stage_process_goes_when_its_owner_is_killed():
    with owner_of_a_stage(
        "print(stage.call('pid'), flush=True)",
        "stage.call('sleep', 0.5)",
        "import time; time.sleep(60)",
    ) as owner:
        pid = int(owner.stdout.readline())
        owner.kill()
    assert is_gone(pid)


def test_stage_process_goes_with_its_forks_when_its_owner_is_killed_within_a_long_call():
    with owner_of_a_stage(
        "print(stage.call('pid'), stage.call('fork'), flush=True)",
        "stage.call('sleep', 60)",
    ) as owner:
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        time.sleep(0.2)
        owner.kill()
    assert all(is_gone(pid) for pid in pids)


def test_stage_process_is_light_to_start():
    code = "import seg2d3d_ros.stage_process, sys; print('numpy' in sys.modules)"
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "False", done.stderr
