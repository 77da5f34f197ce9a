import fcntl
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seg2d3d_ros.cli import doctor
from seg2d3d_ros.cli.main import main


@pytest.fixture
def lacking(monkeypatch):
    """Let the import of some modules fail."""
    real = importlib.import_module

    def lack(*names):
        def import_module(name, *more):
            if name in names:
                raise ImportError(f"No module named '{name}'", name=name)
            return real(name, *more)

        monkeypatch.setattr(doctor.importlib, "import_module", import_module)

    return lack


def test_doctor_where_all_is_installed_measures_the_graph_and_exits_0(ros_domain, capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("MISSING")] == []
    graph = next(line for line in lines if line.split()[1] == "graph")
    assert float(graph.rsplit(" ms", 1)[0].split()[-1]) > 0


def test_doctor_without_ros_says_what_works_anyway_and_exits_1(lacking, monkeypatch, capsys):
    lacking("rclpy", "seg2d3d_ros.msg")
    monkeypatch.setattr(doctor, "_graph", lambda: "not tried")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "MISSING  ROS 2" in out and "replay works without" in out
    assert "MISSING  messages" in out and "make setup builds them" in out


def test_doctor_without_torch_is_no_fault(lacking, monkeypatch, capsys):
    lacking("torch")
    monkeypatch.setattr(doctor, "_ros", lambda: "")
    monkeypatch.setattr(doctor, "_messages", lambda: "")
    monkeypatch.setattr(doctor, "_graph", lambda: "")
    assert main(["doctor"]) == 0
    assert "without  torch" in capsys.readouterr().out


def test_doctor_missing_library_is_named(lacking, monkeypatch):
    lacking("gtsam")
    with pytest.raises(doctor.Lacking, match="gtsam"):
        doctor._libraries()


@pytest.fixture
def segment(tmp_path, monkeypatch):
    """Make a segment of 3 MiB as Fast DDS does, old enough, in the place of /dev/shm."""
    monkeypatch.setattr(doctor, "_SHM", tmp_path)

    def make(name, seconds_ago=60):
        (tmp_path / name).write_bytes(bytes(3 << 20))
        lock = tmp_path / f"{name}_el"
        lock.touch()
        os.utime(lock, times=(0, doctor.time.time() - seconds_ago))
        return lock

    return make


def test_doctor_tells_the_shared_memory_of_killed_processes_and_what_frees_it(segment):
    for name in ("fastdds_0123456789abcdef", "fastdds_fedcba9876543210", "fastdds_port7411"):
        segment(name)
    told = doctor._shared_memory()
    assert "6 MiB of 2 killed ROS 2 processes lie there: `fastdds shm clean` frees them" in told


def test_doctor_counts_no_segment_that_is_locked_or_just_being_made(segment):
    segment("fastdds_fedcba9876543210", seconds_ago=1)
    with segment("fastdds_0123456789abcdef").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "killed" not in doctor._shared_memory()
    assert "3 MiB of 1 killed" in doctor._shared_memory()


def test_doctor_little_shared_memory_is_told_with_what_lies_there(segment, monkeypatch):
    segment("fastdds_0123456789abcdef")
    monkeypatch.setattr(doctor, "_MIN_SHM_MIB", 1e12)
    with pytest.raises(doctor.Lacking, match=r"by UDP.*3 MiB of 1 killed"):
        doctor._shared_memory()


def test_segment_of_a_participant_is_left_once_its_process_was_killed(ros_domain):
    code = "import rclpy; rclpy.init(); n = rclpy.create_node('n'); print(); input()"
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe)
    try:
        process.stdout.readline()
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        own = set(re.findall(r"/dev/shm/(fastdds_[0-9a-f]{16})\n", maps))
        assert own
        for name in own:
            os.utime(f"/dev/shm/{name}_el", times=(0, 0))
        assert not own & doctor._sizes_of_left_segments(doctor._SHM).keys()
    finally:
        process.kill()
        process.communicate()
    assert own <= doctor._sizes_of_left_segments(doctor._SHM).keys()
    for name in own:
        for path in (Path("/dev/shm", name), Path("/dev/shm", f"{name}_el")):
            path.unlink()
