import importlib

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
