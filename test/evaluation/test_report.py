import json
from pathlib import Path

import numpy as np
import pytest

from seg2d3d_ros.errors import InputError, ResultError
from seg2d3d_ros.evaluation import evaluate
from seg2d3d_ros.evaluation.truth import read_kitti_poses, read_truth
from seg2d3d_ros.io import tables
from seg2d3d_ros.io.ply import CLOUD_DTYPE, write_ply
from seg2d3d_ros.io.result import FORMAT, VERSION

START_NS = 1_700_000_000_123_456_789


def write_tum(path: Path, num: int) -> None:
    lines = [
        f"{(START_NS + i * 100_000_000) // 10**9}.{(START_NS + i * 100_000_000) % 10**9:09d}"
        f" {i} {0.01 * i * i} 0 0 0 0 1"
        for i in range(num)
    ]
    path.write_text("\n".join(lines) + "\n")


def stamp(i: int) -> int:
    return START_NS + i * 100_000_000


def wall(instance: int) -> np.ndarray:
    """A wall of 8 x 4 m in a lattice of 0.2 m."""
    vertices = np.zeros(41 * 21, dtype=CLOUD_DTYPE)
    vertices["x"] = 0.2 * np.repeat(np.arange(41), 21)
    vertices["y"] = 5.0
    vertices["z"] = 0.2 * np.tile(np.arange(21), 41)
    vertices["instance"] = instance
    return vertices


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A drive of 30 stamps past two houses; the run used every second picture."""
    result, truth = tmp_path / "result", tmp_path / "truth"
    result.mkdir()
    truth.mkdir()
    write_tum(truth / "trajectory.tum", 30)
    write_tum(result / "trajectory.tum", 30)
    (truth / "truth.json").write_text(json.dumps({"version": 1, "origin": None}))
    run = {"format": FORMAT, "version": VERSION, "scale": "metric", "origin": None}
    (result / "run.json").write_text(json.dumps(run))
    (result / "instances.json").write_text(json.dumps({"instances": [{"id": 9, "score": 0.8}]}))
    (result / "keyframes.csv").write_text(",".join(tables.KEYFRAME_COLUMNS) + "\n")
    (result / "events.csv").write_text(",".join(tables.EVENT_COLUMNS) + "\n")
    write_ply(result / "points.ply", wall(9))
    write_ply(truth / "points.ply", wall(2))
    masks = ["stamp_ns,camera,label,building_id,share"]
    seen = ["stamp_ns,camera,label,instance_id,class_id,score,num_landmarks"]
    for i in range(30):
        masks.append(f"{stamp(i)},front,11001,1,1.0")
        masks.append(f"{stamp(i)},front,11002,2,{0.6 if i % 10 == 0 else 1.0}")
        if i % 10 == 0:
            masks.append(f"{stamp(i)},front,11002,1,0.4")
        if i % 2 == 0:
            seen.append(f"{stamp(i)},front,11001,{5 if i < 20 else 6},11,1.0,9")
            seen.append(f"{stamp(i)},front,11002,9,11,1.0,9")
    (truth / "masks.csv").write_text("\n".join(masks) + "\n")
    (result / "observations.csv").write_text("\n".join(seen) + "\n")
    return result, truth


def test_evaluate_folder_by_hand(folders: tuple[Path, Path]) -> None:
    report = evaluate(*folders)
    assert report["trajectory"]["result"]["ate_none_m"] == pytest.approx(0, abs=1e-9)
    assert report["trajectory"]["straight_line"]["ate_se3_m"] > 0.1
    assert report["masks"]["frames"]["used_share"] == pytest.approx(0.5)
    assert report["masks"]["frames"]["is_enough"]
    score = report["masks"]["methods"]["result"]
    assert score["num_masks"] == 30
    assert score["coverage"] == pytest.approx((10 / 15 + 1) / 2)
    assert score["id_switches"] == 1
    assert score["fragments"] == pytest.approx(1.5)
    # Three of the used pictures show a mask over both houses: building 1 has 18 masks then.
    ceiling = report["masks"]["methods"]["true_owner"]
    assert ceiling["coverage"] == 1
    assert ceiling["all_owners"]["coverage"] == pytest.approx((15 / 18 + 1) / 2)
    assert report["surface"]["result"]["ap50"] == pytest.approx(1)
    assert report["surface"]["near"]["num_vertices"] == 41 * 21
    assert report["surface"]["near"]["ap50"] == pytest.approx(1)
    assert report["surface"]["map_points"]["ap50"] == pytest.approx(1)
    assert report["surface"]["sim3_reached"]["num_vertices"] == 41 * 21
    assert json.loads(json.dumps(report)) == report


def test_evaluate_house_that_was_only_seen_from_afar_is_no_part_of_near(
    folders: tuple[Path, Path],
) -> None:
    result, truth = folders
    away = wall(3)
    away["y"] += 100.0
    write_ply(truth / "points.ply", np.concatenate([wall(2), away]))
    surface = evaluate(result, truth)["surface"]
    assert surface["result"]["num_gt"] == 2
    assert surface["result"]["rc50"] == pytest.approx(0.5)
    assert surface["near"]["num_gt"] == 1
    assert surface["near"]["rc50"] == pytest.approx(1)


def test_evaluate_mask_missing_from_observations_counts_against_the_run(
    folders: tuple[Path, Path],
) -> None:
    result, truth = folders
    path = result / "observations.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    report = evaluate(result, truth)
    assert report["masks"]["frames"]["num_masks_missing"] == 1
    score = report["masks"]["methods"]["result"]
    assert score["coverage"] == pytest.approx((10 / 15 + 14 / 15) / 2)


def test_evaluate_other_recording_is_an_input_error(folders: tuple[Path, Path]) -> None:
    result, truth = folders
    (truth / "trajectory.tum").write_text("1 0 0 0 0 0 0 1\n2 1 0 0 0 0 0 1\n")
    with pytest.raises(InputError, match="same recording"):
        evaluate(result, truth)


def test_evaluate_folder_without_run_names_what_is_missing(folders: tuple[Path, Path]) -> None:
    result, truth = folders
    (result / "run.json").unlink()
    with pytest.raises(ResultError, match="run.json"):
        evaluate(result, truth)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [("2 0 0 nan 0 0 0 1", "not finite"), ("1 0 0 0 0 0 0 1", "1 stamps are there twice")],
)
def test_read_truth_unusable_pose_is_an_input_error(
    folders: tuple[Path, Path], line: str, complaint: str
) -> None:
    (folders[1] / "trajectory.tum").write_text("1 0 0 0 0 0 0 1\n" + line + "\n")
    with pytest.raises(InputError, match=complaint):
        read_truth(folders[1])


def test_read_truth_of_an_older_drive_that_came_last_is_put_in_order(
    folders: tuple[Path, Path],
) -> None:
    text = "5 5 0 0 0 0 0 1\n6 6 0 0 0 0 0 1\n1 1 0 0 0 0 0 1\n2 2 0 0 0 0 0 1\n"
    (folders[1] / "trajectory.tum").write_text(text)
    found = read_truth(folders[1]).trajectory
    assert (found.stamps_ns // 10**9).tolist() == [1, 2, 5, 6]
    assert found.positions[:, 0].tolist() == [1, 2, 5, 6]


def test_read_truth_damaged_mask_row_is_an_input_error(folders: tuple[Path, Path]) -> None:
    with (folders[1] / "masks.csv").open("a") as file:
        file.write("12,front,eleven,1,1.0\n")
    with pytest.raises(InputError, match="masks.csv"):
        read_truth(folders[1])


def test_read_truth_empty_folder_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trajectory\.tum"):
        read_truth(tmp_path)


@pytest.mark.parametrize("text", ["[]", '{"buildings": [{"id": 2}]}'])
def test_read_truth_buildings_of_another_form_names_the_file(
    folders: tuple[Path, Path], text: str
) -> None:
    (folders[1] / "buildings.json").write_text(text)
    with pytest.raises(ResultError, match=r"buildings\.json"):
        read_truth(folders[1])


def test_read_truth_without_its_head_says_what_is_missing(folders: tuple[Path, Path]) -> None:
    (folders[1] / "truth.json").unlink()
    with pytest.raises(InputError, match=r"holds no truth\.json"):
        read_truth(folders[1])


def test_read_kitti_poses_forward_motion_is_body_x_and_stamps_are_tenths(tmp_path: Path) -> None:
    poses = tmp_path / "poses"
    poses.mkdir()
    # Optical z is forward: 1 m a picture; no newline at the end, as KITTI cuts may have it.
    (poses / "99.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0 -0.5 0 1 0 -0.25 0 0 1 1")
    gt = read_kitti_poses(poses / "99.txt")
    assert gt.stamps_ns.tolist() == [0, 100_000_000]
    assert gt.positions[1] == pytest.approx([1.0, 0.5, 0.25])
    times = tmp_path / "sequences" / "99"
    times.mkdir(parents=True)
    (times / "times.txt").write_text("0\n1.041284e-01\n2.082536e-01\n")
    assert read_kitti_poses(poses / "99.txt").stamps_ns.tolist() == [0, 104_128_400]


def test_evaluate_boxes_where_truth_has_footprints(folders: tuple[Path, Path]) -> None:
    result, truth = folders
    assert "boxes" not in evaluate(result, truth)
    corners = [[0, 5], [8, 5], [8, 11], [0, 11]]
    building = {"id": 2, "footprint_map": corners, "height_m": 4.0, "base_m": 0.0}
    (truth / "buildings.json").write_text(json.dumps({"version": 1, "buildings": [building]}))
    assert "boxes" not in evaluate(result, truth)
    # the wall that was seen is 8 m long and has no depth
    found = {
        "id": 9,
        "score": 0.8,
        "footprint_map": [[0, 5], [8.5, 5], [8.5, 5], [0, 5]],
        "box": {"center_map": [4.25, 5, 2.1], "size_m": [8.5, 0, 4.2], "yaw_rad": 0.0},
    }
    (result / "instances.json").write_text(json.dumps({"instances": [found]}))
    score = evaluate(result, truth)["boxes"]
    assert score["num"] == 1
    assert score["corner_error_m"] == pytest.approx(0.25, abs=0.05)
    assert score["height_error_m"] == pytest.approx(0.1, abs=0.03)
    assert score["yaw_error_deg"] == pytest.approx(0.0, abs=1e-6)
    assert score["within_1m"] == 1.0
