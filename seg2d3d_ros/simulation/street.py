"""The world: a street with houses on both sides and what stands between them and the road."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.simulation import props, texture
from seg2d3d_ros.simulation.atlas import Atlas
from seg2d3d_ros.simulation.building import GROUND_M, Building, Finish, add_building
from seg2d3d_ros.simulation.facade import WindowStyle, draw_window_style, paint_facade
from seg2d3d_ros.simulation.options import SimulationOptions
from seg2d3d_ros.simulation.render import Mover
from seg2d3d_ros.simulation.route import Centerline
from seg2d3d_ros.simulation.scene import Paint, Scene, SceneBuilder
from seg2d3d_ros.types import FloatArray

ROAD, SIDEWALK, BUILDING, FENCE, POLE, VEGETATION, TERRAIN, SKY, CAR = 7, 8, 11, 13, 17, 21, 22, 23, 26
HALF_ROAD_M = 4.6
SIDEWALK_M = 2.0
_KERB_M = 0.12
_BEYOND_M = 28.0
_CORNER_ROOM_M = 19.0
_FACADE_PX_PER_M = 40.0


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


@dataclass(frozen=True)
class Frontage:
    """One side of one straight piece of road.

    Attributes:
        T_street_kerb: (4, 4) frame at its start on the kerb: x along the kerb, y away from the road, z up.
        length_m: Length of the sidewalk.
        lots_m: (from, to) along x where buildings may stand.
    """

    T_street_kerb: FloatArray
    length_m: float
    lots_m: tuple[float, float]


def build_street(options: SimulationOptions, line: Centerline) -> Street:
    """Build the street around a centre line."""
    return _StreetBuilder(options, line).build()


def frontages(line: Centerline) -> list[Frontage]:
    """Return the two sides of every piece of road: shorter inside of bends, longer outside."""
    nodes = line.nodes
    n = len(nodes)
    pieces = [(nodes[i], nodes[(i + 1) % n]) for i in range(n if line.is_closed else n - 1)]
    heading = [(b - a) / np.linalg.norm(b - a) for a, b in pieces]
    found = []
    for i, (a, b) in enumerate(pieces):
        has_before, has_after = line.is_closed or i > 0, line.is_closed or i + 1 < len(pieces)
        before = float(np.cross(heading[i - 1], heading[i])) if has_before else 0.0
        after = float(np.cross(heading[i], heading[(i + 1) % len(pieces)])) if has_after else 0.0
        for side in (1.0, -1.0):
            start, lot_start = _end(before * side, has_before, is_start=True)
            stop, lot_stop = _end(after * side, has_after, is_start=False)
            length = float(np.linalg.norm(b - a))
            left = np.array([-heading[i][1], heading[i][0]])
            along = (-start, length + stop)
            lots = (-lot_start, length + lot_stop)
            if side < 0:
                along, lots = (length - along[1], length - along[0]), (length - lots[1], length - lots[0])
            origin, x = (a, heading[i]) if side > 0 else (b, -heading[i])
            corner = origin + x * along[0] + side * left * HALF_ROAD_M
            R = np.column_stack([[*x, 0.0], [*(side * left), 0.0], [0.0, 0.0, 1.0]])
            T = transforms.rigid(R, [*corner, 0.0])
            found.append(Frontage(T, along[1] - along[0], (lots[0] - along[0], lots[1] - along[0])))
    return found


def _end(bend: float, is_joined: bool, is_start: bool) -> tuple[float, float]:
    """Return by how much sidewalk and lots reach beyond a node: negative inside a bend (bend > 0)."""
    if not is_joined:
        return _BEYOND_M, _BEYOND_M
    if bend > 0:
        return (-HALF_ROAD_M - (SIDEWALK_M if is_start else 0.0)), -HALF_ROAD_M - (_CORNER_ROOM_M if is_start else 3.0)
    if is_start:
        return HALF_ROAD_M, HALF_ROAD_M + 1.0
    return HALF_ROAD_M + SIDEWALK_M, HALF_ROAD_M + 15.0


class _StreetBuilder:
    """Collects textures, surfaces and objects while the street is laid out."""

    def __init__(self, options: SimulationOptions, line: Centerline) -> None:
        self._options = options
        self._line = line
        self._rng = np.random.default_rng([options.seed, 21])
        self._textures: list[tuple[texture.Image, bool]] = []
        self._builder = SceneBuilder()
        self._class_of: list[int] = [0]
        self._building_of: list[int] = [0]
        self._buildings: list[Building] = []
        self._paints = self._common_paints()
        self._windows: list[WindowStyle] = [draw_window_style(self._rng) for _ in range(4)]

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
            self._builder.build(), movers, Atlas(self._textures), tuple(self._buildings),
            np.array(self._class_of), np.array(self._building_of),
        )  # fmt: skip

    def _object(self, class_id: int, building: int = 0) -> int:
        self._class_of.append(class_id)
        self._building_of.append(building)
        return len(self._class_of) - 1

    def _texture(self, image: texture.Image, repeats: bool) -> int:
        self._textures.append((image, repeats))
        return len(self._textures) - 1

    def _common_paints(self) -> dict[str, Paint]:
        rng, square = self._rng, (512, 512)
        plain = self._texture(np.full((8, 8, 3), 255, np.uint8), True)
        images = {
            "asphalt": (texture.asphalt(rng, (1024, 1024)), 16.0),
            "paving": (texture.paving(rng, square, 8), 4.0),
            "grass": (texture.grass(rng, square), 7.0),
            "bark": (texture.bark(rng, (128, 128)), 1.0),
            "clouds": (texture.clouds(rng, square), 3000.0),
            "tiles": (texture.tiles(rng, square, 16), 4.0),
            "leaves": (texture.leaves(rng, (256, 256)), 1.6),
            "car": (texture.to_image(texture.grain(rng, (128, 128), np.full(3, 225.0), 0.02)), 2.0),
        }
        paints = {name: Paint(self._texture(image, True), (size, size)) for name, (image, size) in images.items()}
        for name, grey in {"glass": (70, 62, 55), "tyre": (28, 28, 28), "light": (225, 235, 235), "tail": (40, 40, 190), "metal": (95, 100, 100), "line": (225, 228, 228), "iron": (60, 62, 64)}.items():  # fmt: skip
            paints[name] = Paint(plain, (1.0, 1.0), tuple(c / 255 for c in grey))  # type: ignore[arg-type]
        return paints

    # ------------------------------------------------------------------------------------------ ground

    def _ground(self) -> None:
        terrain, sky, road = self._object(TERRAIN), self._object(SKY), self._object(ROAD)
        far, high = 4000.0, 900.0
        self._flat(np.eye(4), (-far, -far, far, far), GROUND_M, self._paints["grass"], terrain)
        clouds = self._paints["clouds"]
        lid = [(-9e4, -9e4, high), (9e4, -9e4, high), (9e4, 9e4, high), (-9e4, 9e4, high)]
        self._builder.quad(lid, Paint(clouds.texture, clouds.size_m, is_lit=False), sky)
        nodes = self._line.nodes
        n = len(nodes)
        for i in range(n if self._line.is_closed else n - 1):
            a, b = nodes[i], nodes[(i + 1) % n]
            x = (b - a) / np.linalg.norm(b - a)
            is_first, is_last = not self._line.is_closed and i == 0, not self._line.is_closed and i == n - 2
            start = -_BEYOND_M - 6 if is_first else HALF_ROAD_M
            stop = float(np.linalg.norm(b - a)) + (_BEYOND_M + 6 if is_last else HALF_ROAD_M)
            T = transforms.rigid(np.column_stack([[*x, 0], [-x[1], x[0], 0], [0, 0, 1]]), [*a, 0.0])
            self._flat(T, (start, -HALF_ROAD_M, stop, HALF_ROAD_M), 0.0, self._paints["asphalt"], road)
            self._markings(T, start, stop, road)

    def _flat(self, T: FloatArray, extent: tuple[float, float, float, float], z: float, paint: Paint, object_id: int) -> None:
        x0, y0, x1, y1 = extent
        corners = np.array([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)])
        self._builder.quad(transforms.apply(T, corners), paint, object_id)

    def _markings(self, T: FloatArray, start: float, stop: float, road: int) -> None:
        for x in np.arange(start + 12.0, stop - 12.0, 6.0):
            self._flat(T, (x, -0.07, x + 3.0, 0.07), 0.005, self._paints["line"], road)
        for x in np.arange(start + 8.0, stop - 4.0, 19.0):
            y = float(self._rng.uniform(-3.0, 3.0))
            x = x + float(self._rng.uniform(0, 9.0))
            self._flat(T, (x, y, x + 0.65, y + 0.65), 0.006, self._paints["iron"], road)

    def _sidewalk(self, frontage: Frontage) -> None:
        walk, T = self._object(SIDEWALK), frontage.T_street_kerb
        low, high = (0.0, 0.0, GROUND_M), (frontage.length_m, SIDEWALK_M, _KERB_M)
        self._builder.box(low, high, T, self._paints["paving"], walk)

    # --------------------------------------------------------------------------------------- buildings

    def _row(self, frontage: Frontage) -> None:
        rng = self._rng
        x, stop = frontage.lots_m
        setback = float(rng.uniform(0.8, 3.5))
        eaves = float(rng.uniform(6.0, 11.0))
        while x < stop - 7.0:
            width = min(float(rng.uniform(7.0, 15.0)), stop - x)
            eaves = float(np.clip(eaves + rng.normal(0, 1.5), 5.0, 11.5))
            step = float(rng.choice([0.0, rng.uniform(-0.6, 0.6)]))
            y = SIDEWALK_M + max(0.3, setback + step)
            self._house(transforms.rigid(np.eye(3), [x, y, 0.0]), frontage.T_street_kerb, width, eaves)
            x += width
            if rng.random() > self._options.abutting:
                gap = float(rng.uniform(1.5, 7.0))
                self._gap(frontage, x, gap, y)
                x += gap
                setback = float(rng.uniform(0.8, 4.5))
                eaves = float(rng.uniform(5.5, 11.0))

    def _house(self, T_kerb_front: FloatArray, T_street_kerb: FloatArray, width: float, eaves: float) -> None:
        rng, depth = self._rng, float(self._rng.uniform(8.0, 11.0))
        ridge = eaves if rng.random() < 0.3 else eaves + float(rng.uniform(0.25, 0.42)) * depth
        building = Building(
            len(self._buildings) + 1, T_street_kerb @ T_kerb_front, width, depth, eaves, min(ridge, 14.0)
        )
        window = self._windows[rng.integers(len(self._windows))]
        size = (width, eaves - GROUND_M)
        front, wall, colour = paint_facade(rng, size, self._options.style, window, _FACADE_PX_PER_M)
        side = texture.to_image(wall(rng, (256, 256), 42.7, colour))
        red = np.array([70.0, 85, 150]) if rng.random() < 0.6 else np.array([85.0, 80, 78])
        tint = tuple(float(v) for v in red * rng.uniform(0.7, 1.3) / 200)
        tiles = self._paints["tiles"]
        wall_paint = Paint(self._texture(side, True), (6.0, 6.0))
        finish = Finish(
            front=Paint(self._texture(front, False)),
            wall=wall_paint,
            roof=Paint(tiles.texture, tiles.size_m, tint),  # type: ignore[arg-type]
            trim=Paint(wall_paint.texture, (6.0, 6.0), (0.7, 0.7, 0.75)),
        )
        self._buildings.append(building)
        add_building(self._builder, building, finish, self._object(BUILDING, building.id))

    def _gap(self, frontage: Frontage, x: float, gap: float, y: float) -> None:
        """Close a gap between houses by a hedge, a fence, or leave it open."""
        choice = self._rng.random()
        low, high = (x, y + 0.5, GROUND_M), (x + gap, y + 0.9, float(self._rng.uniform(0.9, 1.8)))
        if choice < 0.45:
            leaves = self._paints["leaves"]
            paint = Paint(leaves.texture, leaves.size_m, (0.9, 0.9, 0.9))
            self._builder.box(low, high, frontage.T_street_kerb, paint, self._object(VEGETATION))
        elif choice < 0.75:
            paint = Paint(self._paints["bark"].texture, (0.9, 0.9), (1.3, 1.3, 1.3))
            self._builder.box(low, high, frontage.T_street_kerb, paint, self._object(FENCE))

    def _close_view(self, end: FloatArray, before: FloatArray) -> None:
        """Put a row of houses across the end of the road."""
        out = (end - before) / np.linalg.norm(end - before)
        x = np.array([out[1], -out[0]])
        R = np.column_stack([[*x, 0.0], [*out, 0.0], [0.0, 0.0, 1.0]])
        origin = end + out * (_BEYOND_M + 6.0) - x * 24.0
        self._row(Frontage(transforms.rigid(R, [*origin, 0.0]), 48.0, (0.0, 48.0)))

    # --------------------------------------------------------------------------------------- furniture

    def _furniture(self, frontage: Frontage) -> None:
        rng, T = self._rng, frontage.T_street_kerb
        per_m = self._options.trees_per_100m / 100.0
        for x in _scatter(rng, frontage.length_m, per_m, 5.0):
            foot = transforms.apply(T, np.array([[x, float(rng.uniform(0.6, 0.9)), _KERB_M]]))[0]
            leaves = self._paints["leaves"]
            tint = tuple(float(v) for v in np.array([1.0, 1.0, 1.0]) * rng.uniform(0.8, 1.5) + rng.normal(0, 0.08, 3))
            foliage = Paint(leaves.texture, leaves.size_m, tint)  # type: ignore[arg-type]
            props.add_tree(self._builder, rng, foot, self._paints["bark"], foliage, self._object(VEGETATION))
        for x in np.arange(float(rng.uniform(4, 20)), frontage.length_m, 28.0):
            at = transforms.rigid(np.eye(3), [x, 0.35, _KERB_M])
            props.add_lamp(self._builder, T @ at, self._paints["metal"], self._object(POLE))
        for x in _scatter(rng, frontage.length_m - 8.0, self._options.parked_per_100m / 100.0, 5.6):
            flip = np.diag([-1.0, -1.0, 1.0]) if rng.random() < 0.2 else np.eye(3)
            at = transforms.rigid(flip, [x + 4.0, -1.05 + float(rng.normal(0, 0.07)), 0.0])
            props.add_car(self._builder, rng, T @ at, self._paints, self._object(CAR))

    def _mover(self, k: int) -> Mover:
        builder = SceneBuilder()
        rng = np.random.default_rng([self._options.seed, 22, k])
        props.add_car(builder, rng, np.eye(4), self._paints, self._object(CAR))
        return Mover(builder.build(), props.CAR_RADIUS_M)


def _scatter(rng: np.random.Generator, length: float, per_m: float, apart: float) -> list[float]:
    """Return places along a length, at least `apart` from each other, about `per_m` of them per metre."""
    places: list[float] = []
    x = 0.0
    while per_m > 0:
        x += apart + float(rng.exponential(max(1e-3, 1.0 / per_m - apart)))
        if x >= length:
            break
        places.append(x)
    return places
