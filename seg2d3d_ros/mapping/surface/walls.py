"""Walls and roofs of all buildings: planes found, and what the pictures say about their cells."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial import cKDTree

from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.mapping.surface.boxes import SurfaceCells
from seg2d3d_ros.mapping.surface.edge_walls import is_parallel, raise_on_edges
from seg2d3d_ros.mapping.surface.facades import (
    BLURRED_EDGE_M,
    Facade,
    Hints,
    MeasuredSurface,
    find_facades,
)
from seg2d3d_ros.mapping.surface.filling import FacadeFiller
from seg2d3d_ros.mapping.surface.fusion import FusedPoints
from seg2d3d_ros.mapping.surface.gables import guess_gables
from seg2d3d_ros.mapping.surface.plane_sweep import SweptWall, find_heading, sweep_walls
from seg2d3d_ros.mapping.surface.side_edges import EdgeFinder
from seg2d3d_ros.mapping.tracks import Names, TrackFinder, Tracks
from seg2d3d_ros.types import FloatArray, PointCloud

# Landmarks that scatter more tell nothing; no more than this counts of what they do. Their sigma
# is that of rays which miss by a pixel, and they miss by less than half of one.
_MAX_LANDMARK_SIGMA_M = 12.0
_EDGES_PER_SIGMA = 0.8
_LANDMARK_EDGES_M = (0.2, 1.6)
_LANDMARK_AREA_M2 = 0.16
_NEIGHBOUR_M = 40.0
# Of the side edges of masks the nearer one counts.
_EDGE_NEIGHBOUR_M = 60.0
# Tracks show by themselves whether a direction is right, if it comes from farther away.
_SWEPT_NEIGHBOUR_M = 100.0
# Fewer tracks of landmarks are joined by all others in the masks of the building.
_MANY_TRACKS = 40
# Where points are few, masks tell how far a wall goes: so much farther than where it was measured.
_HEADED_REACH = 1.7
# A wall with fewer cells was drawn through a few landmarks: where it does not stand as side edges
# of masks say, they know better.
_STURDY_CELLS = 20
_BESIDE_M, _BESIDE_SIGMAS = 0.5, 4.0


def raise_walls(
    state: MapState,
    measured: FusedPoints,
    landmarks: PointCloud,
    names: Names,
    reach_m: float,
) -> tuple[FusedPoints, SurfaceCells]:
    """Find what buildings are made of beyond what was measured.

    Args:
        state: The map.
        measured: Points fused from depths.
        landmarks: Those of the map with their instances, for where no depth was measured.
        names: What the masks of each picture are called, by (frame, camera).
        reach_m: How far beyond its points a plane may still go on.

    Returns:
        Points where nothing was measured, and the cells of all walls and roofs.
    """
    finder = TrackFinder(state, landmarks, names)
    surfaces = surfaces_of(state, measured, landmarks)
    facades = find_all_facades(surfaces, reach_m, finder, EdgeFinder(state, names))
    for i in facades.keys() & surfaces.keys():
        facades[i] += guess_gables(facades[i], surfaces[i])
    filler = FacadeFiller(state, measured, facades)
    filler.look(state.keyframes, names)
    return filler.filled(), filler.cells()


def surfaces_of(
    state: MapState, measured: FusedPoints, landmarks: PointCloud
) -> dict[int, MeasuredSurface]:
    """Return all points of each instance; landmarks face the keyframe nearest to them.

    Args:
        state: The map.
        measured: Points fused from depths.
        landmarks: Those of the map with their instances.
    """
    usable = (landmarks.instances > 0) & (landmarks.sigma_m < _MAX_LANDMARK_SIGMA_M)
    points = landmarks.points_map[usable]
    path = np.stack([state.frames[k].T_world_base[:3, 3] for k in state.keyframes])
    toward = path[cKDTree(path).query(points)[1]] - points
    toward /= np.maximum(np.linalg.norm(toward, axis=1, keepdims=True), 1e-9)
    scatter = _EDGES_PER_SIGMA * landmarks.sigma_m[usable].astype(np.float64)
    edge = np.clip(scatter, *_LANDMARK_EDGES_M)
    fused = MeasuredSurface(measured.points, measured.edge_m, measured.edge_m**2, measured.toward)
    sparse = MeasuredSurface(points, edge, np.full(len(points), _LANDMARK_AREA_M2), toward)
    surface = MeasuredSurface.joined([fused, sparse])
    owner = np.concatenate([measured.instances, landmarks.instances[usable].astype(np.int64)])
    order = np.argsort(owner, kind="stable")
    ids, first = np.unique(owner[order], return_index=True)
    groups = np.split(order, first[1:]) if len(ids) else []
    return {int(i): surface.take(r) for i, r in zip(ids, groups, strict=True) if i > 0}


def find_all_facades(
    surfaces: Mapping[int, MeasuredSurface],
    reach_m: float,
    tracks: TrackFinder,
    edges: EdgeFinder | None = None,
) -> dict[int, list[Facade]]:
    """Find the planes of all buildings, by instance.

    Points far away scatter along the rays and tell little of a wall's direction: such walls take
    it from the nearest building whose walls are well known, up to right angles. Where they stand
    is swept for in the tracks of the building; else few points are enough, within 40 m of that
    neighbour. More is left to the masks then: such a plane may go on farther. Without any such
    neighbour the tracks of all those buildings together tell the direction. Walls that neither
    tracks nor more than a few landmarks show, of whatever has masks, stand on their side edges.

    Args:
        surfaces: Measured points by instance.
        reach_m: How far beyond its points a plane may still go on.
        tracks: Finds those of each building.
        edges: Finds where masks end.
    """
    found = {i: find_facades(s, reach_m, seed=i) for i, s in surfaces.items()}
    sure = _Sure(surfaces, found)
    unsure = sorted(surfaces.keys() - set(sure.ids))
    neighbours = {i: sure.nearest(surfaces[i].points[:, :2].mean(axis=0)) for i in unsure}
    near = {i for i, (distance, _) in neighbours.items() if distance < _NEIGHBOUR_M}
    asked = {i: h for i, (distance, h) in neighbours.items() if distance < _SWEPT_NEIGHBOUR_M}
    swept = _sweep_all(tracks, asked)
    lone = tracks.by_landmark([i for i in unsure if i not in asked])
    together = _headings_together(lone)
    asked |= together
    swept |= {i: sweep_walls(lone[i], heading) for i, heading in together.items()}
    for i in unsure:
        surface, walls = surfaces[i], swept.get(i, [])
        if walls or i in near:
            found[i] = find_facades(surface, _HEADED_REACH * reach_m, i, Hints(asked[i], walls))
        elif i in together or float(np.median(surface.edge_m)) >= BLURRED_EDGE_M:
            found[i] = []
    if edges is not None:
        _stand_on_edges(found, edges, surfaces, swept, reach_m)
    return found


class _Sure:
    """Buildings whose first wall tells its direction by itself; others ask the nearest of them."""

    def __init__(
        self, surfaces: Mapping[int, MeasuredSurface], found: Mapping[int, list[Facade]]
    ) -> None:
        self.ids = [i for i, some in found.items() if some and some[0].is_fine]
        self._headings = [found[i][0].heading_rad for i in self.ids]
        places = [surfaces[i].points[:, :2].mean(axis=0) for i in self.ids]
        self._tree = cKDTree(np.reshape(places, (-1, 2)))

    def nearest(self, xy: FloatArray) -> tuple[float, float]:
        """Return how far from a place (2,) the nearest one is, infinite without any; its heading.

        The heading is the angle of the normal of its first wall.
        """
        distance, k = self._tree.query(xy)
        return float(distance), self._headings[int(k)] if self.ids else 0.0


def _stand_on_edges(
    found: dict[int, list[Facade]],
    edges: EdgeFinder,
    surfaces: Mapping[int, MeasuredSurface],
    swept: Mapping[int, list[SweptWall]],
    reach_m: float,
) -> None:
    """Add walls on side edges to buildings that have none along them which is known better."""
    for i, (heading, standing) in sorted(_walls_on_edges(edges, _Sure(surfaces, found)).items()):
        tracked, own = swept.get(i, []), found.get(i, [])
        new = []
        for wall in standing:
            known = [f for k, f in enumerate(own) if k < len(tracked) or _is_surer(f, wall)]
            if not is_parallel(wall.normal, known):
                new.append(wall)
        if new and i in surfaces:
            hints = Hints(heading, tracked, new)
            found[i] = find_facades(surfaces[i], _HEADED_REACH * reach_m, i, hints)
        elif new:
            found[i] = new


def _is_surer(own: Facade, standing: Facade) -> bool:
    """Return whether a wall has many cells, or few where one on an edge says that it stands."""
    beside = abs(float(np.mean(standing.centers() @ own.normal)) - own.offset_m)
    within = max(_BESIDE_M, _BESIDE_SIGMAS * standing.sigma_m)
    return bool(own.measured.sum() >= _STURDY_CELLS or beside < within)


def _walls_on_edges(edges: EdgeFinder, sure: _Sure) -> dict[int, tuple[float, list[Facade]]]:
    """Return the direction of a sure building nearby, and the walls of that on side edges."""
    out = {}
    for i, some in edges.beside(sure.ids).items() if sure.ids else ():
        distance, heading = min(sure.nearest(e.xy) for e in some)
        walls = raise_on_edges(some, heading) if distance < _EDGE_NEIGHBOUR_M else []
        if walls:
            out[i] = heading, walls
    return out


def _headings_together(tracks: Mapping[int, Tracks]) -> dict[int, float]:
    """Return the direction of each building, of which all have much the same."""
    common = find_heading(list(tracks.values()))
    if common is None:
        return {}
    own = {i: find_heading([t], common) for i, t in tracks.items()}
    return {i: common if h is None else h for i, h in own.items()}


def _sweep_all(tracks: TrackFinder, headings: Mapping[int, float]) -> dict[int, list[SweptWall]]:
    """Return the walls that tracks of landmarks show, or, of few, all tracks in the masks."""
    swept: dict[int, list[SweptWall]] = {}
    for i, own in tracks.by_landmark(headings).items():
        if len(own.first) >= _MANY_TRACKS:
            swept[i] = sweep_walls(own, headings[i])
    for i, own in tracks.by_mask([i for i in headings if not swept.get(i)]).items():
        swept[i] = sweep_walls(own, headings[i])
    return swept
