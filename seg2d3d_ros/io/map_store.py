"""The map as it is kept in `map/`: versioned, checksummed, without pickle, made to be loaded.

`state.npz` holds the arrays of the map, `frames/` what its frames saw and showed, `map.json`
everything else with the hashes of the other files; docs/map_format.md describes them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.io.folder_store import FolderStore
from seg2d3d_ros.io.tables import read_json
from seg2d3d_ros.mapping.archive import BlockStore
from seg2d3d_ros.types import (
    EventKind,
    Instance,
    InstanceEvent,
    InstanceState,
    MapUpdate,
    MaskAssignment,
    Origin,
    PointCloud,
    Trajectory,
    View,
)

FORMAT = "seg2d3d-map"
VERSION = 4

_CLOUD = tuple(f.name for f in dataclasses.fields(PointCloud))
_TRAJECTORY = ("stamps_ns", "T_map_base", "is_keyframe")
_ASSIGNMENT = ("stamp_ns", "label", "instance", "score", "num_landmarks", "class_id")
_EXACT = ("centroid_map", "box_center_map", "box_size_m", "footprint_map")
_PLAIN = (
    "id",
    "class_id",
    "score",
    "num_points",
    "num_views",
    "first_stamp_ns",
    "last_stamp_ns",
    "box_yaw_rad",
    "sigma_m",
    "embedding_model_id",
    "footprint_sigma_m",
)


def save_map(folder: Path, map: MapUpdate, blocks: BlockStore | None = None) -> None:
    """Write a full map into a folder that is made for it, with the blocks it rests on."""
    kept = FolderStore(folder)
    kept.put("state", _arrays(map))
    if blocks is not None:
        copy_groups(blocks, kept)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "sha256": dict(sorted(kept.digests.items())),
        "sequence": map.sequence,
        "stamp_ns": map.stamp_ns,
        "scale": map.scale,
        "origin": None if map.origin is None else dataclasses.asdict(map.origin),
        "cameras": sorted({a.camera for a in map.assignments}),
        "instances": [
            {
                **{name: _plain(getattr(i, name)) for name in _PLAIN},
                "state": str(i.state),
                "views": [[v.camera, v.stamp_ns, v.label] for v in i.best_views],
            }
            for i in map.instances
        ],
        "events": [{**dataclasses.asdict(e), "kind": str(e.kind)} for e in map.events],
        "counts": {k: _plain(v) for k, v in sorted(map.counts.items())},
    }
    # NaN and infinity are written as Python does: this file is ours alone, and loses nothing.
    (folder / "map.json").write_text(json.dumps(head, indent=1) + "\n")


def copy_groups(blocks: BlockStore, kept: FolderStore, without: Collection[str] = ()) -> None:
    """Copy all groups but some; files that are on the same disk already are only linked."""
    for name in blocks.names():
        if name in without:
            continue
        if not isinstance(blocks, FolderStore) or name not in blocks.digests:
            kept.put(name, blocks.get(name))
            continue
        target = kept.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(blocks.path(name), target)
        except OSError:
            shutil.copyfile(blocks.path(name), target)
        kept.digests[name] = blocks.digests[name]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _arrays(map: MapUpdate) -> dict[str, NDArray[Any]]:
    cameras = sorted({a.camera for a in map.assignments})
    arrays = {f"trajectory_{n}": np.asarray(getattr(map.trajectory, n)) for n in _TRAJECTORY}
    arrays |= {f"cloud_{n}": np.asarray(getattr(map.cloud, n)) for n in _CLOUD}
    arrays["T_map_local"] = np.asarray(map.T_map_local)
    for name in _ASSIGNMENT:
        kind = np.float64 if name == "score" else np.int64
        column = [getattr(a, name) for a in map.assignments]
        arrays[f"assignment_{name}"] = np.array(column, dtype=kind)
    column = [cameras.index(a.camera) for a in map.assignments]
    arrays["assignment_camera"] = np.array(column, dtype=np.int64)
    for k, instance in enumerate(map.instances):
        for name in _EXACT:
            arrays[f"instance_{k}_{name}"] = np.asarray(getattr(instance, name), dtype=np.float64)
        if instance.embedding is not None:
            arrays[f"instance_{k}_embedding"] = np.asarray(instance.embedding, dtype=np.float32)
        for j, view in enumerate(instance.best_views):
            arrays[f"instance_{k}_view_{j}"] = np.frombuffer(view.crop_jpeg, dtype=np.uint8)
    return arrays


def load_map(folder: Path) -> MapUpdate:
    """Return the full map of a folder that `save_map` wrote.

    Raises:
        ResultError: it is missing, of another version or damaged.
    """
    head = _read_head(folder)
    try:
        return _map(head, FolderStore(folder, head["sha256"]).get("state"))
    except (ValueError, KeyError, TypeError) as error:
        raise ResultError(f"{folder} cannot be read: {error!r}") from error


def open_blocks(folder: Path) -> FolderStore:
    """Return the groups of arrays of a saved map, to be read as they are needed.

    Raises:
        ResultError: it is missing or of another version.
    """
    return FolderStore(folder, _read_head(folder)["sha256"])


def _read_head(folder: Path) -> dict[str, Any]:
    head = read_json(folder / "map.json")
    if head.get("format") != FORMAT:
        raise ResultError(f"{folder} holds no saved map")
    if head["version"] != VERSION:
        raise ResultError(
            f"{folder} has version {head['version']}; {VERSION} is needed: map again"
        )
    return head


def _map(head: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> MapUpdate:
    trajectory = Trajectory(*(arrays[f"trajectory_{n}"] for n in _TRAJECTORY))
    cloud = PointCloud(*(arrays[f"cloud_{n}"] for n in _CLOUD))
    columns = {n: arrays[f"assignment_{n}"].tolist() for n in (*_ASSIGNMENT, "camera")}
    names = head["cameras"]
    assignments = tuple(
        MaskAssignment(
            **{n: columns[n][i] for n in _ASSIGNMENT}, camera=names[columns["camera"][i]]
        )
        for i in range(len(columns["label"]))
    )
    return MapUpdate(
        sequence=head["sequence"],
        stamp_ns=head["stamp_ns"],
        is_full=True,
        scale=head["scale"],
        origin=None if head["origin"] is None else Origin(**head["origin"]),
        T_map_local=arrays["T_map_local"],
        trajectory=trajectory,
        cloud=cloud,
        removed_points=np.zeros(0, dtype=np.int64),
        instances=tuple(_instance(k, i, arrays) for k, i in enumerate(head["instances"])),
        removed_instances=(),
        events=tuple(InstanceEvent(**{**e, "kind": EventKind(e["kind"])}) for e in head["events"]),
        assignments=assignments,
        counts=head["counts"],
    )


def _instance(k: int, plain: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Instance:
    views = tuple(
        View(camera, stamp_ns, label, arrays[f"instance_{k}_view_{j}"].tobytes())
        for j, (camera, stamp_ns, label) in enumerate(plain["views"])
    )
    fields: dict[str, Any] = {name: plain[name] for name in _PLAIN}
    fields |= {name: arrays[f"instance_{k}_{name}"] for name in _EXACT}
    return Instance(
        **fields,
        state=InstanceState(plain["state"]),
        best_views=views,
        embedding=arrays.get(f"instance_{k}_embedding"),
    )
