import argparse
import json
from pathlib import Path

import bag_maker
import numpy as np
import pytest

from seg2d3d_ros.cli import evaluate
from seg2d3d_ros.errors import ConfigError, InputError
from seg2d3d_ros.io import tables
from seg2d3d_ros.io.ply import CLOUD_DTYPE, write_ply
from seg2d3d_ros.io.result import FORMAT, VERSION
from seg2d3d_ros.io.tum import write_tum

STAMPS_NS = 1_700_000_000_000_000_000 + 100_000_000 * np.arange(40)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Past two houses, the second under two ids."""
    T = np.tile(np.eye(4), (40, 1, 1))
    T[:, 0, 3] = np.arange(40)
    T[:, 1, 3] = 0.01 * np.arange(40) ** 2
    result, truth = tmp_path / "result", tmp_path / "truth"
    for folder in (result, truth):
        folder.mkdir()
        write_tum(folder / "trajectory.tum", STAMPS_NS, T)
    run = {"format": FORMAT, "version": VERSION, "scale": "metric", "origin": None}
    tables.write_json(result / "run.json", run)
    tables.write_json(result / "instances.json", {"instances": []})
    tables.write_json(truth / "truth.json", {"version": 1, "origin": None})
    write_ply(result / "points.ply", np.zeros(0, CLOUD_DTYPE))
    tables.write_csv(result / "keyframes.csv", tables.KEYFRAME_COLUMNS, [])
    tables.write_csv(result / "events.csv", tables.EVENT_COLUMNS, [])
    stamps = STAMPS_NS.tolist()
    rows = [(t, "front", 11001, 1, 11, 1.0, 9) for t in stamps]
    rows += [(t, "front", 11002, 2 if i < 30 else 3, 11, 1.0, 9) for i, t in enumerate(stamps)]
    tables.write_csv(result / "observations.csv", tables.OBSERVATION_COLUMNS, rows)
    masks = [(t, "front", 11000 + b, b, 1.0) for t in stamps for b in (1, 2)]
    columns = ("stamp_ns", "camera", "label", "building_id", "share")
    tables.write_csv(truth / "masks.csv", columns, masks)
    return result, truth


def call(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    evaluate.configure(parser)
    return evaluate.run(parser.parse_args([str(a) for a in arguments]))


def test_run_prints_tables_and_writes_json_and_figure(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = tmp_path / "timeline.png"
    out = tmp_path / "numbers.json"
    assert call(folders[0], "--truth", folders[1], "--json", out, "--figure", figure) == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if "0.875" in line)
    assert row.split()[0] == "result"
    assert "straight line" in printed
    methods = json.loads(out.read_text())["masks"]["methods"]
    assert methods["result"]["coverage"] == pytest.approx((1 + 0.75) / 2)
    image = read_image(figure)
    # Three ids and no unassigned mask: three colours fill areas, all else is white, grey or black.
    is_colour = np.ptp(image.astype(int), axis=2) > 40
    _, counts = np.unique(image[is_colour], axis=0, return_counts=True)
    assert int((counts > 1000).sum()) == 3


def read_image(path: Path) -> np.ndarray:
    import cv2

    image = cv2.imread(str(path))
    assert image is not None
    return image


def test_run_with_the_bag_of_another_drive_says_so(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    labels = np.full((bag_maker.HEIGHT, bag_maker.WIDTH), 11001, np.uint16)
    messages = bag_maker.drive()
    for i in range(5):
        stamp = bag_maker.START_NS + i * bag_maker.STEP_NS
        messages.append(("/cam/labels", stamp, bag_maker.picture(stamp, labels, "16UC1")))
    bag = bag_maker.write_bag(tmp_path / "bag", messages)  # its camera is called `cam`
    with pytest.raises(InputError, match="of the same drive"):
        call(folders[0], "--truth", folders[1], "--bag", bag, "--baselines", "iou")


def test_run_baselines_without_bag_says_so(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="--bag"):
        call(folders[0], "--truth", folders[1], "--baselines", "iou")


def test_run_bytetrack_without_its_python_says_how_to_get_it(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="pip install"):
        call(folders[0], "--truth", folders[1], "--bag", "x", "--baselines", "bytetrack")


def test_run_figure_of_truth_without_masks_is_an_input_error(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (folders[1] / "masks.csv").unlink()
    with pytest.raises(InputError, match=r"masks\.csv"):
        call(folders[0], "--truth", folders[1], "--figure", tmp_path / "f.png")


def test_run_with_visible_buildings_shows_the_coverage_of_the_paper(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (folders[1] / "masks.csv").read_text().split()[1:]
    seen = [row.split(",") for row in rows]
    visible = sorted({(stamp, camera, building, 500) for stamp, camera, _, building, _ in seen})
    columns = ("stamp_ns", "camera", "building_id", "num_px")
    tables.write_csv(folders[1] / "visible.csv", columns, visible)
    assert call(folders[0], "--truth", folders[1]) == 0
    printed = capsys.readouterr().out.splitlines()
    header = next(line for line in printed if "legacy" in line).split()
    row = next(line for line in printed if "0.875" in line).split()
    # one id holds all four pictures of a building, two share the other 3 to 1: only links of at
    # least 0.3 count, (1 + 0.75) / 2, and the adjusted one is 1 by construction
    assert header[-2:] == ["legacy", "adjusted"]
    assert row[-2:] == ["0.875", "1.000"]


@pytest.mark.parametrize(
    ("flag", "name", "said"),
    [("--json", ".", "is a folder"), ("--figure", "x.foo", "one of .png, .svg, .pdf")],
)
def test_run_output_that_cannot_be_is_refused_before_anything_is_judged(
    folders: tuple[Path, Path], tmp_path: Path, capsys, flag: str, name: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        call(folders[0], "--truth", folders[1], flag, tmp_path / name)
    assert capsys.readouterr().out == ""


def test_run_reads_the_recording_by_the_names_that_the_run_was_told(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = ("chassis", "cam_optical", (1.0, 0.0, 1.0), bag_maker.OPTICAL_QUAT_XYZW)
    tf = ("/tf_static", bag_maker.START_NS, bag_maker.transforms_message(link))
    bag_maker.write_bag(tmp_path / "bag", [tf, *bag_maker.drive(tf=False)])
    arguments = (folders[0], "--truth", folders[1], "--bag", tmp_path / "bag")
    with pytest.raises(InputError, match="'base_link'"):
        call(*arguments)
    run = json.loads((folders[0] / "run.json").read_text())
    run["config"] = {"inputs": {"base_frame": "chassis", "of_a_later_version": 1}}
    tables.write_json(folders[0] / "run.json", run)
    assert call(*arguments) == 0
