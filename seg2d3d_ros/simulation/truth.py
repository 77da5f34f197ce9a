"""The truth folder of a simulated drive: `docs/interfaces.md` describes its files."""

from __future__ import annotations

import collections
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.io.ply import write_ply
from seg2d3d_ros.io.tables import write_csv
from seg2d3d_ros.io.tum import write_tum
from seg2d3d_ros.simulation.building import GROUND_M, Building
from seg2d3d_ros.simulation.masks import MaskOwner
from seg2d3d_ros.types import FloatArray, Origin

_VERSION = 1
_MIN_PICTURES = 5
_MASK_COLUMNS = ("stamp_ns", "camera", "label", "building_id", "share")
_VISIBLE_COLUMNS = ("stamp_ns", "camera", "building_id", "num_px")
_VERTEX = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("instance", "<u4")])


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the street lies in the map of the truth.

    Attributes:
        T_map_street: (4, 4) pose of the street.
        origin: Of the ENU map; None where the map is base_link at the start.
    """

    T_map_street: FloatArray
    origin: Origin | None


class TruthWriter:
    """Collects the truth of every published picture and writes the folder at the end."""

    def __init__(self, folder: Path, place: Place) -> None:
        """Create the folder."""
        self._folder = folder
        self._place = place
        folder.mkdir(parents=True)
        self._poses: dict[int, FloatArray] = {}
        self._masks: list[tuple] = []
        self._visible: list[tuple] = []

    def add_picture(
        self, stamp_ns: int, camera: str, T_street_base: FloatArray, building: NDArray
    ) -> None:
        """Add a published picture with the true building (h, w) of every pixel."""
        self._poses[stamp_ns] = self._place.T_map_street @ T_street_base
        counts = np.bincount(building.ravel())
        self._visible += [
            (stamp_ns, camera, int(b), int(counts[b])) for b in np.flatnonzero(counts) if b
        ]

    def add_masks(self, stamp_ns: int, camera: str, owners: list[MaskOwner]) -> None:
        """Add the owners of the published building masks of a picture."""
        self._masks += [(stamp_ns, camera, o.label, o.building, f"{o.share:.4f}") for o in owners]

    def write(
        self,
        buildings: list[dict[str, object]],
        samples: tuple[FloatArray, NDArray[np.int64]],
        path_m: float,
        options: dict[str, object],
    ) -> int:
        """Write all files and return the number of buildings that were well seen.

        Args:
            buildings: Records of `buildings.json`.
            samples: Points (n, 3) of the street on the buildings, and the building (n,) of each.
            path_m: Distance driven.
            options: How the recording was made; `min_mask_px` is one of them.
        """
        origin = self._place.origin
        num_buildings = self._num_seen(int(str(options["min_mask_px"])))
        about = {
            "version": _VERSION,
            "origin": dataclasses.asdict(origin) if origin else None,
            "path_length_m": round(path_m, 3),
            "num_buildings": num_buildings,
            "options": options,
        }
        self._write_json("truth.json", about)
        self._write_json("buildings.json", {"version": _VERSION, "buildings": buildings})
        stamps_ns = np.array(sorted(self._poses), dtype=np.int64)
        poses = np.array([self._poses[stamp_ns] for stamp_ns in stamps_ns.tolist()])
        write_tum(self._folder / "trajectory.tum", stamps_ns, poses)
        write_csv(self._folder / "masks.csv", _MASK_COLUMNS, sorted(self._masks))
        write_csv(self._folder / "visible.csv", _VISIBLE_COLUMNS, sorted(self._visible))
        points_map = transforms.apply(self._place.T_map_street, samples[0])
        write_ply(self._folder / "points.ply", _vertices(points_map, samples[1]))
        return num_buildings

    def _num_seen(self, min_px: int) -> int:
        """Count the buildings that were large enough for a mask in a handful of pictures."""
        times = collections.Counter(row[2] for row in self._visible if row[3] >= min_px)
        return sum(n >= _MIN_PICTURES for n in times.values())

    def _write_json(self, name: str, value: object) -> None:
        (self._folder / name).write_text(json.dumps(value, indent=1) + "\n")


def describe(building: Building, place: Place) -> dict[str, object]:
    """Return the record of a building of the simulated street in `buildings.json`."""
    outline = building.footprint()
    flat = np.column_stack([outline, np.full(len(outline), GROUND_M)])
    outline_map = transforms.apply(place.T_map_street, flat)
    return {
        "id": building.id,
        "footprint_map": np.round(outline_map[:, :2], 4).tolist(),
        "height_m": round(building.ridge_m - GROUND_M, 4),
        "base_m": round(float(outline_map[:, 2].mean()), 4),
    }


def _vertices(points_map: FloatArray, buildings: NDArray[np.int64]) -> NDArray[Any]:
    """Return points (n, 3) with their buildings (n,) as vertices of a PLY file."""
    vertices = np.zeros(len(points_map), _VERTEX)
    for k, name in enumerate("xyz"):
        vertices[name] = points_map[:, k]
    vertices["instance"] = buildings
    return vertices
