"""What is compared: a truth (folder of `simulate`, or KITTI pose file) and a result folder."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from seg2d3d_ros.config import InputsConfig
from seg2d3d_ros.errors import InputError
from seg2d3d_ros.evaluation.boxes import Box
from seg2d3d_ros.evaluation.masks import MaskKey, MaskTruth, build_mask_truth
from seg2d3d_ros.evaluation.trajectory import Poses
from seg2d3d_ros.geometry.transforms import R_BODY_OPTICAL, invert, rigid
from seg2d3d_ros.io import result as result_folder
from seg2d3d_ros.io.ply import positions_of
from seg2d3d_ros.io.tables import read_csv, read_json, read_records
from seg2d3d_ros.io.tum import read_tum
from seg2d3d_ros.types import FloatArray, IntArray, Origin

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
        footprints: (n, 2) outline of each building on the ground, by its id.
    """

    trajectory: Poses
    masks: MaskTruth | None = None
    visible: dict[tuple[int, str, int], int] | None = None
    origin: Origin | None = None
    points: Path | None = None
    footprints: dict[int, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What a run produced, as far as it is judged.

    Attributes:
        folder: The result folder.
        trajectory: Poses of base_link in map.
        assignment: Instance id by mask, 0 unassigned; every mask of every picture that was used.
        points: Positions (p, 3) of the map's points, in map.
        instances: (p,) instance of each point, 0 none.
        scores: Confidence by instance.
        boxes: Box by instance.
        is_metric: False where the run says that scale is unknown.
        origin: Of the ENU map frame, or None.
        inputs: Names in the recording, as the run was told.
    """

    folder: Path
    trajectory: Poses
    assignment: dict[MaskKey, int]
    points: FloatArray
    instances: IntArray
    scores: dict[int, float]
    boxes: dict[int, Box]
    is_metric: bool
    origin: Origin | None = None
    inputs: InputsConfig = field(default_factory=InputsConfig)


def read_truth(path: str | Path) -> Truth:
    """Read a truth folder, or a KITTI odometry pose file (`poses/04.txt`).

    Raises:
        InputError: the path is neither, or poses or rows in it cannot be used.
        ResultError: a file in the folder is missing or damaged.
    """
    path = Path(path)
    if path.is_file():
        return Truth(read_kitti_poses(path))
    missing = [n for n in ("trajectory.tum", "truth.json") if not (path / n).is_file()]
    if missing:
        raise InputError(
            f"{path} holds no {missing[0]}; give the truth folder that `seg2d3d simulate` "
            "writes or a KITTI pose file"
        )
    origin = read_json(path / "truth.json").get("origin")
    masks, visible, points = path / "masks.csv", path / "visible.csv", path / "points.ply"
    return Truth(
        _read_trajectory(path / "trajectory.tum"),
        read_mask_truth(masks) if masks.is_file() else None,
        _read_visible(visible) if visible.is_file() else None,
        None if origin is None else Origin(**origin),
        points if points.is_file() else None,
        _footprints(path / "buildings.json"),
    )


def read_result(folder: str | Path) -> Result:
    """Read the parts of a result folder that are judged.

    Raises:
        ResultError: the folder or a file in it is missing or damaged.
    """
    found = result_folder.read_result(folder)
    rows = found.observations
    keys = zip(
        rows["stamp_ns"].tolist(), rows["camera"].tolist(), rows["label"].tolist(), strict=True
    )
    return Result(
        Path(folder),
        _check(Poses(found.stamps_ns, found.T_map_base), Path(folder) / "trajectory.tum"),
        dict(zip(keys, rows["instance_id"].tolist(), strict=True)),
        positions_of(found.points),
        found.points["instance"].astype(np.int64),
        {int(i["id"]): float(i["score"] or 0.0) for i in found.instances},
        {int(i["id"]): _box(i) for i in found.instances if "box" in i},
        found.run["scale"] == "metric",
        found.origin,
        _inputs(found.run.get("config", {}).get("inputs", {})),
    )


def _inputs(said: dict[str, Any]) -> InputsConfig:
    known = {f.name for f in fields(InputsConfig)}
    return InputsConfig(**{name: value for name, value in said.items() if name in known})


def _read_trajectory(path: Path) -> Poses:
    return _check(Poses(*read_tum(path)), path)


def _check(poses: Poses, path: Path) -> Poses:
    """Return the poses in order of stamps: of two drives on one map, the older may come last."""
    if not np.isfinite(poses.T_world_body).all():
        raise InputError(f"{path} holds a pose that is not finite")
    order = np.argsort(poses.stamps_ns)
    num_twice = int((np.diff(poses.stamps_ns[order]) == 0).sum())
    if num_twice:
        raise InputError(
            f"{path}: {num_twice} stamps are there twice; each may be there once. A recording "
            "that was mapped twice (--onto, or played again) is judged by one pass over it"
        )
    return Poses(poses.stamps_ns[order], poses.T_world_body[order])


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
    columns = ("stamp_ns", "camera", "label", "building_id", "share")
    try:
        return build_mask_truth(
            (int(stamp), camera, int(label), int(building), float(share))
            for stamp, camera, label, building, share in (
                tuple(row[name] for name in columns) for row in read_csv(path, columns)
            )
        )
    except ValueError as error:
        raise InputError(f"{path} holds a row that cannot be read: {error}") from error


def _read_visible(path: Path) -> dict[tuple[int, str, int], int]:
    columns = ("stamp_ns", "camera", "building_id", "num_px")
    try:
        return {
            (int(row["stamp_ns"]), row["camera"], int(row["building_id"])): int(row["num_px"])
            for row in read_csv(path, columns)
        }
    except ValueError as error:
        raise InputError(f"{path} holds a row that cannot be read: {error}") from error


def _footprints(path: Path) -> dict[int, FloatArray]:
    if not path.is_file():
        return {}
    return {
        int(b["id"]): np.array(b["footprint_map"], dtype=np.float64)
        for b in read_records(path, "buildings", ("id", "footprint_map"))
    }


def _box(record: dict[str, Any]) -> Box:
    """Return the box of a record of `instances.json`."""
    middle, height = record["box"]["center_map"][2], record["box"]["size_m"][2]
    footprint = np.array(record["footprint_map"], dtype=np.float64)
    return Box(footprint, middle - height / 2.0, middle + height / 2.0)
