import dataclasses
import json

import pytest
from full_disk import no_room_beyond

from seg2d3d_ros.cli.main import main
from seg2d3d_ros.simulation import SimulationOptions

SMALL = ["--length-m", "10", "--cameras", "front", "--rate-hz", "2", "--texture-px-per-m", "8"]
SMALL += ["--width-px", "96", "--height-px", "64", "--quiet"]


def test_simulate_writes_bag_and_truth_with_the_options_given(tmp_path, capsys):
    out = tmp_path / "drive"
    arguments = ["--seed", "3", "--gnss", "--no-odometry", "--storage", "sqlite3"]
    assert main(["simulate", str(out), *SMALL, *arguments]) == 0
    assert (out / "bag" / "metadata.yaml").exists()
    options = json.loads((out / "truth" / "truth.json").read_text())["options"]
    given = {"seed": 3, "gnss": True, "odometry": False, "storage": "sqlite3", "width_px": 96}
    assert {k: options[k] for k in given} == given
    assert set(options) == {f.name for f in dataclasses.fields(SimulationOptions)}
    printed = capsys.readouterr().out
    assert str(out) in printed
    assert "10 m" in printed


def test_simulate_twice_into_one_folder_exits_with_one(tmp_path, capsys):
    assert main(["simulate", str(tmp_path), *SMALL]) == 0
    capsys.readouterr()
    assert main(["simulate", str(tmp_path), *SMALL]) == 1
    assert "exists already; choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_simulate_where_no_room_is_left_exits_with_one_and_leaves_nothing(
    tmp_path, capsys, storage
):
    with no_room_beyond(20_000):
        assert main(["simulate", str(tmp_path / "out"), *SMALL, "--storage", storage]) == 1
    assert "choose another place" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--route", "loop", "--length-m", "50"], "at least 140 m"),
        (["--route", "spiral"], "invalid choice"),
        (["--dropped", "2"], "must lie in"),
        (["--cameras", "roof"], "needed is one of front"),
        (["--distortion", "plumb_bob", "--fov-deg", "150"], "choose equidistant"),
    ],
)
def test_simulate_wrong_options_exit_with_one_and_say_what_to_do(
    tmp_path, capsys, arguments, message
):
    assert main(["simulate", str(tmp_path / "out"), *SMALL, *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_simulate_help_lists_every_option(capsys):
    assert main(["simulate", "--help"]) == 0
    printed = capsys.readouterr().out
    for field in dataclasses.fields(SimulationOptions):
        assert f"--{field.name.replace('_', '-')}" in printed
