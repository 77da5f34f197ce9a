"""explain, merge, split, undo and export on the result of a replay."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from seg2d3d_ros.cli.main import main
from seg2d3d_ros.cli.split import describe_split
from seg2d3d_ros.io.colmap_model import read_colmap
from seg2d3d_ros.io.result import read_result
from seg2d3d_ros.io.saved_map import open_map

MAP_FILES = ("points.ply", "observations.csv", "instances.json", "trajectory.tum", "map.png")


@pytest.fixture(scope="module")
def replayed(drive, tmp_path_factory):
    out = tmp_path_factory.mktemp("edited") / "result"
    assert main(["replay", str(drive / "bag"), "--out", str(out)]) == 0
    return out


@pytest.fixture
def result(replayed, tmp_path):
    return shutil.copytree(replayed, tmp_path / "result")


def content(folder):
    return {name: (folder / name).read_bytes() for name in MAP_FILES}


def neighbours(folder):
    """Two instances that stand side by side."""
    records = read_result(folder).instances
    at = np.array([r["centroid_map"] for r in records])
    near = np.linalg.norm(at[1:] - at[0], axis=1).argmin() + 1
    return sorted((records[0]["id"], records[near]["id"]))


def test_merge_split_and_undo_of_a_result_restore_its_files(result, capsys):
    before = content(result)
    keeper, other = neighbours(result)
    assert main(["merge", str(result), str(other), str(keeper)]) == 0
    assert f"merged {other} into {keeper}" in capsys.readouterr().out
    merged = read_result(result)
    assert other not in {r["id"] for r in merged.instances}
    assert other not in merged.observations["instance_id"]
    assert other not in merged.points["instance"]
    assert main(["split", str(result), str(keeper)]) == 0
    parts = {r["id"] for r in read_result(result).instances}
    assert max(parts) > max(r["id"] for r in merged.instances)
    assert main(["undo", str(result)]) == main(["undo", str(result)]) == 0
    assert "0 edits left" in capsys.readouterr().out
    assert content(result) == before
    kinds = [e["kind"] for e in read_result(result).events][-4:]
    assert kinds == ["merged", "split", "undone", "undone"]


def test_split_whose_part_is_too_small_to_be_shown_says_so():
    kept, shown = (SimpleNamespace(id=i, num_points=10 * i) for i in (3, 4))
    lines = describe_split(3, 4, [kept, shown])
    assert lines == ["split 4 (40 points) off from 3 (30); 2 instances"]
    first, note = describe_split(3, 4, [kept])
    assert first == "split 4 (0 points) off from 3 (30); 1 instances"
    assert note.startswith("note: 4 is not shown") and "undo" in note


def test_split_by_a_line_parts_the_points_there(result):
    record = read_result(result).instances[0]
    x, y, _ = record["centroid_map"]
    yaw = record["box"]["yaw_rad"]
    across = [x, y, x - np.sin(yaw), y + np.cos(yaw)]
    line = [f"{v:.3f}" for v in across]
    assert main(["split", str(result), str(record["id"]), "--line", *line]) == 0
    after = read_result(result)
    other = max(r["id"] for r in after.instances)
    along = (after.points["x"] - x) * np.cos(yaw) + (after.points["y"] - y) * np.sin(yaw)
    is_other, is_keeper = (after.points["instance"] == i for i in (other, record["id"]))
    # points between the landmarks go with the nearest of these
    assert (along[is_other] < 0.01).mean() > 0.95
    assert (along[is_keeper] > -0.01).mean() > 0.95
    assert is_other.sum() > 20 and is_keeper.sum() > 20
    # masks of the whole go to the part that more speaks for in their own picture, not all to one
    views = {r["id"]: r["num_views"] for r in after.instances}
    assert min(views[other], views[record["id"]]) > 0.2 * record["num_views"]


def test_explain_prints_rivals_and_decisions_and_json(result, capsys):
    keeper, other = neighbours(result)
    assert main(["explain", str(result), str(keeper)]) == 0
    text = capsys.readouterr().out
    assert f"rival {other}: " in text and f"{keeper} was created" in text
    assert main(["explain", str(result), str(keeper), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["id"] == keeper
    assert other in {r["id"] for r in record["rivals"]}
    assert keeper not in {r["id"] for r in record["rivals"]}
    assert sum(record["masks_by_class"].values()) == record["num_views"]


def test_export_colmap_model_with_pictures_can_be_read_and_aligned_again(
    result, drive, tmp_path, capsys
):
    model, recording = tmp_path / "model", str(drive / "bag")
    assert main(["export", str(result), "--colmap", str(model), "--recording", recording]) == 0
    found = read_colmap(model / "sparse" / "0", is_metric=True)
    with (result / "keyframes.csv").open() as lines:
        assert len(found.frames) == len(lines.readlines()) - 1
    assert all((model / "images" / name).is_file() for name in found.files)
    both = tmp_path / "both"
    assert (
        main(
            [
                *map(str, ["align", model / "sparse" / "0", "--metric"]),
                *map(str, ["--pictures", model / "images", "--onto", result, "--out", both]),
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    # laid onto the map it was written from, it lies where it was, in the same metres
    unit = float(re.search(r"([0-9.]+) m per unit", said).group(1))
    assert unit == pytest.approx(1.0, abs=1e-6)
    told = np.loadtxt(both / "trajectory.tum")
    known = np.loadtxt(result / "trajectory.tum")
    assert len(told) == len(known) + len(found.files) // len(found.rig.cameras)
    assert set(told[:, 0]) == set(known[:, 0])
    counts = json.loads((both / "run.json").read_text())["counts"]
    assert counts["parts"] == 1 and counts["join_residual_m"] < 0.1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{result}"], "nothing to write"),
        (["{result}", "--out", "a.geojson", "--recording", "bag"], "--recording is about"),
    ],
)
def test_export_without_a_target_is_refused(result, arguments, said, capsys):
    assert main(["export", *[a.format(result=result) for a in arguments]]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "{}", "999"], "there is no instance 999; on the map are: "),
        (["explain", "{}", "0"], "there is no instance 0; on the map are: "),
        (["merge", "{}", "1"], "two or more"),
        (["split", "{}", "1", "--line-lonlat", "8", "49", "8", "50"], "not georeferenced"),
        (["undo", "{}"], "nothing to undo"),
    ],
)
def test_edit_that_cannot_be_done_ends_with_1_and_leaves_the_result(
    result, arguments, said, capsys
):
    before = content(result)
    assert main([a.format(result) for a in arguments]) == 1
    assert said in capsys.readouterr().err
    assert content(result) == before
    assert not [p for p in result.parent.iterdir() if p != result]


def test_edit_of_a_folder_without_a_map_says_so(tmp_path, capsys):
    assert main(["undo", str(tmp_path)]) == 1
    assert "error: " in capsys.readouterr().err


def test_replay_onto_a_result_adds_to_its_map(drive, result, tmp_path):
    out = tmp_path / "both"
    arguments = ["replay", str(drive / "bag"), "--onto", str(result), "--out", str(out)]
    before = content(result)
    assert main(arguments) == 0
    assert content(result) == before
    first, both = read_result(result), read_result(out)
    assert len(both.stamps_ns) == 2 * len(first.stamps_ns)
    assert len(both.points) > len(first.points)
    with open_map(out) as saved:
        events = saved.stage.snapshot().events
    # what was decided in the first run is still known, number by number
    assert [e["sequence"] for e in first.events] == [
        str(e.sequence) for e in events[: len(first.events)]
    ]


def test_replay_onto_a_result_that_is_killed_leaves_it_and_can_be_repeated(
    drive, result, tmp_path
):
    out, before = tmp_path / "both", content(result)
    arguments = ["replay", str(drive / "bag"), "--onto", str(result), "--out", str(out)]
    run = subprocess.Popen(
        [sys.executable, "-m", "seg2d3d_ros.cli.main", *arguments], stdout=subprocess.DEVNULL
    )
    state = max(p.stat().st_mtime_ns for p in (result / "map").rglob("*.npz"))
    written = []
    while not written and run.poll() is None:
        time.sleep(0.05)
        files = [p for p in tmp_path.glob(".seg2d3d-blocks-*/*/*.npz") if p.exists()]
        written = [p for p in files if p.stat().st_mtime_ns > state]
    run.kill()
    assert run.wait() == -signal.SIGKILL
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".seg2d3d")]
    assert content(result) == before
    with open_map(result) as saved:  # every block of it is whole
        saved.stage.snapshot()
    assert main(arguments) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["both", "result"]
    assert content(result) == before
    assert len(read_result(out).stamps_ns) == 2 * len(read_result(result).stamps_ns)


@pytest.mark.parametrize("command", ["merge", "replay"])
def test_damaged_map_is_told_by_the_name_of_its_file(drive, result, command, tmp_path, capsys):
    state = result / "map" / "stage" / "state.npz"
    state.write_bytes(state.read_bytes()[:200])
    onto = [str(drive / "bag"), "--onto", str(result), "--out", str(tmp_path / "both")]
    words = onto if command == "replay" else [str(result), "1", "2"]
    assert main([command, *words]) == 1
    assert f"{state} is damaged" in capsys.readouterr().err
    state.unlink()
    assert main([command, *words]) == 1
    assert f"{state} cannot be read: No such file" in capsys.readouterr().err
