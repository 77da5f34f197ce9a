"""Recordings replayed with every network backend, and with one of another package that is slow."""

import csv
import json
from collections import defaultdict

import pytest
from tiny_weights import ROLES, tiny_values

from seg2d3d_ros.cli.main import main

DURATION_S = 1.0
PROMPT = ["building=house,building", "sky", "car", "bridge"]
CLASSES = {11, 23, 26, 15}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def lenient_points(monkeypatch):
    """Random weights find no mask good; let sam_auto keep them. Few points, for speed."""
    monkeypatch.setattr("seg2d3d_ros.segmentation.sam_auto.MIN_QUALITY", 0.0)
    monkeypatch.setattr("seg2d3d_ros.segmentation.sam_auto.GRID_SIDE", 6)


def replay(bag, out, backend, values):
    """Replay the beginning of a bag; return run.json and the rows of observations.csv."""
    argv = ["replay", str(bag), "--out", str(out), "--duration-s", str(DURATION_S)]
    for key, value in values.items():
        argv += ["--set", f"{key}={value}"]
    assert main([*argv, "--backend", backend]) == 0
    with (out / "observations.csv").open() as file:
        rows = list(csv.DictReader(file))
    return json.loads((out / "run.json").read_text()), rows


@pytest.mark.parametrize("name", sorted(ROLES))
def test_replay_with_network_writes_its_masks_of_every_picture(
    name, drive, weights, tmp_path, lenient_points
):
    values = tiny_values(weights, name)
    if name != "sam_auto":
        values["segmentation.prompt"] = json.dumps(PROMPT)
    run, rows = replay(drive / "bag", tmp_path / "out", name, values)
    assert (run["backend"], run["config"]["segmentation"]["model"]) == (name, f"tiny-{name}")
    assert len(run["frames"]) == 2
    for counts in run["frames"].values():
        assert counts["received"] == counts["processed"] >= 10
        assert counts["dropped"] == {}
        assert counts["segmentation"] == {"ok": counts["received"]}
    per_picture = defaultdict(list)
    for row in rows:
        per_picture[row["stamp_ns"], row["camera"]].append(int(row["label"]))
    assert len(per_picture) == sum(c["received"] for c in run["frames"].values())
    for labels in per_picture.values():
        assert len(set(labels)) == len(labels)
    allowed = {0} if name == "sam_auto" else CLASSES
    assert {int(row["class_id"]) for row in rows} <= allowed
    assert "out_of_memory" not in run["counts"]


def test_replay_with_a_slow_backend_of_another_package_waits_and_drops_nothing(
    drive, slow_backend, monkeypatch, tmp_path
):
    monkeypatch.setattr("seg2d3d_ros.pipeline._QUEUE_ITEMS", 4)  # it is soon full
    run, rows = replay(drive / "bag", tmp_path / "out", "slow", {})
    assert run["backend"] == "slow"
    for counts in run["frames"].values():
        assert counts["received"] == counts["processed"] == counts["segmentation"]["ok"] >= 10
        assert counts["dropped"] == {}
    assert len(rows) == sum(counts["received"] for counts in run["frames"].values())
    assert slow_backend() == ["made", "activate (224, 384) (224, 384)", "close"]


def test_replay_whose_backend_cannot_go_on_ends_with_its_message(
    drive, slow_backend, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("SLOW_BACKEND_S", "0")
    monkeypatch.setenv("SLOW_BACKEND_PICTURES", "3")
    argv = ["replay", str(drive / "bag"), "--out", str(tmp_path / "out"), "--backend", "slow"]
    assert main(argv) == 1
    assert "error: out of memory, and the ladder says to stop" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert slow_backend()[-1] == "close"
