"""The truth folder of a simulated drive: `docs/interfaces.md` describes its files."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.simulation.building import GROUND_M, Building
from seg2d3d_ros.simulation.masks import MaskOwner
from seg2d3d_ros.simulation.options import SimulationOptions
from seg2d3d_ros.simulation.render import Rays, Rendering
from seg2d3d_ros.simulation.scene import Scene
from seg2d3d_ros.types import FloatArray, Origin

SPACING_M = 0.2
_STRIDE_PX = 4
_VERSION = 1


class FacadeSamples:
    """A lattice of points on the surfaces of buildings, of which those that some picture saw are kept."""

    def __init__(self, scene: Scene, building_of: NDArray[np.int64]) -> None:
        """Lay the lattice."""
        self._building_of = building_of
        num_surfaces = int(scene.surface.max()) + 1
        self._first = np.full(num_surfaces, -1, np.int64)
        self._rows, self._columns = np.ones(num_surfaces, np.int64), np.ones(num_surfaces, np.int64)
        self._frame = np.zeros((num_surfaces, 4, 3))
        self._building = np.zeros(num_surfaces, np.int64)
        size = 0
        for surface in np.unique(scene.surface[building_of[scene.object_id] > 0]):
            triangles = np.flatnonzero(scene.surface == surface)
            k = triangles[0]
            u, v = scene.u_axis[k], scene.v_axis[k]
            corners = scene.triangles[triangles].reshape(-1, 3)
            right, down = u[:3] / np.linalg.norm(u[:3]), v[:3] / np.linalg.norm(v[:3])
            x, y = (corners @ a[:3] + a[3] for a in (u, v))
            width, height = x.max() / np.linalg.norm(u[:3]), y.max() / np.linalg.norm(v[:3])
            corner = corners[0] - right * x[0] / np.linalg.norm(u[:3]) - down * y[0] / np.linalg.norm(v[:3])
            self._first[surface] = size
            self._rows[surface] = max(1, int(np.ceil(height / SPACING_M - 1e-9)))
            self._columns[surface] = max(1, int(np.ceil(width / SPACING_M - 1e-9)))
            self._frame[surface] = [corner, right, down, [width, height, 0.0]]
            self._building[surface] = building_of[scene.object_id[k]]
            size += self._rows[surface] * self._columns[surface]
        self._seen = np.zeros(size, bool)

    def see(self, rendering: Rendering, rays: Rays, T_street_cam: FloatArray) -> None:
        """Mark what a picture shows."""
        picked = np.zeros(rendering.surface.shape, bool)
        picked[::_STRIDE_PX, ::_STRIDE_PX] = True
        picked &= self._building_of[rendering.object_id] > 0
        surface = rendering.surface[picked]
        directions = rays.directions[picked.ravel()].astype(float)
        points = transforms.apply(T_street_cam, directions * rendering.depth_m[picked][:, None])
        corner, right, down = (self._frame[surface, k] for k in range(3))
        column = self._cell(np.einsum("ij,ij->i", points - corner, right), self._columns[surface])
        row = self._cell(np.einsum("ij,ij->i", points - corner, down), self._rows[surface])
        self._seen[self._first[surface] + row * self._columns[surface] + column] = True

    @staticmethod
    def _cell(distance: FloatArray, limit: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.clip((distance / SPACING_M).astype(np.int64), 0, limit - 1)

    def points(self) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return points (n, 3) of the street's frame that were seen, and their buildings (n,)."""
        found, owners = [np.zeros((0, 3))], [np.zeros(0, np.int64)]
        for surface in np.flatnonzero(self._first >= 0):
            first, columns = self._first[surface], self._columns[surface]
            seen = np.flatnonzero(self._seen[first : first + self._rows[surface] * columns])
            corner, right, down, size = self._frame[surface]
            x = np.minimum((seen % columns + 0.5) * SPACING_M, size[0])
            y = np.minimum((seen // columns + 0.5) * SPACING_M, size[1])
            found.append(corner + x[:, None] * right + y[:, None] * down)
            owners.append(np.full(len(seen), self._building[surface]))
        return np.concatenate(found), np.concatenate(owners)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the street lies in the map of the truth: ENU with an origin, else as the vehicle starts."""

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

    def add_picture(self, stamp_ns: int, camera: str, T_street_base: FloatArray, building: NDArray) -> None:
        """Add a published picture with the true building (h, w) of every pixel."""
        self._poses[stamp_ns] = self._place.T_map_street @ T_street_base
        ids, counts = np.unique(building, return_counts=True)
        self._visible += [(stamp_ns, camera, int(b), int(c)) for b, c in zip(ids, counts, strict=True) if b]

    def add_masks(self, stamp_ns: int, camera: str, owners: list[MaskOwner]) -> None:
        """Add the owners of the published building masks of a picture."""
        self._masks += [(stamp_ns, camera, o.label, o.building, f"{o.share:.4f}") for o in owners]

    def write(self, buildings: tuple[Building, ...], samples: FacadeSamples, path_m: float, options: SimulationOptions) -> None:
        """Write all files."""
        origin = self._place.origin
        about = {
            "version": _VERSION,
            "origin": dataclasses.asdict(origin) if origin else None,
            "path_length_m": round(path_m, 3),
            "num_buildings": len({row[2] for row in self._visible}),
            "options": dataclasses.asdict(options),
        }
        self._write_json("truth.json", about)
        self._write_json("buildings.json", {"version": _VERSION, "buildings": [self._describe(b) for b in buildings]})
        self._write_trajectory()
        self._write_rows("masks.csv", ["stamp_ns", "camera", "label", "building_id", "share"], self._masks)
        self._write_rows("visible.csv", ["stamp_ns", "camera", "building_id", "num_px"], self._visible)
        points, owners = samples.points()
        write_ply(self._folder / "points.ply", transforms.apply(self._place.T_map_street, points), owners)

    def _describe(self, building: Building) -> dict[str, object]:
        outline = building.footprint()
        flat = np.column_stack([outline, np.full(len(outline), GROUND_M)])
        outline_map = transforms.apply(self._place.T_map_street, flat)
        return {
            "id": building.id,
            "footprint_map": np.round(outline_map[:, :2], 4).tolist(),
            "height_m": round(building.ridge_m - GROUND_M, 4),
            "base_m": round(float(outline_map[:, 2].mean()), 4),
        }

    def _write_trajectory(self) -> None:
        lines = []
        for stamp_ns, T in sorted(self._poses.items()):
            values = [*T[:3, 3], *transforms.to_quaternion(T)]
            seconds = f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}"
            lines.append(" ".join([seconds, *(f"{v:.9f}" for v in values)]))
        (self._folder / "trajectory.tum").write_text("\n".join(lines) + "\n")

    def _write_json(self, name: str, value: object) -> None:
        (self._folder / name).write_text(json.dumps(value, indent=1) + "\n")

    def _write_rows(self, name: str, header: list[str], rows: list[tuple]) -> None:
        with (self._folder / name).open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(sorted(rows))


def write_ply(path: Path, points: FloatArray, instances: NDArray[np.int64]) -> None:
    """Write points (n, 3) with their instances (n,) as binary little-endian PLY."""
    kind = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("instance", "<u4")])
    rows = np.zeros(len(points), kind)
    for k, name in enumerate("xyz"):
        rows[name] = points[:, k]
    rows["instance"] = instances
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property float {name}\n" for name in "xyz") + "property uint instance\nend_header\n"
    path.write_bytes(header.encode() + rows.tobytes())
