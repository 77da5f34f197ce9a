import json
import sys
from pathlib import Path

import pytest

from seg2d3d_ros.cli.main import main

sys.path.insert(0, str(Path(__file__).parents[1] / "simulation" / "drawn"))  # drive_maker

import drive_maker


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    return drive_maker.write_drive(tmp_path_factory.mktemp("drive"), cameras=("02",))


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    return drive_maker.write_drawing(tmp_path_factory.mktemp("drawing") / "houses.json")


def test_truth_ortho_writes_top_view_facades_and_overlays(tmp_path, capsys, drive, drawing):
    arguments = ["--drawing", str(drawing), "--px-per-m", "5", "--overlay-every", "8"]
    assert main(["truth", "ortho", str(drive), str(tmp_path), *arguments]) == 0
    names = {p.name for p in tmp_path.iterdir()}
    facades = {"facade_left_side.png", "facade_right_side.png", "facade_end.png"}
    assert (
        names == {"top.png", "overlay_image_02_00000.jpg", "overlay_image_02_00008.jpg"} | facades
    )
    assert "% seen" in capsys.readouterr().out


def test_truth_bag_is_what_replay_and_evaluate_read(tmp_path, capsys, drive, drawing):
    out = tmp_path / "real"
    noise = ["--seed", "5", "--mask-noise", "0.5", "--min-mask-px", "30"]
    assert main(["truth", "bag", str(drive), str(drawing), str(out), *noise]) == 0
    assert f"{drive_maker.NUM_PICTURES} pictures" in capsys.readouterr().out
    options = json.loads((out / "truth" / "truth.json").read_text())["options"]
    assert options["drive"] == drive.name
    assert (options["seed"], options["mask_noise"], options["gnss"]) == (5, 0.5, True)
    assert main(["replay", str(out / "bag"), "--out", str(tmp_path / "result")]) == 0
    report = tmp_path / "report.json"
    arguments = ["--truth", str(out / "truth"), "--bag", str(out / "bag"), "--json", str(report)]
    assert main(["evaluate", str(tmp_path / "result"), *arguments]) == 0
    judged = json.loads(report.read_text())
    assert judged["masks"]["methods"]["true_owner"]["coverage"] == 1.0
    assert judged["trajectory"]["result"]["num_poses"] == drive_maker.NUM_PICTURES


def test_truth_bag_of_a_result_draws_in_its_map(tmp_path, capsys, drive, drawing):
    out, result = tmp_path / "real", tmp_path / "result"
    assert main(["truth", "bag", str(drive), str(drawing), str(out), "--min-mask-px", "30"]) == 0
    assert main(["replay", str(out / "bag"), "--out", str(result)]) == 0
    origin = json.loads((result / "run.json").read_text())["origin"]
    local = drive_maker.write_drawing(tmp_path / "local.json", origin=origin)
    again = tmp_path / "again"
    arguments = [str(out / "bag"), str(local), str(again), "--result", str(result)]
    assert main(["truth", "bag", *arguments]) == 0
    assert len((again / "truth" / "trajectory.tum").read_text().splitlines()) > 10
    capsys.readouterr()
    arguments = [str(out / "bag"), str(drawing), str(tmp_path / "no"), "--result", str(result)]
    assert main(["truth", "bag", *arguments]) == 1
    assert "draw and record with one and the same result" in capsys.readouterr().err


def test_truth_of_what_is_no_drive_exits_with_one(tmp_path, capsys, drawing):
    assert main(["truth", "bag", str(tmp_path), str(drawing), str(tmp_path / "out")]) == 1
    assert "no pictures" in capsys.readouterr().err
    assert main(["truth"]) == 1
