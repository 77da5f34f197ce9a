"""The tables of the result folder: keyframes, observations, events, instances."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.geometry.geodesy import enu_to_geodetic
from seg2d3d_ros.io.tum import pose_columns
from seg2d3d_ros.types import Instance, InstanceEvent, MapUpdate, MaskAssignment, Trajectory

INSTANCES_VERSION = 1

OBSERVATION_COLUMNS = (
    "stamp_ns",
    "camera",
    "label",
    "instance_id",
    "class_id",
    "score",
    "num_landmarks",
)
KEYFRAME_COLUMNS = ("stamp_ns", "x_m", "y_m", "z_m", "qx", "qy", "qz", "qw")
EVENT_COLUMNS = ("sequence", "stamp_ns", "kind", "instance_id", "other_id", "evidence")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows under a header, with plain line ends."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a table that has at least these columns.

    Raises:
        ResultError: the file is missing or lacks a column, or a row is not whole.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultError(f"cannot read {path}: {error}") from error
    missing = [c for c in columns if c not in (reader.fieldnames or ())]
    if missing:
        raise ResultError(f"{path} lacks the columns {', '.join(missing)}")
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise ResultError(f"{path} is cut off or damaged: line {line} is no whole row")
    return rows


def keyframe_rows(trajectory: Trajectory) -> list[list[object]]:
    """Return one row per keyframe."""
    stamps = trajectory.stamps_ns[trajectory.is_keyframe].tolist()
    poses = pose_columns(trajectory.T_map_base[trajectory.is_keyframe]).tolist()
    return [[t, *(f"{v:.9f}" for v in p)] for t, p in zip(stamps, poses, strict=True)]


def class_of(assignment: MaskAssignment, backend: str) -> int:
    """Return the class of a mask: what mapping says, else what the label means in the backend."""
    if assignment.class_id >= 0:
        return assignment.class_id
    if assignment.label >= 1000:
        return assignment.label // 1000
    return assignment.label if backend == "labels" else 0


def observation_rows(
    assignments: Iterable[MaskAssignment], backend: str
) -> list[tuple[int, str, int, int, int, str, int]]:
    """Return one row per mask, by stamp, camera and label."""
    ordered = sorted(assignments, key=lambda a: (a.stamp_ns, a.camera, a.label))
    return [
        (
            a.stamp_ns,
            a.camera,
            a.label,
            a.instance,
            class_of(a, backend),
            f"{a.score:.6f}",
            a.num_landmarks,
        )
        for a in ordered
    ]


def event_rows(events: Iterable[InstanceEvent]) -> list[list[object]]:
    """Return one row per event, in sequence."""
    return [
        [
            e.sequence,
            e.stamp_ns,
            str(e.kind),
            e.instance,
            e.other,
            ";".join(f"{k}={v:.6g}" for k, v in sorted(e.evidence.items())),
        ]
        for e in sorted(events, key=lambda e: e.sequence)
    ]


def class_name(class_id: int, classes: dict[int, str]) -> str:
    """Return the name of a class as far as it is known."""
    return classes.get(class_id) or ("unknown" if class_id == 0 else f"class_{class_id}")


def instance_records(map: MapUpdate, classes: dict[int, str]) -> list[dict[str, Any]]:
    """Return the instances by id as in `instances.json`."""
    return [_instance_record(i, map, classes) for i in sorted(map.instances, key=lambda i: i.id)]


def _instance_record(i: Instance, map: MapUpdate, classes: dict[int, str]) -> dict[str, Any]:
    lat = lon = None
    if map.origin is not None and np.isfinite(i.centroid_map).all():
        lat, lon = (float(v) for v in enu_to_geodetic(i.centroid_map[None], map.origin)[0, :2])
    return {
        "id": int(i.id),
        "class_id": int(i.class_id),
        "class_name": class_name(i.class_id, classes),
        "score": number(i.score),
        "num_points": int(i.num_points),
        "num_views": int(i.num_views),
        "first_stamp_ns": int(i.first_stamp_ns),
        "last_stamp_ns": int(i.last_stamp_ns),
        "centroid_map": numbers(i.centroid_map),
        "box": {
            "center_map": numbers(i.box_center_map),
            "size_m": numbers(i.box_size_m),
            "yaw_rad": number(i.box_yaw_rad),
        },
        "footprint_map": [numbers(p) for p in np.asarray(i.footprint_map).reshape(-1, 2)],
        "footprint_sigma_m": number(i.footprint_sigma_m),
        "sigma_m": number(i.sigma_m),
        "state": str(i.state),
        "embedding_model_id": i.embedding_model_id,
        "lat_deg": number(lat, 9),
        "lon_deg": number(lon, 9),
    }


def number(value: float | None, digits: int = 6) -> float | None:
    """Return a value for JSON: rounded, no negative zero, null where it is not finite."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits) + 0.0


def numbers(values: Any) -> list[float | None]:
    """Return values for JSON."""
    return [number(v) for v in np.asarray(values, dtype=float).ravel().tolist()]


def write_json(path: Path, value: object) -> None:
    """Write JSON that any reader takes: UTF-8, no NaN."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file.

    Raises:
        ResultError: it is missing, no JSON, or holds something other than an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultError(f"there is no {path}: give a folder that `replay` wrote") from error
    except (OSError, ValueError) as error:
        raise ResultError(f"cannot read {path}: {error}") from error
    if not isinstance(value, dict):
        raise ResultError(f"{path} holds a {type(value).__name__}; a JSON object is needed")
    return value


def read_records(path: Path, name: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    """Return the objects that a JSON file lists under a name.

    Raises:
        ResultError: it cannot be read, lists none, or one lacks a field.
    """
    records = read_json(path).get(name)
    if not isinstance(records, list):
        raise ResultError(f"{path} lacks the list '{name}'")
    for record in records:
        known = record if isinstance(record, dict) else {}
        lacking = [field for field in fields if field not in known]
        if lacking:
            raise ResultError(f"{path} lacks {', '.join(lacking)} of one of its '{name}'")
    return records
