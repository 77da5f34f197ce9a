"""What is compared: a truth (folder of `simulate`, or KITTI pose file) and a result folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np

from seg2d3d_ros.errors import InputError, ResultError
from seg2d3d_ros.evaluation.masks import MaskKey, MaskTruth, build_mask_truth
from seg2d3d_ros.evaluation.trajectory import Poses
from seg2d3d_ros.geometry.transforms import R_BODY_OPTICAL, from_quaternion, invert, rigid
from seg2d3d_ros.types import Origin

KITTI_PERIOD_S = Decimal("0.1")


@dataclass(frozen=True)
class Truth:
    """What is known of a drive; parts that are unknown are None or empty.

    Attributes:
        trajectory: True poses of base_link.
        masks: True owners of the masks that were published, or None.
        visible: Pixels of each building truly visible, by (stamp_ns, camera, building_id).
        origin: Of the ENU frame, or None.
        points: Path of the surface samples, or None.
    """

    trajectory: Poses
    masks: MaskTruth | None = None
    visible: dict[tuple[int, str, int], int] | None = None
    origin: Origin | None = None
    points: Path | None = None


@dataclass(frozen=True)
class Result:
    """What a run produced, as far as it is judged.

    Attributes:
        folder: The result folder.
        trajectory: Poses of base_link in map.
        assignment: Instance id by mask, 0 unassigned; every mask of every picture that was used.
        is_metric: False where the run says that scale is unknown.
        origin: Of the ENU map frame, or None.
    """

    folder: Path
    trajectory: Poses
    assignment: dict[MaskKey, int]
    is_metric: bool
    origin: Origin | None = None


def read_truth(path: str | Path) -> Truth:
    """Read a truth folder, or a KITTI odometry pose file (`poses/04.txt`).

    Raises:
        InputError: the path is neither, or a file in it is damaged.
    """
    path = Path(path)
    if path.is_file():
        return Truth(read_kitti_poses(path))
    if not (path / "trajectory.tum").is_file():
        raise InputError(
            f"{path} holds no trajectory.tum; give the truth folder that `seg2d3d simulate` "
            "writes or a KITTI pose file"
        )
    masks, visible, points = path / "masks.csv", path / "visible.csv", path / "points.ply"
    return Truth(
        read_tum(path / "trajectory.tum"),
        read_mask_truth(masks) if masks.is_file() else None,
        _read_visible(visible) if visible.is_file() else None,
        _read_origin(path / "truth.json"),
        points if points.is_file() else None,
    )


def read_result(path: str | Path) -> Result:
    """Read the parts of a result folder that are judged.

    Raises:
        ResultError: the folder or a file in it is missing or damaged.
    """
    path = Path(path)
    needed = ("trajectory.tum", "observations.csv", "run.json")
    missing = [name for name in needed if not (path / name).is_file()]
    if missing:
        raise ResultError(
            f"{path} lacks {', '.join(missing)}; give the folder that `seg2d3d replay --out` wrote"
        )
    try:
        run = json.loads((path / "run.json").read_text())
    except ValueError as error:
        raise ResultError(f"{path / 'run.json'} is damaged: {error}") from error
    return Result(
        path,
        read_tum(path / "trajectory.tum"),
        read_assignment(path / "observations.csv"),
        run.get("scale", "metric") == "metric",
        _read_origin(path / "run.json"),
    )


def read_tum(path: Path) -> Poses:
    """Read `stamp_s x y z qx qy qz qw` lines; stamps keep every nanosecond.

    Raises:
        InputError: a line does not hold eight finite numbers, or stamps do not increase.
    """
    stamps, poses = [], []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split()
        try:
            values = np.array([float(w) for w in words[1:]])
            if len(words) != 8 or not np.isfinite(values).all():
                raise ValueError("eight finite numbers are needed")
            stamps.append(int(Decimal(words[0]).scaleb(9).to_integral_value()))
            poses.append(from_quaternion(values[3:], values[:3]))
        except (ValueError, ArithmeticError) as error:
            raise InputError(f"{path} line {number} is '{line.strip()}': {error}") from error
    stamps_ns = np.array(stamps, dtype=np.int64)
    if np.any(np.diff(stamps_ns) <= 0):
        raise InputError(f"{path}: stamps must increase from line to line; sort the file by stamp")
    return Poses(stamps_ns, np.array(poses).reshape(-1, 4, 4))


def read_kitti_poses(path: Path) -> Poses:
    """Read KITTI odometry poses (camera 0, optical) as base_link poses in REP 103 axes, metres.

    Line i belongs to picture i, whose stamp is in `../sequences/NAME/times.txt`, else i * 0.1 s.
    The last line needs no newline, and there may be fewer lines than pictures.

    Raises:
        InputError: a line does not hold twelve finite numbers, or stamps are missing.
    """
    try:
        rows = np.loadtxt(path, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not a KITTI pose file (12 numbers a line): {error}"
        ) from error
    if rows.shape[1] != 12 or not np.isfinite(rows).all():
        raise InputError(f"{path} has {rows.shape[1]} numbers a line; 12 finite ones are needed")
    T_world_cam = np.tile(np.eye(4), (len(rows), 1, 1))
    T_world_cam[:, :3, :] = rows.reshape(-1, 3, 4)
    T_base_cam = rigid(R_BODY_OPTICAL, np.zeros(3))
    times = path.parent.parent / "sequences" / path.stem / "times.txt"
    if times.is_file():
        seconds = [Decimal(word) for word in times.read_text().split()]
    else:
        seconds = [KITTI_PERIOD_S * i for i in range(len(rows))]
    if len(seconds) < len(rows):
        raise InputError(f"{path} has {len(rows)} poses, {times} only {len(seconds)} stamps")
    stamps = [int(s.scaleb(9).to_integral_value()) for s in seconds[: len(rows)]]
    return Poses(np.array(stamps, dtype=np.int64), T_base_cam @ T_world_cam @ invert(T_base_cam))


def read_mask_truth(path: Path) -> MaskTruth:
    """Read `masks.csv`: rows of stamp_ns, camera, label, building_id, share."""
    return build_mask_truth(
        (
            int(row["stamp_ns"]),
            row["camera"],
            int(row["label"]),
            int(row["building_id"]),
            float(row["share"]),
        )
        for row in _read_csv(path, ("stamp_ns", "camera", "label", "building_id", "share"))
    )


def read_assignment(path: Path) -> dict[MaskKey, int]:
    """Read `observations.csv`: instance id by mask, 0 unassigned."""
    columns = ("stamp_ns", "camera", "label", "instance_id")
    return {
        (int(row["stamp_ns"]), row["camera"], int(row["label"])): int(row["instance_id"])
        for row in _read_csv(path, columns)
    }


def _read_visible(path: Path) -> dict[tuple[int, str, int], int]:
    columns = ("stamp_ns", "camera", "building_id", "num_px")
    return {
        (int(row["stamp_ns"]), row["camera"], int(row["building_id"])): int(row["num_px"])
        for row in _read_csv(path, columns)
    }


def _read_csv(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path} lacks the column {missing[0]}; it has {reader.fieldnames}")
        yield from reader


def _read_origin(path: Path) -> Origin | None:
    if not path.is_file():
        return None
    origin = json.loads(path.read_text()).get("origin")
    if origin is None:
        return None
    return Origin(origin["lat_deg"], origin["lon_deg"], origin["alt_m"])
