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
from seg2d3d_ros.mapping.columns import Columns
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.mapping.tracks import Names
from seg2d3d_ros.types import FloatArray, Mask

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
# Of the rays of a mask, where those begin that go to its ends halfway up, and to its outermost.
_HALFWAY, _OUTERMOST = 0, 2


@dataclass(frozen=True)
class Sightings(Columns):
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
        ends: dict[tuple[int, bool], list[tuple[int, int, int]]] = {}
        for mask, instance, is_left in self._ends(wanted.difference(known)):
            ends.setdefault((instance, is_left), []).append(mask)
        some = {key: _thinned(masks) for key, masks in sorted(ends.items())}
        # Frame by frame: those that are frozen lie on disk.
        looks = {m: self._look(*m) for m in sorted({m for masks in some.values() for m in masks})}
        out: dict[int, list[SideEdge]] = {}
        for (instance, is_left), masks in some.items():
            found = [looks[m] for m in masks]
            edge = _edge(found, is_left, _HALFWAY) or _edge(found, is_left, _OUTERMOST)
            if edge is not None:
                out.setdefault(instance, []).append(edge)
        return out

    def _ends(self, wanted: Set[int]) -> Iterator[tuple[tuple[int, int, int], int, bool]]:
        """Yield masks (frame, camera, position) that end inside of their pictures.

        Beside each its instance, and whether it is its left end.
        """
        for (k, c), named in sorted(self._names.items()):
            for j, assigned in enumerate(named):
                if assigned.instance not in wanted:
                    continue
                left, _, right, _ = self._state.frames[k].masks[c][j].bbox_px
                if left > _MARGIN_PX:
                    yield (k, c, j), assigned.instance, True
                if right < self._state.cameras[c].width_px - _MARGIN_PX:
                    yield (k, c, j), assigned.instance, False

    def _look(self, k: int, c: int, j: int) -> _Ends:
        frame, camera = self._state.frames[k], self._state.cameras[c]
        T_world_cam = self._state.T_world_cam(k, c)
        rays = models.rays(camera, _extremes(frame.masks[c][j])) @ T_world_cam[:3, :3].T
        flat = np.linalg.norm(rays[:, :2], axis=1)
        plan, slopes = rays[:, :2] / flat[:, None], rays[4:, 2] / flat[4:]
        return _Ends(plan[:4], T_world_cam[:3, 3], slopes, models.focal_px(camera))


@dataclass(frozen=True)
class _Ends:
    """Where a mask ends: rays in the plan to the left and right, halfway up and outermost (4, 2).

    Else as a row of `Sightings`.
    """

    rays: FloatArray
    center: FloatArray
    slopes: FloatArray
    focal_px: float


def _thinned(masks: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Return some masks, evenly."""
    places = np.linspace(0, len(masks) - 1, min(len(masks), _MOST_VIEWS)).astype(np.int64)
    return [masks[k] for k in places.tolist()]


def _edge(ends: list[_Ends], is_left: bool, height: int) -> SideEdge | None:
    """Triangulate where masks end to one side, by rays halfway up or to their outermost pixel."""
    seen = Sightings(
        centers=np.stack([e.center for e in ends]),
        rays=np.stack([e.rays[height + (not is_left)] for e in ends]),
        others=np.stack([e.rays[int(is_left)] for e in ends]),
        slopes=np.stack([e.slopes for e in ends]),
        focal_px=np.array([e.focal_px for e in ends]),
    )
    return triangulate_edge(seen, is_left)


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
    return SideEdge(xy, covariance, is_left, seen.take(near))


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
