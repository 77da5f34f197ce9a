"""A drawing of true houses: facade lines in the map from above, with what belongs to whom.

A line runs from left to right as its facade is seen from the street, so that the houses stand on
its left-hand side. `docs/truth.md` describes the JSON file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.types import FloatArray, Origin

_VERSION = 1


@dataclass(frozen=True)
class Stretch:
    """The part of a facade line that belongs to one house.

    Attributes:
        house: Id of the house, from 1; a house may have stretches on several lines. 0 is a wall,
            fence or sign that hides what stands behind it.
        top_m: (n, 2) outline of the top: distance along the line, rising from the left end of the
            stretch to its right end, and height above the line's base, metres.
        roof_m: How far a sloped roof runs back from the top edge, and how far it rises; or None.
    """

    house: int
    top_m: FloatArray
    roof_m: tuple[float, float] | None = None

    @property
    def from_m(self) -> float:
        """Return where it begins along its line."""
        return float(self.top_m[0, 0])

    @property
    def to_m(self) -> float:
        """Return where it ends along its line."""
        return float(self.top_m[-1, 0])


@dataclass(frozen=True)
class Facade:
    """A wall line with the houses along it.

    Attributes:
        name: Name of the line.
        line_map: (2, 3) its ends at the ground, left to right seen from the street, metres.
        stretches: What belongs to whom.
    """

    name: str
    line_map: FloatArray
    stretches: tuple[Stretch, ...] = ()

    @property
    def length_m(self) -> float:
        """Return the length of the line from above."""
        return float(np.hypot(*(self.line_map[1] - self.line_map[0])[:2]))

    @property
    def inward(self) -> FloatArray:
        """Return the unit vector (3,) into the houses."""
        x, y = (self.line_map[1] - self.line_map[0])[:2] / self.length_m
        return np.array([-y, x, 0.0])

    def at(self, along_m: FloatArray, up_m: FloatArray) -> FloatArray:
        """Return map points (..., 3) at distances along the line and heights above its base."""
        along = np.asarray(along_m, dtype=float)[..., None] / self.length_m
        points = self.line_map[0] + along * (self.line_map[1] - self.line_map[0])
        points[..., 2] += up_m
        return np.asarray(points)


@dataclass(frozen=True)
class Tree:
    """A tree that hides what stands behind it.

    Attributes:
        foot_map: (3,) where its trunk meets the ground.
        trunk_radius_m: Of the trunk.
        crown_radius_m: Of the crown.
        crown_from_m: Height of the crown's lower end above the foot.
        crown_to_m: Height of its upper end.
    """

    foot_map: FloatArray
    trunk_radius_m: float
    crown_radius_m: float
    crown_from_m: float
    crown_to_m: float


@dataclass(frozen=True)
class Drawing:
    """True houses along a drive.

    Attributes:
        drive: Name of the drive it was drawn for.
        facades: The lines.
        trees: What stands before them and above what lidar sees.
        origin: Of the ENU map that the coordinates refer to, or None for a local map.
        pictures_ns: First and last stamp of the pictures in which every house is drawn, or None
            for all.
    """

    drive: str
    facades: tuple[Facade, ...]
    trees: tuple[Tree, ...] = ()
    origin: Origin | None = None
    pictures_ns: tuple[int, int] | None = None

    @property
    def houses(self) -> list[int]:
        """Return the ids of the houses, rising."""
        return sorted({s.house for f in self.facades for s in f.stretches} - {0})


def read_drawing(path: Path) -> Drawing:
    """Read and check a drawing.

    Raises:
        InputError: the file cannot be read, or a line or stretch in it cannot be.
    """
    try:
        record = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot read the drawing {path}: {error}") from error
    version = record.get("version") if isinstance(record, dict) else None
    if version != _VERSION:
        raise InputError(f"{path} is a drawing of version {version}; {_VERSION} is needed")
    try:
        drawing = _drawing(record)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else error
        raise InputError(f"{path} cannot be used: {reason}; see docs/truth.md") from error
    return drawing


def _drawing(record: dict[str, Any]) -> Drawing:
    origin, pictures = record.get("origin"), record.get("pictures_ns")
    facades = tuple(_facade(f) for f in record["facades"])
    names = [f.name for f in facades]
    if len(set(names)) < len(names):
        raise ValueError(f"two facades bear one name among {', '.join(names)}")
    return Drawing(
        str(record["drive"]),
        facades,
        tuple(_tree(t) for t in record.get("trees", ())),
        None if origin is None else Origin(origin["lat_deg"], origin["lon_deg"], origin["alt_m"]),
        None if pictures is None else (int(pictures[0]), int(pictures[1])),
    )


def _facade(record: dict[str, Any]) -> Facade:
    name = str(record["name"])
    line = np.array(record["line_map"], dtype=float)
    if line.shape != (2, 3) or not np.isfinite(line).all():
        raise ValueError(f"facade '{name}': line_map must be two finite points [x, y, z]")
    facade = Facade(name, line, ())
    if facade.length_m < 0.1:
        raise ValueError(f"facade '{name}' is {facade.length_m:.2f} m long; 0.1 m are needed")
    stretches = sorted((_stretch(name, s) for s in record["houses"]), key=lambda s: s.from_m)
    for left, right in zip(stretches, stretches[1:], strict=False):
        if right.from_m < left.to_m - 1e-9:
            raise ValueError(
                f"facade '{name}': house {right.house} begins at {right.from_m:g} m, before "
                f"house {left.house} ends at {left.to_m:g} m"
            )
    if stretches and (stretches[0].from_m < 0 or stretches[-1].to_m > facade.length_m + 0.05):
        raise ValueError(
            f"facade '{name}' is {facade.length_m:.2f} m long, but its houses reach from "
            f"{stretches[0].from_m:g} m to {stretches[-1].to_m:g} m"
        )
    return Facade(name, line, tuple(stretches))


def _stretch(name: str, record: dict[str, Any]) -> Stretch:
    house = record["house"]
    top = np.array(record["top_m"], dtype=float)
    if type(house) is not int or house < 0:
        raise ValueError(f"facade '{name}': house {house!r} must be a whole number from 0")
    is_outline = top.ndim == 2 and top.shape[1:] == (2,) and len(top) >= 2
    if not is_outline or not np.isfinite(top).all() or np.any(np.diff(top[:, 0]) <= 0):
        raise ValueError(
            f"facade '{name}', house {house}: top_m must be two or more [along, height] in "
            "rising order along the line"
        )
    if np.any(top[:, 1] <= 0):
        raise ValueError(f"facade '{name}', house {house}: heights must be above 0")
    roof = record.get("roof_m")
    return Stretch(house, top, None if roof is None else (float(roof[0]), float(roof[1])))


def _tree(record: dict[str, Any]) -> Tree:
    foot = np.array(record["foot_map"], dtype=float)
    sizes = [
        float(record[f"{name}_m"])
        for name in ("trunk_radius", "crown_radius", "crown_from", "crown_to")
    ]
    if foot.shape != (3,) or not np.isfinite([*foot, *sizes]).all() or min(sizes) <= 0:
        raise ValueError(f"tree at {foot.tolist()}: three coordinates and sizes above 0 needed")
    if sizes[3] <= sizes[2]:
        raise ValueError(f"tree at {foot.tolist()}: its crown ends below where it begins")
    return Tree(foot, *sizes)
