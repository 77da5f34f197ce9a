"""The world: a street with houses on both sides and what stands between them and the road."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.segmentation import classes
from seg2d3d_ros.simulation import props, texture
from seg2d3d_ros.simulation.atlas import Atlas
from seg2d3d_ros.simulation.building import GROUND_M, Building, Finish, add_building
from seg2d3d_ros.simulation.facade import draw_window_style, paint_facade
from seg2d3d_ros.simulation.frontage import (
    BEYOND_M,
    HALF_ROAD_M,
    SIDEWALK_M,
    Frontage,
    frontages,
)
from seg2d3d_ros.simulation.options import SimulationOptions
from seg2d3d_ros.simulation.palette import Palette, repeating_px
from seg2d3d_ros.simulation.render import Mover
from seg2d3d_ros.simulation.route import Centerline
from seg2d3d_ros.simulation.scene import Paint, Scene, SceneBuilder
from seg2d3d_ros.types import FloatArray

_KERB_M = 0.12
_MIN_WIDTH_M = 7.0
_END_WIDTH_M = 48.0
_NUM_WINDOW_STYLES = 4
_BLIND_M = (6.4, 6.4)


@dataclass(frozen=True)
class Street:
    """A simulated street.

    Attributes:
        scene: All that stands still, in the street's frame.
        movers: Moving cars, each in its own frame (x forward).
        atlas: Their textures.
        buildings: The buildings, ids 1, 2, …
        class_of: (n,) class of each object.
        building_of: (n,) building id of each object, 0 for all else.
    """

    scene: Scene
    movers: list[Mover]
    atlas: Atlas
    buildings: tuple[Building, ...]
    class_of: NDArray[np.int64]
    building_of: NDArray[np.int64]


def build_street(options: SimulationOptions, line: Centerline) -> Street:
    """Build the street around a centre line."""
    return _StreetBuilder(options, line).build()


class _StreetBuilder:
    """Collects surfaces and objects while the street is laid out."""

    def __init__(self, options: SimulationOptions, line: Centerline) -> None:
        self._options = options
        self._line = line
        self._rng = np.random.default_rng([options.seed, 21])
        self._palette = Palette(self._rng, options.texture_px_per_m)
        self._paints = self._palette.paints
        self._builder = SceneBuilder()
        self._class_of: list[int] = [classes.SKY]  # object 0: nothing was hit
        self._building_of: list[int] = [0]
        self._buildings: list[Building] = []
        self._windows = [draw_window_style(self._rng) for _ in range(_NUM_WINDOW_STYLES)]

    def build(self) -> Street:
        self._ground()
        for frontage in frontages(self._line):
            self._sidewalk(frontage)
            self._row(frontage)
            self._furniture(frontage)
        if not self._line.is_closed:
            self._close_view(self._line.nodes[0], self._line.nodes[1])
            self._close_view(self._line.nodes[-1], self._line.nodes[-2])
        movers = [self._mover(k) for k in range(self._options.moving_cars)]
        return Street(
            scene=self._builder.build(),
            movers=movers,
            atlas=Atlas(self._palette.textures),
            buildings=tuple(self._buildings),
            class_of=np.array(self._class_of),
            building_of=np.array(self._building_of),
        )

    def _object(self, class_id: int, building: int = 0) -> int:
        self._class_of.append(class_id)
        self._building_of.append(building)
        return len(self._class_of) - 1

    # ------------------------------------------------------------------------------------ ground

    def _ground(self) -> None:
        far, high = 4000.0, 900.0
        grass = (-far, -far, far, far)
        self._flat(
            np.eye(4), grass, (GROUND_M, self._paints["grass"]), self._object(classes.TERRAIN)
        )
        clouds = self._paints["clouds"]
        lid = [(-9e4, -9e4, high), (9e4, -9e4, high), (9e4, 9e4, high), (-9e4, 9e4, high)]
        sky = Paint(clouds.texture, clouds.size_m, is_lit=False)
        self._builder.quad(lid, sky, self._object(classes.SKY))
        road = self._object(classes.ROAD)
        nodes, is_closed = self._line.nodes, self._line.is_closed
        ends = np.roll(nodes, -1, axis=0) if is_closed else nodes[1:]
        for i, (a, b) in enumerate(zip(nodes, ends, strict=False)):
            length = float(np.linalg.norm(b - a))
            x = (b - a) / length
            is_first, is_last = not is_closed and i == 0, not is_closed and i == len(ends) - 1
            start = -BEYOND_M - 6.0 if is_first else HALF_ROAD_M
            stop = length + (BEYOND_M + 6.0 if is_last else HALF_ROAD_M)
            R = np.column_stack([[*x, 0.0], [-x[1], x[0], 0.0], [0.0, 0.0, 1.0]])
            T = transforms.rigid(R, [*a, 0.0])
            extent = (start, -HALF_ROAD_M, stop, HALF_ROAD_M)
            self._flat(T, extent, (0.0, self._paints["asphalt"]), road)
            self._markings(T, start, stop, road)

    def _flat(
        self,
        T: FloatArray,
        extent: tuple[float, float, float, float],
        layer: tuple[float, Paint],
        object_id: int,
    ) -> None:
        """Add a level rectangle (x0, y0, x1, y1) at a height."""
        x0, y0, x1, y1 = extent
        z, paint = layer
        corners = np.array([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)])
        self._builder.quad(transforms.apply(T, corners), paint, object_id)

    def _markings(self, T: FloatArray, start: float, stop: float, road: int) -> None:
        for x in np.arange(start + 12.0, stop - 12.0, 6.0):
            dash = (x, -0.07, x + 3.0, 0.07)
            self._flat(T, dash, (0.005, self._paints["line"]), road)
        for x in np.arange(start + 8.0, stop - 4.0, 19.0):
            x, y = x + float(self._rng.uniform(0, 9.0)), float(self._rng.uniform(-3.0, 3.0))
            self._flat(T, (x, y, x + 0.65, y + 0.65), (0.006, self._paints["iron"]), road)

    def _sidewalk(self, frontage: Frontage) -> None:
        low, high = (0.0, 0.0, GROUND_M), (frontage.length_m, SIDEWALK_M, _KERB_M)
        walk = self._object(classes.SIDEWALK)
        self._builder.box(low, high, frontage.T_street_kerb, self._paints["paving"], walk)

    # --------------------------------------------------------------------------------- buildings

    def _row(self, frontage: Frontage) -> None:
        """Fill the lots of a frontage: terraces of adjoining houses, and gaps."""
        rng = self._rng
        x, stop = frontage.lots_m
        setback, eaves = float(rng.uniform(0.8, 3.5)), float(rng.uniform(6.0, 11.0))
        while x < stop - _MIN_WIDTH_M:
            width = min(float(rng.uniform(_MIN_WIDTH_M, 15.0)), stop - x)
            eaves = float(np.clip(eaves + rng.normal(0, 1.5), 5.0, 11.5))
            step = float(rng.choice([0.0, rng.uniform(-0.6, 0.6)]))
            y = SIDEWALK_M + max(0.3, setback + step)
            T_kerb_front = transforms.rigid(np.eye(3), [x, y, 0.0])
            self._house(frontage.T_street_kerb @ T_kerb_front, width, eaves)
            x += width
            if rng.random() > self._options.abutting:
                gap = float(rng.uniform(1.5, 7.0))
                self._gap(frontage, x, gap, y)
                x += gap
                setback, eaves = float(rng.uniform(0.8, 4.5)), float(rng.uniform(5.5, 11.0))

    def _house(self, T_street_front: FloatArray, width: float, eaves: float) -> None:
        rng, options, depth = self._rng, self._options, float(self._rng.uniform(8.0, 11.0))
        is_flat = rng.random() < 0.3
        ridge = eaves if is_flat else min(14.0, eaves + float(rng.uniform(0.25, 0.42)) * depth)
        number = len(self._buildings) + 1
        building = Building(number, T_street_front, width, depth, eaves, ridge)
        window = self._windows[rng.integers(len(self._windows))]
        size, px_per_m = (width, eaves - GROUND_M), options.texture_px_per_m
        front, wall, colour = paint_facade(rng, size, options.style, window, px_per_m)
        blind = wall(rng, repeating_px(px_per_m * _BLIND_M[0]), px_per_m, colour)
        side = self._palette.add(texture.to_image(blind), True)
        roof = np.array([70.0, 85, 150]) if rng.random() < 0.6 else np.array([85.0, 80, 78])
        blue, green, red = roof * rng.uniform(0.7, 1.3) / 200
        finish = Finish(
            front=Paint(self._palette.add(front, False)),
            wall=Paint(side, _BLIND_M),
            roof=self._palette.tinted("tiles", (blue, green, red)),
            trim=Paint(side, _BLIND_M, (0.7, 0.7, 0.75)),
        )
        self._buildings.append(building)
        add_building(self._builder, building, finish, self._object(classes.BUILDING, number))

    def _gap(self, frontage: Frontage, x: float, gap: float, y: float) -> None:
        """Close a gap between houses by a hedge or a fence, or leave it open."""
        choice, height = self._rng.random(), float(self._rng.uniform(0.9, 1.8))
        low, high = (x, y + 0.5, GROUND_M), (x + gap, y + 0.9, height)
        if choice < 0.45:
            hedge = self._object(classes.VEGETATION)
            self._builder.box(low, high, frontage.T_street_kerb, self._paints["leaves"], hedge)
        elif choice < 0.75:
            wood = self._palette.tinted("bark", (1.3, 1.3, 1.3))
            self._builder.box(low, high, frontage.T_street_kerb, wood, self._object(classes.FENCE))

    def _close_view(self, end: FloatArray, before: FloatArray) -> None:
        """Put houses across the end of the road, or a hedge with trees."""
        out = (end - before) / np.linalg.norm(end - before)
        R = np.column_stack([[out[1], -out[0], 0.0], [*out, 0.0], [0.0, 0.0, 1.0]])
        T = transforms.rigid(R, [*(end + out * (BEYOND_M + 6.0)), 0.0])
        T = T @ transforms.rigid(np.eye(3), [-_END_WIDTH_M / 2, 0.0, 0.0])
        if self._rng.random() < 0.5:
            self._row(Frontage(T, _END_WIDTH_M, (0.0, _END_WIDTH_M)))
            return
        low, high = (0.0, 3.0, GROUND_M), (_END_WIDTH_M, 4.0, 2.2)
        hedge = self._object(classes.VEGETATION)
        self._builder.box(low, high, T, self._paints["leaves"], hedge)
        for x in np.arange(2.0, _END_WIDTH_M, 4.0):
            self._tree(T, x, float(self._rng.uniform(4.0, 8.0)), GROUND_M)

    # --------------------------------------------------------------------------------- furniture

    def _furniture(self, frontage: Frontage) -> None:
        """Put trees, lamp posts and parked cars along a frontage."""
        rng, T, options = self._rng, frontage.T_street_kerb, self._options
        for x in _scatter(rng, frontage.length_m, options.trees_per_100m / 100.0, 5.0):
            self._tree(T, x, float(rng.uniform(0.6, 0.9)), _KERB_M)
        for x in np.arange(float(rng.uniform(4, 20)), frontage.length_m, 28.0):
            at = transforms.rigid(np.eye(3), [x, 0.35, _KERB_M])
            props.add_lamp(
                self._builder, T @ at, self._paints["metal"], self._object(classes.POLE)
            )
        for x in _scatter(rng, frontage.length_m - 8.0, options.parked_per_100m / 100.0, 5.6):
            flip = np.diag([-1.0, -1.0, 1.0]) if rng.random() < 0.2 else np.eye(3)
            at = transforms.rigid(flip, [x + 4.0, -1.05 + float(rng.normal(0, 0.07)), 0.0])
            props.add_car(self._builder, rng, T @ at, self._paints, self._object(classes.CAR))

    def _tree(self, T: FloatArray, x: float, y: float, z: float) -> None:
        foot = transforms.apply(T, np.array([[x, y, z]]))[0]
        tint = self._rng.uniform(0.8, 1.5) + self._rng.normal(0, 0.08, 3)
        foliage = self._palette.tinted("leaves", (float(tint[0]), float(tint[1]), float(tint[2])))
        tree = self._object(classes.VEGETATION)
        props.add_tree(self._builder, self._rng, foot, (self._paints["bark"], foliage), tree)

    def _mover(self, k: int) -> Mover:
        builder = SceneBuilder()
        rng = np.random.default_rng([self._options.seed, 22, k])
        props.add_car(builder, rng, np.eye(4), self._paints, self._object(classes.CAR))
        return Mover(builder.build(), props.CAR_RADIUS_M)


def _scatter(rng: np.random.Generator, length: float, per_m: float, apart: float) -> list[float]:
    """Return about `per_m` places per metre of a length, at least `apart` from each other."""
    places: list[float] = []
    x = 0.0
    while per_m > 0:
        x += apart + float(rng.exponential(max(1e-3, 1.0 / per_m - apart)))
        if x >= length:
            break
        places.append(x)
    return places
