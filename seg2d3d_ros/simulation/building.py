"""Buildings: a body with four walls, a painted front and a roof."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.simulation.scene import Paint, SceneBuilder
from seg2d3d_ros.types import FloatArray

GROUND_M = -0.02
_EAVES_M = 0.35


@dataclass(frozen=True)
class Building:
    """A building of the street.

    Attributes:
        id: From 1.
        T_street_front: (4, 4) frame at the lower left corner of the front seen from the road:
            x along the front, y into the house, z up.
        width_m: Extent along x.
        depth_m: Extent along y.
        eaves_m: Height of the walls.
        ridge_m: Height of the roof's ridge; equal to `eaves_m` for a flat roof.
    """

    id: int
    T_street_front: FloatArray
    width_m: float
    depth_m: float
    eaves_m: float
    ridge_m: float

    def footprint(self) -> FloatArray:
        """Return the outline (4, 2) in the street's frame, counter-clockwise."""
        w, d = self.width_m, self.depth_m
        corners = np.array([[0, 0, 0], [w, 0, 0], [w, d, 0], [0, d, 0]], float)
        return transforms.apply(self.T_street_front, corners)[:, :2]


@dataclass(frozen=True)
class Finish:
    """Paints of a building."""

    front: Paint
    wall: Paint
    roof: Paint
    trim: Paint


def add_building(
    builder: SceneBuilder, building: Building, finish: Finish, object_id: int
) -> None:
    """Add the surfaces of a building."""
    w, d, h = building.width_m, building.depth_m, building.eaves_m
    low = np.array([(0, 0), (w, 0), (w, d), (0, d)], float)
    for k, (a, b) in enumerate(zip(low, np.roll(low, -1, axis=0), strict=True)):
        wall = [(*a, GROUND_M), (*b, GROUND_M), (*b, h), (*a, h)]
        builder.quad(_place(building, wall), finish.front if k == 0 else finish.wall, object_id)
    if building.ridge_m > h:
        _gable(builder, building, finish, object_id)
    else:
        roof = [(*p, h) for p in low]
        builder.quad(_place(building, roof), finish.roof, object_id)


def _gable(builder: SceneBuilder, building: Building, finish: Finish, object_id: int) -> None:
    """Add a roof whose ridge runs along the street, with eaves in front and back."""
    w, d, h, top = building.width_m, building.depth_m, building.eaves_m, building.ridge_m
    drop = _EAVES_M * (top - h) / (d / 2)
    front = [(0, -_EAVES_M, h - drop), (w, -_EAVES_M, h - drop), (w, d / 2, top), (0, d / 2, top)]
    back = [
        (w, d + _EAVES_M, h - drop),
        (0, d + _EAVES_M, h - drop),
        (0, d / 2, top),
        (w, d / 2, top),
    ]
    for slope in (front, back):
        builder.quad(_place(building, slope), finish.roof, object_id)
    builder.triangle(
        _place(building, [(0, d, h), (0, 0, h), (0, d / 2, top)]), finish.wall, object_id
    )
    builder.triangle(
        _place(building, [(w, 0, h), (w, d, h), (w, d / 2, top)]), finish.wall, object_id
    )
    x = 0.15 * w + 0.7 * w * ((building.id * 0.618) % 1.0)
    low, high = (x - 0.4, d / 2 - 0.3, h), (x + 0.4, d / 2 + 0.3, top + 0.9)
    builder.box(low, high, building.T_street_front, finish.trim, object_id)


def _place(building: Building, corners: list[tuple[float, float, float]]) -> FloatArray:
    return transforms.apply(building.T_street_front, np.array(corners))
