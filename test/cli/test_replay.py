import dataclasses
import itertools
import os
import signal
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from bag_maker import (
    COMPRESSION,
    START_NS,
    STEP_NS,
    STORAGE,
    camera_info,
    drive,
    picture,
    write_bag,
)
from full_disk import no_room_beyond
from map_maker import make_map, make_report

from seg2d3d_ros.accounts import FrameCounts
from seg2d3d_ros.cli.main import main
from seg2d3d_ros.io import disk_room, result
from seg2d3d_ros.io.result import read_result
from seg2d3d_ros.types import Dropped, Frame

SOLVER = "seg2d3d_ros.geometry.ceres_bundle"


class FakePipeline:
    """Counts what is pushed, and hands out a ready-made map."""

    last: "FakePipeline"
    on_push = on_finish = None
    is_solver_loaded = False
    num_keyframes = 2

    def __init__(self, config, rig, blocks=None, is_continued=False, is_apart=False):
        FakePipeline.last = self
        self.is_apart = is_apart
        self.is_solver_loaded = SOLVER in sys.modules
        self.config, self.rig = config, rig
        self.items, self.is_aborted = [], False

    def push(self, item):
        self.items.append(item)
        if self.on_push is not None:
            type(self).on_push(len(self.items))
        return []

    def finish(self, meanwhile=None):
        if self.on_finish is not None:
            type(self).on_finish()
        full = make_map()
        if meanwhile is not None:
            meanwhile(full)
        return full

    def abort(self):
        self.is_aborted = True

    def report(self, source, remarks=()):
        frames = {}
        for camera in self.rig.cameras:
            mine = [
                i for i in self.items if isinstance(i, Frame | Dropped) and i.camera == camera.name
            ]
            dropped = Counter(i.reason for i in mine if isinstance(i, Dropped))
            processed = sum(isinstance(i, Frame) for i in mine)
            frames[camera.name] = FrameCounts(len(mine), processed, dict(dropped))
        return make_report(
            source=source,
            remarks=(*self.rig.remarks, *remarks),
            frames=frames,
            config=dataclasses.asdict(self.config),
        )


@pytest.fixture
def pipeline(monkeypatch):
    module = types.ModuleType("seg2d3d_ros.pipeline")
    module.Pipeline = FakePipeline
    monkeypatch.setitem(sys.modules, "seg2d3d_ros.pipeline", module)
    monkeypatch.setattr(FakePipeline, "on_push", None)
    return FakePipeline


def test_replay_writes_the_result_and_prints_the_account(tmp_path, pipeline, capsys):
    messages = drive(num=6)
    at = [i for i, m in enumerate(messages) if m[0].endswith("image_raw")][3]
    bad = picture(START_NS + 3 * STEP_NS, data=np.zeros(30, np.uint8))
    messages[at] = (messages[at][0], messages[at][1], bad)
    bag = write_bag(tmp_path / "street", messages)
    assert main(["replay", str(bag), "--out", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "6 pictures from /cam/image_raw" in captured.out
    assert "6 received = 5 processed + 1 bad_size" in captured.out
    assert str(tmp_path / "out" / "map.png") in captured.out
    assert captured.err == ""
    run = read_result(tmp_path / "out").run
    assert run["source"] == "street"
    assert run["frames"]["cam"]["dropped"] == {"bad_size": 1}


def test_replay_passes_configuration_and_backend(tmp_path, pipeline):
    bag = write_bag(tmp_path / "b", drive())
    argv = ["--set", "clusters.max_features=321", "--backend", "classical"]
    assert main(["replay", str(bag), "--out", str(tmp_path / "o"), *argv]) == 0
    config = read_result(tmp_path / "o").run["config"]
    assert config["clusters"]["max_features"] == 321
    assert config["segmentation"]["backend"] == "classical"


def test_replay_clip_pushes_the_wanted_seconds_only(tmp_path, pipeline):
    bag = write_bag(tmp_path / "b", drive(num=20))
    argv = ["replay", str(bag), "--out", str(tmp_path / "o"), "--start-s", "0.5"]
    assert main([*argv, "--duration-s", "0.45"]) == 0
    stamps = [(i.stamp_ns - START_NS) // STEP_NS for i in pipeline.last.items]
    assert stamps == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("value", ["-1", "nan", "soon"])
def test_replay_impossible_seconds_are_wrong_usage(tmp_path, value, capsys):
    assert main(["replay", "x", "--out", str(tmp_path / "o"), "--start-s", value]) == 1


def test_replay_nothing_usable_is_one_with_reasons_and_writes_nothing(tmp_path, pipeline, capsys):
    messages = [("/cam/camera_info", START_NS, camera_info())]
    for i in range(3):
        bad = picture(START_NS + i * STEP_NS, encoding="vendor_secret")
        messages.append(("/cam/image_raw", START_NS + i, bad))
    bag = write_bag(tmp_path / "b", messages)
    assert main(["replay", str(bag), "--out", str(tmp_path / "o")]) == 1
    said = capsys.readouterr().err
    assert "3 unknown_encoding (the pixel format is not one we read)" in said
    assert "/cam/image_raw: pictures of encoding 'vendor_secret' cannot be read" in said
    assert "bgr8" in said and said.count("vendor_secret") == 1
    assert pipeline.last.is_aborted and not (tmp_path / "o").exists()


def noisy_bag(path, storage, compression=None):
    """Write 60 pictures that cannot be packed; return the bag and the file of its messages."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    messages = [("/cam/camera_info", START_NS, camera_info(width=320, height=240))]
    for i in range(60):
        stamp = START_NS + i * STEP_NS
        messages.append(("/cam/image_raw", stamp, picture(stamp, noise)))
    bag = write_bag(path, messages, storage, compression)
    return bag, max(bag.iterdir(), key=lambda file: file.stat().st_size)


def test_replay_recording_that_breaks_off_under_way_keeps_what_was_mapped_and_says_so(
    tmp_path, pipeline, capsys, monkeypatch
):
    bag, file = noisy_bag(tmp_path / "b", STORAGE.sqlite3)

    def cut(num):
        if num == 20:  # a disk that goes away: what the reader asks for next is not there
            os.truncate(file, file.stat().st_size // 2)

    monkeypatch.setattr(pipeline, "on_push", cut)
    code = main(["replay", str(bag), "--out", str(tmp_path / "o")])
    captured = capsys.readouterr()
    assert code == 1 and "damaged" in captured.err and "Traceback" not in captured.err
    assert "broke off" in " ".join(read_result(tmp_path / "o").run["remarks"])
    assert 20 <= sum(isinstance(i, Frame) for i in pipeline.last.items) < 60


def test_replay_broken_message_that_was_packed_alone_is_left_out(tmp_path, pipeline, capsys):
    bag, file = noisy_bag(tmp_path / "b", STORAGE.sqlite3, COMPRESSION.message)
    zstd = b"\x28\xb5\x2f\xfd"
    data = file.read_bytes()
    at = data.index(zstd, len(data) * 7 // 10)
    file.write_bytes(data[:at] + b"\xa5" * len(zstd) + data[at + len(zstd) :])
    assert main(["replay", str(bag), "--out", str(tmp_path / "o")]) == 0
    remarks = read_result(tmp_path / "o").run["remarks"]
    (remark,) = (r for r in remarks if "damaged and left out" in r)
    assert remark in capsys.readouterr().out and "lost are 1 of /cam/image_raw" in remark
    assert sum(isinstance(i, Frame) for i in pipeline.last.items) == 59


def test_replay_recording_with_damage_in_the_middle_maps_all_around_it(tmp_path, pipeline, capsys):
    bag, file = noisy_bag(tmp_path / "b", STORAGE.mcap)
    data = bytearray(file.read_bytes())
    middle, size = len(data) * 7 // 10, 2 * 240 * 320 * 3
    data[middle : middle + size] = b"\xa5" * size
    file.write_bytes(bytes(data))
    assert main(["replay", str(bag), "--out", str(tmp_path / "o")]) == 0
    captured = capsys.readouterr()
    remarks = read_result(tmp_path / "o").run["remarks"]
    (remark,) = (r for r in remarks if "damaged and left out" in r)
    assert remark in captured.out
    frames = [i for i in pipeline.last.items if isinstance(i, Frame)]
    assert 50 < len(frames) < 60
    assert frames[-1].stamp_ns == START_NS + 59 * STEP_NS
    assert f"{60 - len(frames)} of /cam/image_raw" in remark


def test_replay_disk_that_runs_full_ends_the_map_while_there_is_room_for_it(
    tmp_path, pipeline, monkeypatch, capsys
):
    written = itertools.chain([0, 0], itertools.repeat(320))
    monkeypatch.setattr(disk_room, "_size_mib", lambda _: float(next(written)))
    monkeypatch.setattr(disk_room, "_free_mib", lambda _: 180.0)
    bag = write_bag(tmp_path / "b", drive(num=400))
    assert main(["replay", str(bag), "--out", str(tmp_path / "o")]) == 1
    # of 320 MiB written four times as much is due, which 180 are not
    assert len(pipeline.last.items) == 100
    captured = capsys.readouterr()
    assert "only 180 MiB are free" in captured.err and "1280 MiB are needed" in captured.err
    assert "what came before is mapped" in captured.err
    assert "the disk ran full: only 180" in " ".join(read_result(tmp_path / "o").run["remarks"])


def test_replay_disk_without_room_is_told_before_anything_is_mapped(
    tmp_path, pipeline, monkeypatch, capsys
):
    monkeypatch.setattr(disk_room, "_free_mib", lambda _: 20.0)
    bag = write_bag(tmp_path / "b", drive())
    assert main(["replay", str(bag), "--out", str(tmp_path / "o")]) == 1
    assert "only 20 MiB are free" in capsys.readouterr().err
    assert pipeline.last.is_aborted and not pipeline.last.items
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def files_below(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["trajectory.tum", "report.html", "map/state.npz"])
def test_replay_that_finds_no_room_for_its_result_leaves_the_one_before_and_exits_with_1(
    tmp_path, pipeline, capsys, name
):
    argv = ["replay", str(write_bag(tmp_path / "b", drive())), "--out", str(tmp_path / "o")]
    assert main(argv) == 0
    before = files_below(tmp_path / "o")
    with no_room_beyond(len(before[Path(name)]) // 2):
        assert main([*argv, "--overwrite"]) == 1
    said = capsys.readouterr().err
    assert f"cannot write the result {tmp_path / 'o'}: " in said and "make room there" in said
    assert "Traceback" not in said
    assert files_below(tmp_path / "o") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "o"]
    assert main([*argv, "--overwrite"]) == 0


def test_replay_sigterm_writes_what_is_there_and_exits_with_zero(tmp_path, pipeline, monkeypatch):
    def on_push(num):
        if num == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(FakePipeline, "on_push", on_push)
    before = signal.getsignal(signal.SIGTERM)
    bag = write_bag(tmp_path / "b", drive(num=50))
    assert main(["replay", str(bag), "--out", str(tmp_path / "o")]) == 0
    assert 3 <= len(pipeline.last.items) < 50
    assert "SIGTERM" in " ".join(read_result(tmp_path / "o").run["remarks"])
    assert signal.getsignal(signal.SIGTERM) is before


def terminate(*_):
    os.kill(os.getpid(), signal.SIGTERM)


def test_replay_sigterm_before_the_first_picture_says_so_and_writes_nothing(
    tmp_path, pipeline, monkeypatch, capsys
):
    monkeypatch.setattr(disk_room.DiskRoom, "__init__", lambda *_: terminate())
    bag = write_bag(tmp_path / "b", drive())
    assert main(["replay", str(bag), "--out", str(tmp_path / "o")]) == 1
    assert "stopped by SIGTERM before a picture could be mapped" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("phase", ["refining", "writing"])
def test_replay_sigterm_after_the_last_picture_changes_nothing(
    tmp_path, pipeline, monkeypatch, phase
):
    if phase == "refining":
        monkeypatch.setattr(FakePipeline, "on_finish", staticmethod(terminate))
    else:
        monkeypatch.setattr(result, "save_map", terminate)
    bag = write_bag(tmp_path / "b", drive())
    assert main(["replay", str(bag), "--out", str(tmp_path / "o")]) == 0
    assert "SIGTERM" not in " ".join(read_result(tmp_path / "o").run["remarks"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "o"]


def test_replay_in_one_process_loads_the_solver_before_it_hears_sigterm(
    tmp_path, pipeline, monkeypatch
):
    monkeypatch.delitem(sys.modules, SOLVER, raising=False)
    argv = ["replay", str(write_bag(tmp_path / "b", drive())), "--out", str(tmp_path / "o")]
    assert main(argv) == 0 and not pipeline.last.is_solver_loaded
    assert main([*argv, "--overwrite", "--one-process"]) == 0 and pipeline.last.is_solver_loaded


def test_replay_interrupt_aborts_writes_nothing_and_exits_with_130(
    tmp_path, pipeline, monkeypatch
):
    def on_push(num):
        raise KeyboardInterrupt

    monkeypatch.setattr(FakePipeline, "on_push", on_push)
    bag = write_bag(tmp_path / "b", drive())
    assert main(["replay", str(bag), "--out", str(tmp_path / "o")]) == 130
    assert pipeline.last.is_aborted and not (tmp_path / "o").exists()


def test_replay_stage_failure_is_our_fault_and_aborts(tmp_path, pipeline, monkeypatch, capsys):
    def on_push(num):
        raise IndexError("stage")

    monkeypatch.setattr(FakePipeline, "on_push", on_push)
    bag = write_bag(tmp_path / "b", drive())
    assert main(["replay", str(bag), "--out", str(tmp_path / "o")]) == 2
    assert pipeline.last.is_aborted and "IndexError: stage" in capsys.readouterr().err


def test_replay_checks_the_target_before_it_maps(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "seg2d3d_ros.pipeline", None)  # importing it would fail
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "thesis.tex").write_text("")
    assert main(["replay", str(tmp_path / "b"), "--out", str(tmp_path / "o"), "--overwrite"]) == 1
    assert "left alone" in capsys.readouterr().err


def test_replay_result_in_the_way_needs_overwrite(tmp_path, pipeline, capsys):
    argv = ["replay", str(write_bag(tmp_path / "b", drive())), "--out", str(tmp_path / "o")]
    assert main(argv) == 0
    assert main(argv) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*argv, "--overwrite"]) == 0


@pytest.mark.parametrize("name", ["nowhere", "song.mp3"])
def test_replay_of_no_recording_is_one(tmp_path, name, capsys):
    (tmp_path / "song.mp3").write_text("la")
    assert main(["replay", str(tmp_path / name), "--out", str(tmp_path / "o")]) == 1
    assert name in capsys.readouterr().err


@pytest.mark.parametrize("name", ["test_bag_mcap", "test_bag_sqlite3"])
def test_replay_bags_all_types_ends_with_a_named_error(tmp_path, pipeline, capsys, name):
    root = os.environ.get("SEG2D3D_DATA")
    if not root:
        pytest.skip("SEG2D3D_DATA is unset")
    argv = ["replay", f"{root}/bags_all_types/{name}", "--out", str(tmp_path / "o")]
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert "2 bad_size" in captured.err and "Traceback" not in captured.err
