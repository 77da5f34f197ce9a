"""Upright edges of buildings, by where their masks end to the left and right in many pictures.

A building far ahead may hold no landmark, but its masks end where it ends. As the vehicle drives,
that side edge is seen in one direction after another, and these meet where it stands: at the end
of the wall along the street, whose distance from the road is then known to decimetres.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import masks as pixel_masks
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.mapping.tracks import Names
from seg2d3d_ros.types import Camera, FloatArray, IntArray, Mask

_LEAST_VIEWS, _MOST_VIEWS = 8, 40
_MARGIN_PX = 1.5
# Rows halfway up tell where a mask ends: eaves hang over. The outermost of them do, since what
# hides the wall cuts others short; where it cuts most of them, the outermost pixel tells.
_OUTER = 0.15
# A mask that ends this far beside the edge is lost by half: masks are ragged, split and merged.
_HALF_PX = 2.0
_WITHIN_PX = 4.0
_LEAST_SHARE, _MOST_RMS_PX, _LEAST_RMS_PX = 0.7, 1.6, 0.7
_LEAST_ANGLE_RAD = np.deg2rad(0.5)
_LEAST_RANGE_M, _BEHIND_PX = 1.0, 1e3
_STEPS = 8


@dataclass(frozen=True)
class Sightings:
    """How m masks of one building end to one side, in stamp order.

    Attributes:
        centers: (m, 3) of the cameras, metres.
        rays: (m, 2) unit, in the plan, to where the mask ends.
        others: (m, 2) unit, in the plan, to where it ends to the other side.
        slopes: (m, 2) how much the rays to its lower and upper end rise by metre in the plan.
        focal_px: (m,) of the cameras.
    """

    centers: FloatArray
    rays: FloatArray
    others: FloatArray
    slopes: FloatArray
    focal_px: FloatArray

    def take(self, rows: IntArray) -> Sightings:
        """Return some of them."""
        return Sightings(**{n: v[rows] for n, v in vars(self).items()})


@dataclass(frozen=True)
class SideEdge:
    """An upright edge of a building.

    Attributes:
        xy: (2,) where it stands, metres.
        covariance: (2, 2) of that, square metres.
        is_left: Whether the building is to the right of it.
        seen: The masks that end there.
    """

    xy: FloatArray
    covariance: FloatArray
    is_left: bool
    seen: Sightings


class EdgeFinder:
    """Finds the side edges of buildings in the masks of all pictures."""

    def __init__(self, state: MapState, names: Names) -> None:
        """Look into a map.

        Args:
            state: The map.
            names: What the masks of each picture are called, by (frame, camera).
        """
        self._state, self._names = state, names

    def beside(self, known: Collection[int]) -> dict[int, list[SideEdge]]:
        """Return the edges of all buildings with masks but some, as far as many masks agree."""
        count = Counter(a.instance for named in self._names.values() for a in named)
        wanted = {i for i, num in count.items() if i > 0 and num >= _LEAST_VIEWS}
        ends: dict[tuple[int, bool], list[_End]] = {}
        for end in self._ends(wanted.difference(known)):
            ends.setdefault((end.instance, end.is_left), []).append(end)
        out: dict[int, list[SideEdge]] = {}
        for (instance, is_left), some in sorted(ends.items()):
            halfway, outermost = (_sightings(some, which) for which in (0, 1))
            edge = triangulate_edge(halfway, is_left) or triangulate_edge(outermost, is_left)
            if edge is not None:
                out.setdefault(instance, []).append(edge)
        return out

    def _ends(self, wanted: Set[int]) -> Iterator[_End]:
        """Yield where masks of some buildings end inside of their pictures."""
        for (k, c), named in sorted(self._names.items()):
            some = [j for j, a in enumerate(named) if a.instance in wanted]
            if not some:
                continue
            frame, camera = self._state.frames[k], self._state.cameras[c]
            T_world_cam = frame.T_world_base @ camera.T_base_cam
            for j in some:
                mask = frame.masks[c][j]
                left, _, right, _ = mask.bbox_px
                rays = _rays(camera, T_world_cam, _extremes(mask))
                flat = np.linalg.norm(rays[:, :2], axis=1)
                plan, slopes = rays[:, :2] / flat[:, None], rays[4:, 2] / flat[4:]
                row = T_world_cam[:3, 3], slopes, models.focal_px(camera)
                if left > _MARGIN_PX:
                    yield _End(named[j].instance, True, plan[[0, 2]], plan[1], *row)
                if right < camera.width_px - _MARGIN_PX:
                    yield _End(named[j].instance, False, plan[[1, 3]], plan[0], *row)


@dataclass(frozen=True)
class _End:
    """One row of `Sightings`, but with two rays: halfway up, and to its outermost pixel."""

    instance: int
    is_left: bool
    rays: FloatArray
    other: FloatArray
    center: FloatArray
    slopes: FloatArray
    focal_px: float


def _sightings(ends: list[_End], which: int) -> Sightings:
    """Return the sightings of one building by one of their two rays, thinned evenly."""
    places = np.linspace(0, len(ends) - 1, min(len(ends), _MOST_VIEWS)).astype(np.int64)
    some = [ends[k] for k in places.tolist()]
    return Sightings(
        centers=np.stack([e.center for e in some]),
        rays=np.stack([e.rays[which] for e in some]),
        others=np.stack([e.other for e in some]),
        slopes=np.stack([e.slopes for e in some]),
        focal_px=np.array([e.focal_px for e in some]),
    )


def _extremes(mask: Mask) -> FloatArray:
    """Return where a mask ends, pixels (6, 2).

    To the left and right as far as rows halfway up go, as far as any goes, below and above.
    """
    left, top, right, bottom = mask.bbox_px
    crop = pixel_masks.decode_crop(mask.bbox_px, mask.runs)
    quarter = len(crop) // 4
    rows = crop[quarter : len(crop) - quarter]
    rows = rows[rows.any(axis=1)]
    if not len(rows):
        rows = crop[crop.any(axis=1)]
    outer = int(_OUTER * (len(rows) - 1))
    start = left - 0.5 + float(np.sort(np.argmax(rows, axis=1))[outer])
    end = right - 0.5 - float(np.sort(np.argmax(rows[:, ::-1], axis=1))[outer])
    u, v = (left + right - 1.0) / 2.0, (top + bottom - 1.0) / 2.0
    outermost = [(left - 0.5, v), (right - 0.5, v)]
    return np.array([(start, v), (end, v), *outermost, (u, bottom - 0.5), (u, top - 0.5)])


def _rays(camera: Camera, T_world_cam: FloatArray, uv_px: FloatArray) -> FloatArray:
    xy = models.normalize(camera, uv_px)
    rays: FloatArray = np.c_[xy, np.ones(len(xy))] @ T_world_cam[:3, :3].T
    return rays


def triangulate_edge(seen: Sightings, is_left: bool) -> SideEdge | None:
    """Find the point in the plan at which most rays meet.

    The best crossing of two rays starts a robust fit of what rays miss it by, in pixels (weights
    of Geman and McClure 1985).

    Args:
        seen: How masks end to this side.
        is_left: Whether that is the left one.

    Returns:
        None where too few rays meet, or at no angle.
    """
    normals = np.stack([-seen.rays[:, 1], seen.rays[:, 0]], axis=1)
    offsets = np.einsum("ni,ni->n", normals, seen.centers[:, :2])
    trials = _crossings(normals, offsets)
    if len(seen.rays) < _LEAST_VIEWS or not len(trials):
        return None
    errors = _errors_px(seen, trials)[0] ** 2
    xy = trials[int(np.argmin((errors / (errors + _HALF_PX**2)).sum(axis=1)))]
    for _ in range(_STEPS):
        error, scale = (v[0] for v in _errors_px(seen, xy[None]))
        weight = (_HALF_PX**2 / (error**2 + _HALF_PX**2) * scale) ** 2
        A = (normals * weight[:, None]).T @ normals
        xy = np.linalg.lstsq(A, (normals * weight[:, None]).T @ offsets, rcond=None)[0]
    error, scale = (v[0] for v in _errors_px(seen, xy[None]))
    near = np.abs(error) < _WITHIN_PX
    if near.sum() < max(_LEAST_VIEWS, _LEAST_SHARE * len(near)):
        return None
    rms_px = float(np.sqrt(np.mean(error[near] ** 2)))
    if rms_px > _MOST_RMS_PX:
        return None
    A = (normals[near] * scale[near, None] ** 2).T @ normals[near]
    covariance = np.linalg.pinv(A) * max(rms_px, _LEAST_RMS_PX) ** 2
    return SideEdge(xy, covariance, is_left, seen.take(np.flatnonzero(near)))


def _crossings(normals: FloatArray, offsets: FloatArray) -> FloatArray:
    """Return where pairs of lines n . p = d cross (k, 2), if at an angle."""
    i, j = np.triu_indices(len(normals), 1)
    sine = normals[i, 0] * normals[j, 1] - normals[i, 1] * normals[j, 0]
    wide = np.abs(sine) > _LEAST_ANGLE_RAD
    i, j, sine = i[wide], j[wide], sine[wide]
    x = (offsets[i] * normals[j, 1] - normals[i, 1] * offsets[j]) / sine
    y = (normals[i, 0] * offsets[j] - offsets[i] * normals[j, 0]) / sine
    return np.stack([x, y], axis=1)


def _errors_px(seen: Sightings, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return how far points (k, 2) lie beside the rays (k, m), and pixels per metre there."""
    away = points[:, None] - seen.centers[:, :2]
    depth = np.einsum("kmi,mi->km", away, seen.rays)
    beside = away[..., 1] * seen.rays[:, 0] - away[..., 0] * seen.rays[:, 1]
    scale = seen.focal_px / np.maximum(depth, _LEAST_RANGE_M)
    return np.where(depth > _LEAST_RANGE_M, beside * scale, _BEHIND_PX), scale
