"""The planes of buildings: upright walls through their measured points, and roofs behind these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from seg2d3d_ros.mapping.columns import Columns
from seg2d3d_ros.mapping.surface.lines import Line, Scatter, find_headed_line, find_line
from seg2d3d_ros.mapping.surface.plane_sweep import SweptWall
from seg2d3d_ros.types import FloatArray

CELL_M = 0.4
_INLIER_M = 0.2
_MAX_PLANES = 6
_MIN_AREA_M2 = 3.0
# Four landmarks tell where a wall stands whose direction is known, and masks how far it goes.
_MIN_HEADED_AREA_M2 = 0.5
_MIN_WALL_SHARE = 0.08
_MIN_ROOF_SHARE = 0.03
# Walls stand at right angles, but for one as large as this share of the largest.
_MAX_SKEW = float(np.sin(np.deg2rad(12.0)))
_SKEWED_SHARE = 0.3
# A roof rises behind its wall, by so much a metre, and goes back so far; it begins at the top.
_ROOF_SLOPES = (0.25, 1.5)
_ROOF_DEPTH_M = (0.3, 12.0)
_EAVES_QUANTILE = 0.8
# What lies in finer voxels than this tells the direction of a wall, too.
_FINE_EDGE_M = 0.7
_FINE_CELLS = 20
_TRACK_AREA_M2 = 0.16
# What scatters more draws no wall by itself, nor beside walls that tracks show, and fewer points
# draw no further wall: they are leaves before it, and what errs along its rays.
BLURRED_EDGE_M = 1.5
_FEW_POINTS = 8
_MIN_NEIGHBOURS = 3
_MIN_COSINE = 0.1
_CORNER_COSINE = 0.3
_CORNER_SHARE = 0.8


@dataclass(frozen=True)
class MeasuredSurface(Columns):
    """Measured points of one building, n of them.

    Attributes:
        points: (n, 3) metres, z up.
        edge_m: (n,) edges of the voxels they stand for: twice what they scatter.
        area_m2: (n,) surface that each stands for.
        toward: (n, 3) mean directions to those who measured them.
    """

    points: FloatArray
    edge_m: FloatArray
    area_m2: FloatArray
    toward: FloatArray

    @property
    def reach_m(self) -> FloatArray:
        """Return how far each may lie off its plane (n,)."""
        return np.maximum(_INLIER_M, self.edge_m / 2.0)

    def is_faced(self, normal: FloatArray, offset_m: float) -> bool:
        """Return whether those who measured a plane looked at it and not along it."""
        near = self.take(self.near(normal, offset_m))
        cosine = np.abs(near.toward @ normal)
        return float(np.average(cosine, weights=near.area_m2)) > _MIN_COSINE

    def is_doubtful(self, normal: FloatArray, offset_m: float, may_blur: bool) -> bool:
        """Return whether few points lie near a plane, or such as scatter along their rays."""
        edge = self.edge_m[self.near(normal, offset_m)]
        is_blurred = bool(len(edge)) and float(np.median(edge)) >= BLURRED_EDGE_M
        return len(edge) < _FEW_POINTS or (is_blurred and not may_blur)

    def near(self, normal: FloatArray, offset_m: float) -> np.ndarray:
        """Return which points (n,) lie near a plane."""
        return np.abs(self.points @ normal - offset_m) < self.reach_m

    def without(self, normal: FloatArray, offset_m: float) -> MeasuredSurface:
        """Return what does not lie near a plane, nor a little farther off."""
        return self.take(np.abs(self.points @ normal - offset_m) >= 2.0 * self.reach_m)


@dataclass(frozen=True)
class Facade:
    """A plane n . X = d and its cells of 0.4 m: those that hold points, and those around them.

    Attributes:
        normal: (3,) unit, n, towards those who saw it; horizontal for a wall.
        offset_m: d.
        sigma_m: Root mean square distance of the points it was found in.
        axes: (2, 3) unit, along the ground and up the plane.
        start_m: (2,) where the cells begin along these axes.
        measured: (a, h) bool, cells that hold points.
        dense: (a, h) bool, those of them among their like.
        cells: (a, h) bool, all cells within reach of measured ones.
        is_fine: Whether its points tell its direction by themselves.
        is_guess: Whether nothing was measured on it: masks tell whether it stands at all.
    """

    normal: FloatArray
    offset_m: float
    sigma_m: float
    axes: FloatArray
    start_m: FloatArray
    measured: np.ndarray
    dense: np.ndarray
    cells: np.ndarray
    is_fine: bool
    is_guess: bool = False

    @staticmethod
    def unmeasured(
        normal_xy: FloatArray,
        offset_m: float,
        sigma_m: float,
        start_m: FloatArray,
        size_m: FloatArray,
    ) -> Facade:
        """Return a wall on which nothing was measured.

        Args:
            normal_xy: (2,) unit.
            offset_m: As of every facade.
            sigma_m: How well that is known.
            start_m: (2,) where its cells begin, along the ground and up.
            size_m: (2,) how far they go.
        """
        cells = np.ones(np.ceil(size_m / CELL_M).astype(np.int64), dtype=bool)
        along = np.array([-normal_xy[1], normal_xy[0], 0.0])
        return Facade(
            normal=np.array([*normal_xy, 0.0]),
            offset_m=offset_m,
            sigma_m=sigma_m,
            axes=np.stack([along, [0.0, 0.0, 1.0]]),
            start_m=start_m,
            measured=~cells,
            dense=~cells,
            cells=cells,
            is_fine=False,
        )

    @property
    def is_wall(self) -> bool:
        """Return whether it stands upright."""
        return float(self.normal[2]) == 0.0

    @property
    def heading_rad(self) -> float:
        """Return the angle of the normal in the plan."""
        return float(np.arctan2(self.normal[1], self.normal[0]))

    def centers(self, some: np.ndarray | None = None) -> FloatArray:
        """Return the centres (n, 3) of all cells, or of some (a, h), row by row."""
        cells = self.cells if some is None else some
        at = self.start_m + (np.argwhere(cells) + 0.5) * CELL_M
        centers: FloatArray = self.offset_m * self.normal + at @ self.axes
        return centers


def among_like(cells: np.ndarray) -> np.ndarray:
    """Return which of cells (a, h) bool have three of their like or more around them."""
    around = cv2.boxFilter(
        cells.astype(np.uint8), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    return np.asarray(cells & (around > _MIN_NEIGHBOURS))


@dataclass(frozen=True)
class Hints:
    """What is known of a building's walls beside its measured points.

    Attributes:
        heading_rad: Angle of a wall's normal in the plan, up to right angles, where it is known.
        swept: Walls that are known by its tracks.
        on_edges: Walls that are known by the side edges of its masks.
    """

    heading_rad: float | None = None
    swept: Sequence[SweptWall] = ()
    on_edges: Sequence[Facade] = ()


def find_facades(
    surface: MeasuredSurface, reach_m: float, seed: int, hints: Hints | None = None
) -> list[Facade]:
    """Find the planes that the measured points of one building lie on, largest first.

    A wall is a line in the plan, a roof one in the profile across a wall, among what lies behind
    it. Of the best wall and the best roofs the largest is taken, its points are taken away, and so
    on.

    Args:
        surface: Of the building.
        reach_m: How far beyond its points a plane may still go on.
        seed: Of the random choice.
        hints: Of its walls.
    """
    hints = hints or Hints()
    swept, heading_rad = hints.swept, hints.heading_rad
    rng = np.random.default_rng(seed)
    total = float(surface.area_m2.sum())
    is_open = heading_rad is not None and not swept and not hints.on_edges
    least_wall = max(_MIN_HEADED_AREA_M2 if is_open else _MIN_AREA_M2, _MIN_WALL_SHARE * total)
    least_roof = max(_MIN_AREA_M2, _MIN_ROOF_SHARE * total)
    found = [_make_swept(wall, surface, reach_m) for wall in swept] + list(hints.on_edges)
    largest_m2 = max((float(_joined(w, surface).area_m2.sum()) for w in swept), default=0.0)
    rest = surface
    for known in found:
        rest = rest.without(known.normal, known.offset_m)
    while len(found) < _MAX_PLANES:
        walls = [f for f in found if f.is_wall]
        planes = [_find_wall(rest, least_wall, rng, heading_rad)]
        planes += [_find_roof(surface, rest, wall, least_roof, rng) for wall in walls]
        best = max((p for p in planes if p is not None), key=lambda p: p[0], default=None)
        if best is None:
            break
        area, normal, offset = best
        largest_m2 = largest_m2 or area
        is_small = area < _SKEWED_SHARE * largest_m2
        is_odd = bool(walls) and is_small and _is_skewed(normal, walls[0])
        is_further = bool(walls) and normal[2] == 0.0
        is_doubtful = is_further and rest.is_doubtful(normal, offset, may_blur=not swept)
        if rest.is_faced(normal, offset) and not (is_odd or is_doubtful):
            found.append(_make_facade(rest, normal, offset, reach_m))
        rest = rest.without(normal, offset)
    return [_end_at_corners(f, found) for f in found]


def _make_swept(wall: SweptWall, surface: MeasuredSurface, reach_m: float) -> Facade:
    facade = _make_facade(_joined(wall, surface), wall.normal, wall.offset_m, reach_m)
    return replace(facade, sigma_m=max(facade.sigma_m, wall.sigma_m))


def _joined(wall: SweptWall, surface: MeasuredSurface) -> MeasuredSurface:
    """Return the tracks on a wall, and what was measured near it."""
    num = len(wall.points)
    edge_m, area_m2 = np.full(num, 2.0 * _INLIER_M), np.full(num, _TRACK_AREA_M2)
    tracks = MeasuredSurface(wall.points, edge_m, area_m2, wall.toward)
    return MeasuredSurface.joined([tracks, surface.take(surface.near(wall.normal, wall.offset_m))])


_Plane = tuple[float, FloatArray, float]


def _find_wall(
    rest: MeasuredSurface, least_m2: float, rng: np.random.Generator, heading_rad: float | None
) -> _Plane | None:
    scatter = Scatter(rest.points[:, :2], rest.reach_m, rest.area_m2)
    if heading_rad is None:
        line = find_line(scatter, least_m2, rng)
    else:
        line = find_headed_line(scatter, rest.toward[:, :2], heading_rad, least_m2)
    return None if line is None else (line.area_m2, np.append(line.normal, 0.0), line.offset_m)


def _find_roof(
    surface: MeasuredSurface,
    rest: MeasuredSurface,
    wall: Facade,
    least_m2: float,
    rng: np.random.Generator,
) -> _Plane | None:
    """Find a roof that begins at the top of a wall and rises behind it."""
    depth = wall.offset_m - rest.points @ wall.normal
    some = np.flatnonzero((depth > _ROOF_DEPTH_M[0]) & (depth < _ROOF_DEPTH_M[1]))
    profile = np.stack([depth[some], rest.points[some, 2]], axis=1)
    scatter = Scatter(profile, rest.reach_m[some], rest.area_m2[some])
    line: Line | None = find_line(scatter, least_m2, rng, slopes=_ROOF_SLOPES)
    if line is None:
        return None
    heights = surface.points[surface.near(wall.normal, wall.offset_m), 2]
    across, up = line.normal
    if not len(heights) or line.offset_m / up < np.quantile(heights, _EAVES_QUANTILE):
        return None
    normal = np.array([0.0, 0.0, up]) - across * wall.normal
    return line.area_m2, normal, line.offset_m - across * wall.offset_m


def _end_at_corners(facade: Facade, walls: Sequence[Facade]) -> Facade:
    """Take away the cells in front of walls with which a wall has a corner that stands out."""
    cells = facade.cells.copy()
    for wall in walls:
        if _have_corner(facade, wall):
            beyond = np.zeros_like(cells)
            beyond[facade.cells] = _in_front(wall, facade, facade.cells) > CELL_M
            cells &= ~beyond | facade.dense
    return replace(facade, cells=cells)


def _have_corner(a: Facade, b: Facade) -> bool:
    """Return whether two walls lie each behind the other; where a house steps back they do not.

    Of a wall on the edge of masks, where nothing was measured, the other one tells alone.
    """
    if not (a.is_wall and b.is_wall) or abs(float(a.normal @ b.normal)) > _CORNER_COSINE:
        return False
    sides = [_in_front(a, b, b.dense)]
    if a.measured.any():
        sides.append(_in_front(b, a, a.dense))
    return all(len(x) and float(np.mean(x < CELL_M)) > _CORNER_SHARE for x in sides)


def _in_front(wall: Facade, other: Facade, cells: np.ndarray) -> FloatArray:
    """Return how far cells (a, h) of another wall stand in front of a wall, (n,)."""
    distance: FloatArray = other.centers(cells) @ wall.normal - wall.offset_m
    return distance


def _is_skewed(normal: FloatArray, wall: Facade) -> bool:
    """Return whether a wall stands neither along nor across another; roofs never do."""
    cosine = abs(float(normal @ wall.normal))
    sine = float(np.sqrt(max(0.0, 1.0 - cosine**2)))
    return normal[2] == 0.0 and min(cosine, sine) > _MAX_SKEW


def _make_facade(
    surface: MeasuredSurface, normal: FloatArray, offset: float, reach_m: float
) -> Facade:
    """Make the facade of the points near a plane, facing those who measured them."""
    near = surface.take(surface.near(normal, offset))
    if float(near.area_m2 @ (near.toward @ normal)) < 0.0:
        normal, offset = -normal, -offset
    along = np.array([-normal[1], normal[0], 0.0]) / np.linalg.norm(normal[:2])
    up = np.cross(normal, along)
    axes = np.stack([along, up if up[2] > 0.0 else -up])
    at = near.points @ axes.T
    margin = int(np.ceil(reach_m / CELL_M))
    start = at.min(axis=0) - margin * CELL_M
    cell = np.floor((at - start) / CELL_M).astype(np.int64)
    measured = np.zeros(cell.max(axis=0) + 1 + margin, dtype=bool)
    measured[cell[:, 0], cell[:, 1]] = True
    disk = np.hypot(*np.mgrid[-margin : margin + 1, -margin : margin + 1]) <= margin
    around = cv2.dilate(measured.astype(np.uint8), disk.astype(np.uint8))
    order = np.argsort(near.edge_m)
    half = np.searchsorted(np.cumsum(near.area_m2[order]), near.area_m2.sum() / 2.0)
    return Facade(
        normal,
        offset,
        sigma_m=float(np.sqrt(np.mean((near.points @ normal - offset) ** 2))),
        axes=axes,
        start_m=start,
        measured=measured,
        dense=among_like(measured),
        cells=around.astype(bool),
        is_fine=bool(near.edge_m[order][half] < _FINE_EDGE_M and measured.sum() > _FINE_CELLS),
    )
