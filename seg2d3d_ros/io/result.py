"""The result folder: everything a run leaves behind, written whole or not at all."""

from __future__ import annotations

import glob
import os
import platform
import shutil
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.accounts import FrameCounts, RunReport
from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.io import tables
from seg2d3d_ros.io.map_picture import draw_map
from seg2d3d_ros.io.map_store import save_map
from seg2d3d_ros.io.ply import cloud_vertices, read_ply, write_ply
from seg2d3d_ros.io.report import render_report
from seg2d3d_ros.io.tum import read_tum, write_tum
from seg2d3d_ros.mapping.archive import BlockStore
from seg2d3d_ros.types import FloatArray, IntArray, MapUpdate, Origin

FORMAT = "seg2d3d-result"
VERSION = 1

_LIBRARIES = ("numpy", "opencv-python-headless", "scipy", "pycolmap", "pyceres", "gtsam", "torch")


@dataclass(frozen=True)
class Result:
    """A result folder as arrays.

    Attributes:
        stamps_ns: (n,) stamps of the trajectory.
        T_map_base: (n, 4, 4) poses of base_link.
        keyframe_stamps_ns: (k,) stamps of the keyframes among them.
        points: (p,) structured array of `points.ply`: x y z red green blue label instance.
        observations: (m,) structured array: stamp_ns, camera, label, instance_id, class_id, score,
            num_landmarks.
        instances: Records of `instances.json`, by id.
        events: Rows of `events.csv`, as text.
        run: `run.json`.
    """

    stamps_ns: IntArray
    T_map_base: FloatArray
    keyframe_stamps_ns: IntArray
    points: NDArray[Any]
    observations: NDArray[Any]
    instances: list[dict[str, Any]]
    events: list[dict[str, str]]
    run: dict[str, Any]

    @property
    def origin(self) -> Origin | None:
        """Return where the map lies on the ellipsoid, None where nothing told."""
        found = self.run.get("origin")
        return None if found is None else Origin(**found)


def check_target(folder: str | Path, overwrite: bool = False) -> None:
    """Check that a result can be written, before hours of work rather than after.

    Raises:
        ResultError: something is there that may not be replaced, or the place cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        if not folder.is_dir():
            raise ResultError(f"{folder} is a file; the name of a folder is needed")
        if any(folder.iterdir()):
            if not _is_result(folder):
                raise ResultError(
                    f"{folder} holds files that are no result of ours and is left alone; "
                    "choose another folder"
                )
            if not overwrite:
                raise ResultError(f"{folder} holds a result already; allow it by --overwrite")
    parent = next(p for p in folder.absolute().parents if p.exists())
    try:  # rights alone do not tell: /proc and disks mounted read-only refuse in spite of them
        os.rmdir(tempfile.mkdtemp(prefix=".seg2d3d-", dir=parent))
    except OSError as error:
        raise ResultError(
            f"{folder} cannot be made: {parent} cannot be written ({error.strerror}); choose "
            "another folder"
        ) from error


def _is_result(folder: Path) -> bool:
    run = folder / "run.json"
    if not run.is_file():
        return False
    try:
        head = tables.read_json(run)
    except ResultError:
        return False
    return bool(head.get("format") == FORMAT)


def write_result(
    folder: str | Path,
    map: MapUpdate,
    report: RunReport,
    overwrite: bool = False,
    blocks: BlockStore | None = None,
    picture: bytes | None = None,
) -> Path:
    """Write a full map and the report of its run as a result folder.

    All is written into a folder beside it first, which then takes its place in one step. What
    writers left there that were killed is removed.

    Args:
        folder: Where to; parents are made.
        map: The whole map (`is_full`).
        report: What the run did.
        overwrite: Replace a result that is there already; anything else is never replaced.
        blocks: What the frames of the map saw and showed, to be kept in `map/` with it.
        picture: What `draw_map` drew of it, titled by the source; is drawn without it.

    Raises:
        ResultError: something is there that may not be replaced, or the disk refuses.
    """
    folder = Path(folder)
    check_target(folder, overwrite)
    partial = folder.absolute().parent / f".{folder.name}.partial-{os.getpid()}"
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(folder.absolute())
        partial.mkdir()
        _write_files(partial, map, report, picture or draw_map(map, report.source))
        save_map(partial / "map", map, blocks)
        _swap(partial, folder.absolute())
    except OSError as error:
        raise ResultError(
            f"cannot write the result {folder}: {error}; make room there or choose another folder "
            "(what was there before is as it was)"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _remove_orphans(folder: Path) -> None:
    """Remove what was being written in place of a folder by processes that are no more, and us."""
    beginning = f".{folder.name}.partial-"
    for partial in folder.parent.glob(f"{glob.escape(beginning)}*"):
        pid = partial.name.removeprefix(beginning)
        if pid == str(os.getpid()) or (pid.isdigit() and not Path("/proc", pid).exists()):
            shutil.rmtree(partial, ignore_errors=True)


def _swap(partial: Path, folder: Path) -> None:
    """Put a finished folder in its place; the one before goes only when the new one stands."""
    old = folder.parent / f".{folder.name}.old-{os.getpid()}"
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    try:
        partial.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_files(folder: Path, map: MapUpdate, report: RunReport, picture: bytes) -> None:
    trajectory = map.trajectory
    write_tum(folder / "trajectory.tum", trajectory.stamps_ns, trajectory.T_map_base)
    tables.write_csv(
        folder / "keyframes.csv", tables.KEYFRAME_COLUMNS, tables.keyframe_rows(trajectory)
    )
    write_ply(folder / "points.ply", cloud_vertices(map.cloud))
    tables.write_csv(
        folder / "observations.csv",
        tables.OBSERVATION_COLUMNS,
        tables.observation_rows(map.assignments, report.backend),
    )
    tables.write_csv(folder / "events.csv", tables.EVENT_COLUMNS, tables.event_rows(map.events))
    instances = tables.instance_records(map, report.classes)
    tables.write_json(
        folder / "instances.json", {"version": tables.INSTANCES_VERSION, "instances": instances}
    )
    (folder / "map.png").write_bytes(picture)
    (folder / "report.html").write_text(render_report(map, report, picture), encoding="utf-8")
    tables.write_json(folder / "run.json", run_record(map, report))


def run_record(map: MapUpdate, report: RunReport) -> dict[str, Any]:
    """Return what `run.json` holds."""
    events = Counter(str(event.kind) for event in map.events)
    return {
        "format": FORMAT,
        "version": VERSION,
        "source": report.source,
        "backend": report.backend,
        "scale": map.scale,
        "origin": None if map.origin is None else asdict(map.origin),
        "num_poses": len(map.trajectory.stamps_ns),
        "num_keyframes": int(map.trajectory.is_keyframe.sum()),
        "num_points": len(map.cloud.points_map),
        "num_instances": len(map.instances),
        "num_events": dict(sorted(events.items())),
        "frames": {name: _frames(counts) for name, counts in sorted(report.frames.items())},
        "counts": _finite({**map.counts, **report.counts}),
        "seconds": _finite(report.seconds),
        "recording_s": tables.number(report.recording_s),
        "wall_s": tables.number(report.wall_s),
        "real_time_factor": tables.number(report.real_time_factor, 4),
        "peak_memory_mib": tables.number(report.peak_memory_mib, 1),
        "classes": {str(k): name for k, name in sorted(report.classes.items())},
        "remarks": list(report.remarks),
        "versions": _versions(),
        "config": report.config,
    }


def _frames(counts: FrameCounts) -> dict[str, Any]:
    return {
        "received": counts.received,
        "processed": counts.processed,
        "dropped": dict(sorted(counts.dropped.items())),
        "segmentation": dict(sorted(counts.segmentation.items())),
    }


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: tables.number(value) for name, value in sorted(values.items())}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("seg2d3d_ros", *_LIBRARIES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a distribution"
    return found


def read_run(folder: Path) -> dict[str, Any]:
    """Return `run.json` of a result folder.

    Raises:
        ResultError: it is no result folder, or of another version.
    """
    run = tables.read_json(folder / "run.json")
    if run.get("format") != FORMAT:
        raise ResultError(f"{folder} is no result folder")
    if run.get("version") != VERSION:
        raise ResultError(f"{folder} has version {run.get('version')}; {VERSION} is needed")
    return run


def read_result(folder: str | Path) -> Result:
    """Return a result folder as arrays.

    Raises:
        ResultError: it is no result folder, of another version, or a file is missing or damaged.
    """
    folder = Path(folder)
    run = read_run(folder)
    stamps_ns, T_map_base = read_tum(folder / "trajectory.tum")
    return Result(
        stamps_ns=stamps_ns,
        T_map_base=T_map_base,
        keyframe_stamps_ns=_read_keyframes(folder / "keyframes.csv"),
        points=read_ply(folder / "points.ply"),
        observations=_read_observations(folder / "observations.csv"),
        instances=tables.read_records(folder / "instances.json", "instances", ("id", "score")),
        events=tables.read_csv(folder / "events.csv", tables.EVENT_COLUMNS),
        run=run,
    )


def _read_keyframes(path: Path) -> NDArray[np.int64]:
    rows = tables.read_csv(path, tables.KEYFRAME_COLUMNS)
    try:
        return np.array([int(row["stamp_ns"]) for row in rows], dtype=np.int64)
    except ValueError as error:
        raise ResultError(f"{path} holds a row that cannot be read: {error}") from error


def _read_observations(path: Path) -> NDArray[Any]:
    rows = tables.read_csv(path, tables.OBSERVATION_COLUMNS)
    width = max((len(row["camera"]) for row in rows), default=1)
    dtype = [
        ("stamp_ns", np.int64),
        ("camera", f"U{width}"),
        ("label", np.int64),
        ("instance_id", np.int64),
        ("class_id", np.int64),
        ("score", np.float64),
        ("num_landmarks", np.int64),
    ]
    table = np.zeros(len(rows), dtype)
    try:
        for name, _ in dtype:
            table[name] = [row[name] for row in rows]
    except ValueError as error:
        raise ResultError(f"{path} holds a row that cannot be read: {error}") from error
    return table
