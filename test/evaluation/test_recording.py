from pathlib import Path

import numpy as np
import pytest

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.evaluation.paper import name_as_paper
from seg2d3d_ros.evaluation.recording import collect
from seg2d3d_ros.evaluation.trajectory import associate, resample
from seg2d3d_ros.evaluation.truth import read_truth
from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.simulation import SimulationOptions, simulate
from seg2d3d_ros.types import LabelImage, Odometry


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds past houses, one camera, small pictures."""
    folder = tmp_path_factory.mktemp("drive")
    options = SimulationOptions(
        length_m=10.0,
        cameras="front_left",
        width_px=320,
        height_px=192,
        seed=3,
        min_mask_px=80,
        texture_px_per_m=12.0,
    )
    simulate(options, folder / "street")
    return folder / "street"


def test_collect_masks_are_those_of_the_truth(drive: Path) -> None:
    recording = collect(open_source(drive / "bag"))
    truth = read_truth(drive / "truth")
    assert truth.masks is not None
    assert set(recording.boxes) == set(truth.masks.keys)
    assert len(truth.masks) > 50
    # Distances are 2 % off, and 1 cm per sqrt(m) of noise on 10 m is 3 cm more.
    odometry = resample(recording.odometry, truth.trajectory.stamps_ns)
    est, gt = associate(odometry, truth.trajectory)
    ends = [np.linalg.norm(poses.positions[-1] - poses.positions[0]) for poses in (est, gt)]
    assert ends[0] / ends[1] == pytest.approx(1, abs=0.04)


def test_name_as_paper_names_masks_of_the_recording(drive: Path) -> None:
    truth = read_truth(drive / "truth").masks
    assert truth is not None
    source = open_source(drive / "bag")
    items = list(source)
    ids = name_as_paper(source.rig, items)
    assert set(ids) <= set(truth.keys)
    assert len(items) > 25
    assert min(ids.values()) == 1
    pictures_of = {i: {key[:2] for key, j in ids.items() if j == i} for i in set(ids.values())}
    assert min(len(pictures) for pictures in pictures_of.values()) >= 4


def test_check_masks_of_another_drive_or_none_at_all_is_refused() -> None:
    labels = np.zeros((4, 6), dtype=np.uint16)
    labels[1:3, 2:5] = 11001
    recording = collect([LabelImage("front", 7, labels)])
    recording.check_masks({(7, "front", 11001), (7, "front", 11002)}, is_needed=True)
    with pytest.raises(InputError, match=r"none of the 1 masks .* among the 2 of the truth"):
        recording.check_masks([(8, "front", 11001), (7, "rear", 11001)], is_needed=False)
    empty = collect([])
    empty.check_masks([(8, "front", 11001)], is_needed=False)
    with pytest.raises(InputError, match="no label pictures"):
        empty.check_masks([(8, "front", 11001)], is_needed=True)


def test_collect_boxes_pixels_and_classes_by_hand() -> None:
    labels = np.zeros((20, 30), np.uint16)
    labels[2:6, 3:13] = 11001
    labels[2, 3] = 23
    labels[10:12, 0:5] = 26004
    recording = collect([LabelImage("front", 7, labels), LabelImage("front", 8, labels * 0)])
    assert recording.boxes == {(7, "front", 11001): (3, 2, 13, 6)}
    assert recording.num_px == {(7, "front", 11001): 39}
    assert recording.pictures == {"front": [7, 8]}
    assert recording.masks_of("front", 8) == []


def test_collect_odometry_that_is_not_finite_is_counted() -> None:
    broken = np.full((4, 4), np.nan)
    recording = collect([Odometry(5, np.eye(4)), Odometry(6, broken), Odometry(7, np.eye(4))])
    assert recording.odometry.stamps_ns.tolist() == [5, 7]
    assert recording.counts == {"odometry_not_finite": 1}
