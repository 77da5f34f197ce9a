"""Points on drawn houses that the pictures have seen, and their outlines from above."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.cameras import project
from seg2d3d_ros.simulation.drawn.drawing import Drawing, Facade, Stretch
from seg2d3d_ros.simulation.samples import SPACING_M
from seg2d3d_ros.types import Camera, FloatArray

_WALL_M = 0.3


class DrawnSamples:
    """A lattice of points on walls and roofs; those that some picture saw are kept."""

    def __init__(self, drawing: Drawing) -> None:
        """Lay the lattice."""
        parts = [
            (_lattice(facade, stretch), stretch.house)
            for facade in drawing.facades
            for stretch in facade.stretches
            if stretch.house
        ]
        self._points = np.concatenate([np.zeros((0, 3)), *(p for p, _ in parts)])
        self._house = np.concatenate(
            [np.zeros(0, np.int64), *(np.full(len(p), h, np.int64) for p, h in parts)]
        )
        self._seen = np.zeros(len(self._points), bool)

    def see(self, house: NDArray[np.int64], camera: Camera, T_map_cam: FloatArray) -> None:
        """Mark what a picture shows, given the house (h, w) under every pixel."""
        left = np.flatnonzero(~self._seen)
        points_cam = transforms.apply(transforms.invert(T_map_cam), self._points[left])
        uv_px, is_inside = project(camera, points_cam)
        left = left[is_inside]
        column, row = np.rint(uv_px[is_inside]).astype(np.int64).T
        self._seen[left] = house[row, column] == self._house[left]

    def points(self) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return points (n, 3) of the map that were seen, and their houses (n,)."""
        return self._points[self._seen], self._house[self._seen]


def _lattice(facade: Facade, stretch: Stretch) -> FloatArray:
    along = np.arange(stretch.from_m + SPACING_M / 2, stretch.to_m, SPACING_M)
    top = np.interp(along, *stretch.top_m.T)
    up = np.arange(SPACING_M / 2, float(stretch.top_m[:, 1].max()), SPACING_M)
    column, row = np.meshgrid(np.arange(len(along)), np.arange(len(up)))
    is_wall = up[row] < top[column]
    points = [facade.at(along[column[is_wall]], up[row[is_wall]])]
    if stretch.roof_m is not None:
        back_m, rise_m = stretch.roof_m
        slope_m = float(np.hypot(back_m, rise_m))
        for share in np.arange(SPACING_M / 2, slope_m, SPACING_M) / slope_m:
            row_points = facade.at(along, top + share * rise_m)
            points.append(row_points + share * back_m * facade.inward)
    return np.concatenate(points)


def describe_house(drawing: Drawing, house: int) -> dict[str, object]:
    """Return the record of a house in `buildings.json`.

    The outline is the convex hull of its walls and roofs: what was seen of it, not the land
    register's.
    """
    import shapely

    corners, lowest, highest = [], [], []
    for facade in drawing.facades:
        for stretch in facade.stretches:
            if stretch.house != house:
                continue
            along = stretch.top_m[[0, -1], 0]
            foot = facade.at(along, np.zeros(2))
            depth_m, rise_m = stretch.roof_m or (_WALL_M, 0.0)
            corners += [foot, foot + depth_m * facade.inward]
            lowest.append(foot[:, 2].mean())
            top = facade.at(*stretch.top_m.T)
            highest.append(top[:, 2].max() + rise_m)
    hull = shapely.MultiPoint(np.concatenate(corners)[:, :2]).convex_hull
    outline = shapely.geometry.polygon.orient(hull).exterior.coords[:-1]
    base_m = float(np.mean(lowest))
    return {
        "id": house,
        "footprint_map": np.round(np.array(outline), 4).tolist(),
        "height_m": round(float(max(highest)) - base_m, 4),
        "base_m": round(base_m, 4),
    }
