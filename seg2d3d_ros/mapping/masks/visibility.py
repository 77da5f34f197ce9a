"""What of the labelled map a picture should show: projection with occlusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.columns import Columns
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, IntArray

LAYER_RATIO = 1.35
_CELL_PX = 12
_TILE_M = 15.0
_SPACING_M = 1.5
_STEPS_OF_DOUBT = 4.0
_MAX_RELATIVE_SIGMA = 0.03
# A range is one over the ground: what rises above it by as much is this much farther away.
_FARTHEST_VIEW = 1.5
_NUM_NEIGHBOURS = 16
_NUM_IN_FRONT = 2
_IN_FRONT_RATIO = 1.1


@dataclass(frozen=True)
class LabelledPoints:
    """Landmarks that carry an instance, found by where they are.

    Attributes:
        points_world: (n, 3).
        sigma_m: (n,) their uncertainty.
        instances: (n,) their instance.
        tiles: Rows by square of the ground, t of them.
        centers: (t, 3) centre of the points of each square.
        radii: (t,) distance of the farthest of them from it.
    """

    points_world: FloatArray
    sigma_m: FloatArray
    instances: IntArray
    tiles: list[IntArray]
    centers: FloatArray
    radii: FloatArray

    @staticmethod
    def of(points_world: FloatArray, sigma_m: FloatArray, instances: IntArray) -> LabelledPoints:
        """Index the points by their place on the ground."""
        x, y = np.floor(points_world[:, :2].T / _TILE_M).astype(np.int64)
        order = np.lexsort((y, x))
        ends = np.flatnonzero((np.diff(x[order]) != 0) | (np.diff(y[order]) != 0)) + 1
        tiles = np.split(order, ends) if len(order) else []
        points = [points_world[rows] for rows in tiles]
        centers = np.array([(p.min(axis=0) + p.max(axis=0)) / 2 for p in points]).reshape(-1, 3)
        radii = [np.linalg.norm(p - c, axis=1).max() for p, c in zip(points, centers, strict=True)]
        return LabelledPoints(points_world, sigma_m, instances, tiles, centers, np.array(radii))

    def in_cone(self, T_world_cam: FloatArray, half_angle_rad: float, range_m: float) -> IntArray:
        """Return rows, ascending: all points that a camera sees within a range over the ground.

        Some of those that it does not see are among them; none is farther away.
        """
        offset = self.centers - T_world_cam[:3, 3]
        distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-9)
        reach = np.arcsin(np.minimum(self.radii / distance, 1.0))
        angle = np.arccos(np.clip(offset @ T_world_cam[:3, 2] / distance, -1.0, 1.0))
        meets = (distance <= self.radii) | (angle <= half_angle_rad + reach)
        meets &= np.hypot(offset[:, 0], offset[:, 1]) <= range_m + self.radii
        found = [self.tiles[t] for t in np.flatnonzero(meets)]
        rows = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *found]))
        x, y, _ = self.points_world.take(rows, axis=0).T
        return rows[(x - T_world_cam[0, 3]) ** 2 + (y - T_world_cam[1, 3]) ** 2 <= range_m**2]


def labelled_points(
    state: MapState, members: Mapping[int, IntArray], range_m: float = np.inf
) -> LabelledPoints:
    """Return landmarks of instances: of each the surest in every cube of 1.5 m, which is enough.

    So a street that was passed twice has no more to say than before. The cubes hang on the first
    frame, so that the axes of the world do not matter; of those that are about as sure the place
    decides, so that numbers do not matter either.

    Args:
        state: The map.
        members: Landmarks with a position by their instance.
        range_m: How far they may be looked at from; what is not sure from there is left out.
    """
    none = np.zeros(0, dtype=np.int64)
    ids = np.concatenate([none, *members.values()])
    owner = np.concatenate([none, *(np.full(len(v), i) for i, v in members.items())])
    sigma = state.sigma(ids)
    sure = are_sure(sigma, _FARTHEST_VIEW * np.full(len(ids), range_m))
    ids, owner, sigma = ids[sure], owner[sure], sigma[sure]
    points = state.points(ids)
    T_grid_world = transforms.invert(state.frames[0].T_world_base)
    places = transforms.apply(T_grid_world, points) / (_SPACING_M * state.unit)
    cube, doubt = np.floor(places), np.round(_STEPS_OF_DOUBT * np.log2(np.maximum(sigma, 1e-9)))
    order = np.lexsort((*places.T, doubt, *cube.T, owner))
    of = np.c_[owner, cube][order]
    rows = np.sort(order[(np.diff(of, axis=0, prepend=np.nan) != 0).any(axis=1)])
    return LabelledPoints.of(points[rows], sigma[rows], owner[rows])


@dataclass(frozen=True)
class Shown(Columns):
    """Points that nothing nearer hides: pixels (n, 2), depths (n,) and instances (n,)."""

    uv_px: FloatArray
    depth_m: FloatArray
    instances: IntArray


def are_sure(sigma_m: FloatArray, depth_m: FloatArray) -> np.ndarray:
    """Return which points (n,) are known so well that their uncertainty does not show."""
    return np.asarray(sigma_m <= _MAX_RELATIVE_SIGMA * depth_m)


def show(
    state: MapState, frame: int, camera: int, labelled: LabelledPoints, range_m: float
) -> Shown:
    """Project labelled points into a picture, leaving out those that nearer ones hide.

    Points whose uncertainty would show in the picture are left out, too.

    Args:
        state: The map.
        frame: Position of the picture's frame.
        camera: Position of the picture's camera in the rig.
        labelled: The points.
        range_m: Points further from the camera do not count.
    """
    return show_rows(state, frame, camera, labelled, range_m)[1]


def show_rows(
    state: MapState, frame: int, camera: int, labelled: LabelledPoints, range_m: float
) -> tuple[IntArray, Shown]:
    """Project as `show` does; return which of the points are shown, too, (n,) rows, ascending."""
    none = np.zeros(0, dtype=np.int64)
    nothing = none, Shown(np.zeros((0, 2)), np.zeros(0), none)
    if not labelled.tiles:
        return nothing
    model = state.cameras[camera]
    T_world_cam = state.T_world_cam(frame, camera)
    half_angle_rad = float(np.arctan(models.radius_limit(model)))
    near = labelled.in_cone(T_world_cam, half_angle_rad, range_m)
    if not len(near):
        return nothing
    points = labelled.points_world.take(near, axis=0)
    p_cam = transforms.apply(transforms.invert(T_world_cam), points)
    uv, inside = models.project(model, p_cam)
    inside &= are_sure(labelled.sigma_m[near], p_cam[:, 2])
    if not inside.any():
        return nothing
    found = np.flatnonzero(inside)
    near, uv, depth = near[found], uv.take(found, axis=0), p_cam[found, 2]
    column, row = np.floor(uv.T / _CELL_PX).astype(np.int64) + 1
    cell = row * (model.width_px // _CELL_PX + 2) + column
    nearest = np.full(cell.max() + 1, np.inf)
    np.minimum.at(nearest, cell, depth)
    visible = depth <= LAYER_RATIO * nearest[cell]
    near = near[visible]
    return near, Shown(uv[visible], depth[visible], labelled.instances[near])


def are_in_front(depth_m: FloatArray) -> np.ndarray:
    """Return which points of a mask (n, at least one) do not shine through from behind it.

    The front is where the first quartile of all depths is, as `np.quantile` interpolates it.
    """
    ascending = np.sort(depth_m)
    low, part = divmod(0.25 * (len(depth_m) - 1), 1.0)
    a, b = ascending[int(low)], ascending[min(int(low) + 1, len(depth_m) - 1)]
    front = a + (b - a) * part if part < 0.5 else b - (b - a) * (1.0 - part)
    return np.asarray(depth_m <= LAYER_RATIO * front)


def hidden_by_neighbours(shown: Shown, mask: IntArray, reach_px: FloatArray) -> np.ndarray:
    """Return which points (n,) shine through another instance in front of them in their mask.

    A mask shows one building, and corners are too few to hide all that stands behind them. A point
    is hidden where two of its neighbours in the mask are of other instances and a tenth nearer.

    Args:
        shown: The points.
        mask: (n,) mask that each lies in, -1 for none.
        reach_px: (n,) distance within which points are neighbours.
    """
    hidden = np.zeros(len(mask), dtype=bool)
    rows = np.flatnonzero(mask >= 0)
    if len(rows) <= _NUM_IN_FRONT:
        return hidden
    behind = rows[_may_be_hidden(shown, mask, rows)]
    if not len(behind):
        return hidden
    squared = cdist(shown.uv_px[behind], shown.uv_px[rows], "sqeuclidean")
    last = min(_NUM_NEIGHBOURS, len(rows) - 1)  # each is its own nearest neighbour
    farthest = np.minimum(np.partition(squared, last, axis=1)[:, last], reach_px[behind] ** 2)
    in_front = squared <= farthest[:, None]
    in_front &= mask[rows] == mask[behind, None]
    in_front &= shown.instances[rows] != shown.instances[behind, None]
    in_front &= _IN_FRONT_RATIO * shown.depth_m[rows] < shown.depth_m[behind, None]
    hidden[behind] = in_front.sum(axis=1) >= _NUM_IN_FRONT
    return hidden


def _may_be_hidden(shown: Shown, mask: IntArray, rows: IntArray) -> np.ndarray:
    """Return which points (n,), of those at `rows`, lie behind one in a mask of two instances."""
    mask, owner, depth = mask[rows], shown.instances[rows], shown.depth_m[rows]
    nearest = np.full(int(mask.max()) + 1, np.inf)
    np.minimum.at(nearest, mask, depth)
    some = np.zeros(len(nearest), dtype=np.int64)
    some[mask] = owner
    is_mixed = np.bincount(mask, owner != some[mask], len(nearest)) > 0
    return np.asarray(is_mixed[mask] & (_IN_FRONT_RATIO * nearest[mask] < depth))
