"""Far walls by plane sweep: where does a wall of known direction stand, so that tracks agree?

Landmarks far ahead are uncertain by metres along their rays, one by one. All those on one wall
leave one unknown, its distance. Each is tried (Collins 1996, "A space-sweep approach to true
multi-image matching"): every track is put onto the plane where its rays say, and what counts is by
how many pixels the rays miss it. What lies on the roof above stands farther off by a few
hundredths: it would draw the wall after it, by half a metre and more. So tracks above the eaves
are put onto a roof that rises behind the wall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.mapping.tracks import Tracks
from seg2d3d_ros.types import FloatArray, IntArray

_LEAST_TRACKS = 4
_NEAREST_M, _FARTHEST_M, _STEP_RATIO = 2.0, 100.0, 1.04
_RANGES_M = np.geomspace(
    _NEAREST_M, _FARTHEST_M, round(np.log(_FARTHEST_M / _NEAREST_M) / np.log(_STEP_RATIO))
)
_FINE_STEPS = 17
# Where no neighbour tells a direction, these are tried, and finer ones around the best.
_MANY_TRACKS = 20
_HEADINGS_RAD = np.deg2rad(np.arange(0.0, 90.0, 6.0))
_FINER_RAD = [np.deg2rad(a) for a in ((-3.0, 0.0, 3.0), (-1.5, 1.5), (-0.7, 0.7))]
# So many buildings tell a direction that all have in common.
_MOST_BUILDINGS = 30
# The first look is at some tracks and some of their rays.
_COARSE_TRACKS, _COARSE_VIEWS = 40, 5
_LEAST_COSINE, _LEAST_DEPTH_M = 0.1, 1.0
# A track that its rays miss by so much, squared, is lost by half; one that is on the wall, by less
# than this.
_HALF_PX2 = 0.1
# Directions are tried in steps too large for that.
_BLUNT_PX2 = 0.3
# The last look is as sharp as the tracks are.
_SHARPEST_PX2, _SHARPNESS = 0.002, 2.0
_BEHIND_PX2 = 1e3
# Roofs begin above this share of the tracks and rise by so much a metre; there is one where it
# saves so many tracks.
_EAVES_SHARES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_ROOF_SLOPES = (0.35, 0.7, 1.2)
_LEAST_SLOPE = 0.1
_ROOF_GAIN = 0.3
_ON_WALL = 0.6
# A wall is known if the distances that lose hardly more tracks than the best differ by less.
_MORE_LOST = 0.1
_MAX_SPAN = 1.35
# Silhouettes have no width.
_LEAST_WIDTH_M = 1.0


@dataclass(frozen=True)
class SweptWall:
    """A wall n . X = d, and n tracks on it.

    Attributes:
        normal: (3,) unit, horizontal, towards those who saw it.
        offset_m: d.
        sigma_m: By how much d may be wrong, before one more track is lost.
        points: (n, 3) metres, on the wall.
        toward: (n, 3) mean directions to those who saw them.
    """

    normal: FloatArray
    offset_m: float
    sigma_m: float
    points: FloatArray
    toward: FloatArray


@dataclass(frozen=True)
class _Placed:
    """Tracks put onto k planes: by what n miss them, squared, and where they lie, all (k, n)."""

    errors_px2: FloatArray
    along_m: FloatArray
    up_m: FloatArray

    def losses(self, half_px2: float = _HALF_PX2) -> FloatArray:
        """Return what each track loses (k, n), 0 to 1: e² / (e² + s²) (Geman and McClure 1985)."""
        return self.errors_px2 / (self.errors_px2 + half_px2)


def find_heading(buildings: Sequence[Tracks], around_rad: float | None = None) -> float | None:
    """Find the direction in which buildings stand, where no wall is known well enough to tell it.

    Args:
        buildings: The tracks of each; of many, some that are spread evenly are asked.
        around_rad: A direction that is right to a few degrees; without it all are tried.

    Returns:
        The angle of a wall's normal, up to right angles, with which fewest tracks are lost; None
        where no building has enough of them.
    """
    telling = [t for t in buildings if len(t.first) >= _MANY_TRACKS]
    few = [_thinned(telling[k]) for k in _spread(len(telling), _MOST_BUILDINGS)]
    if not few:
        return None
    best = (np.inf, around_rad or 0.0)
    for steps in (_HEADINGS_RAD,) if around_rad is None else _FINER_RAD:
        angles = (best[1] + steps).tolist()
        best = min(best, *((sum(_least_lost(t, a) for t in few), a) for a in angles))
    return best[1]


def _least_lost(few: Tracks, heading_rad: float) -> float:
    """Return how many tracks the best plane loses."""
    lost = float(len(few.first))
    for away in _sides(few, heading_rad):
        offsets = _offsets_around(_look(few, away, _BLUNT_PX2))
        losses = _place(few, away, offsets).losses(_BLUNT_PX2)
        lost = min(lost, float(losses.sum(axis=1).min()))
    return lost


def sweep_walls(tracks: Tracks, heading_rad: float) -> list[SweptWall]:
    """Find the walls of a building along and across a direction, at most one to each side.

    Args:
        tracks: Of the building.
        heading_rad: Angle of its walls' normals in the plan, up to right angles.

    Returns:
        Those whose place is known, the one that loses fewest tracks first.
    """
    if len(tracks.first) < _LEAST_TRACKS:
        return []
    found = [_sweep(tracks, away) for away in _sides(tracks, heading_rad)]
    return [wall for _, wall in sorted((f for f in found if f), key=lambda f: f[0])]


def _sides(tracks: Tracks, heading_rad: float) -> list[FloatArray]:
    """Return the directions along and across one, that most rays go to and not beside."""
    angles = heading_rad + np.pi / 2.0 * np.arange(4)
    aways = np.stack([np.cos(angles), np.sin(angles), np.zeros(4)], axis=1)
    return list(aways[(tracks.rays @ aways.T > _LEAST_COSINE).mean(axis=0) > 0.5])


def _thinned(tracks: Tracks) -> Tracks:
    return tracks.take(_spread(len(tracks.first), _COARSE_TRACKS), _COARSE_VIEWS)


def _spread(num: int, most: int) -> IntArray:
    """Return indices below a number, all of them or so many that are spread evenly."""
    return np.unique(np.linspace(0, num - 1, min(num, most)).astype(np.int64))


@dataclass(frozen=True)
class _Look:
    """How many tracks the best of the planes loses, which it is, and whether it stands out."""

    lost: float
    step: int
    start_m: float
    is_known: bool


def _look(few: Tracks, away: FloatArray, half_px2: float = _HALF_PX2) -> _Look:
    start = float(np.quantile(few.centers @ away, 0.95))
    lost = _place(few, away, start + _RANGES_M).losses(half_px2).sum(axis=1)
    k = int(np.argmin(lost))
    near = _RANGES_M[lost <= lost[k] + _MORE_LOST * len(few.first)]
    return _Look(float(lost[k]), k, start, bool(near[-1] <= _MAX_SPAN * near[0]))


def _offsets_around(look: _Look) -> FloatArray:
    """Return offsets in fine steps around that of the best plane."""
    low, high = max(look.step - 1, 0), min(look.step + 1, len(_RANGES_M) - 1)
    return look.start_m + np.linspace(_RANGES_M[low], _RANGES_M[high], _FINE_STEPS)


def _sweep(tracks: Tracks, away: FloatArray) -> tuple[float, SweptWall] | None:
    """Sweep a plane away from the cameras; return what tracks lose on the best one, and it."""
    look = _look(_thinned(tracks), away)
    if not look.is_known:
        return None
    offsets = _offsets_around(look)
    behind = offsets[-1] + (offsets[1] - offsets[0]) * np.arange(1, _FINE_STEPS)
    placed = _place(tracks, away, np.append(offsets, behind))
    lost, eaves_m = _lost_below_roofs(placed, np.append(offsets, behind))
    offset = _lowest(offsets, lost)
    best = _place(tracks, away, np.array([offset]))
    losses, along_m, up_m = best.losses()[0], best.along_m[0], best.up_m[0]
    on = np.flatnonzero((losses < _ON_WALL) & (up_m <= eaves_m))
    if len(on) < _LEAST_TRACKS or np.ptp(along_m[on]) < _LEAST_WIDTH_M:
        return None
    along = np.array([-away[1], away[0], 0.0])
    points = offset * away + np.outer(along_m[on], along) + np.outer(up_m[on], [0.0, 0.0, 1.0])
    toward = -np.add.reduceat(tracks.rays, tracks.first) / tracks.num_views[:, None]
    sigma = float(np.ptp(offsets[lost < lost.min() + 1.0])) / 2.0
    return float(losses.sum()), SweptWall(-away, -offset, sigma, points, toward[on])


def _lowest(offsets: FloatArray, lost: FloatArray) -> float:
    """Return where least is lost (k,), by a parabola through that offset and those beside it."""
    j = int(np.argmin(lost))
    if j in (0, len(lost) - 1):
        return float(offsets[j])
    before, least, after = lost[j - 1 : j + 2].tolist()
    bend = before - 2.0 * least + after
    aside = 0.5 * (before - after) / bend if bend > 0.0 else 0.0
    return float(offsets[j] + aside * (offsets[1] - offsets[0]))


def _lost_below_roofs(placed: _Placed, offsets: FloatArray) -> tuple[FloatArray, float]:
    """Return what tracks lose on walls with the best roof behind, and where that begins.

    A ray that rises by t a metre and meets the wall h above the eaves meets a roof of slope s
    farther off by h / (s - t).

    Args:
        placed: Tracks on all planes.
        offsets: (k,) of these, evenly; walls are the first 17, the others lie behind them.

    Returns:
        (17,) how many tracks are lost, and the height of the eaves, infinite without a roof.
    """
    walls, step = slice(0, _FINE_STEPS), float(offsets[1] - offsets[0])
    best = int(np.argmin(placed.losses()[walls].sum(axis=1)))
    half = _SHARPNESS * float(np.median(placed.errors_px2[best]))
    losses = placed.losses(float(np.clip(half, _SHARPEST_PX2, _HALF_PX2)))
    up = placed.up_m[walls]
    rise = (up[-1] - up[0]) / (step * (_FINE_STEPS - 1))
    lost, eaves_m = losses[walls].sum(axis=1), np.inf
    least = float(lost.min()) - _ROOF_GAIN
    for eaves in np.quantile(up[best], _EAVES_SHARES).tolist():
        for slope in _ROOF_SLOPES:
            farther = np.maximum(up - eaves, 0.0) / np.maximum(slope - rise, _LEAST_SLOPE)
            on_roof = _lost_behind(losses, farther / step).sum(axis=1)
            if float(on_roof.min()) < least:
                least, lost, eaves_m = float(on_roof.min()), on_roof, eaves
    return lost, eaves_m


def _lost_behind(losses: FloatArray, steps: FloatArray) -> FloatArray:
    """Return what tracks lose so many steps (w, n) behind each of the first planes of (k, n)."""
    at = np.arange(len(steps))[:, None] + steps
    low = np.minimum(at.astype(np.int64), len(losses) - 2)
    each = np.arange(losses.shape[1])
    share = at - low
    between = (1.0 - share) * losses[low, each] + share * losses[low + 1, each]
    return np.where(at <= len(losses) - 1, between, 1.0)


def _place(tracks: Tracks, away: FloatArray, offsets: FloatArray) -> _Placed:
    """Put tracks onto planes away . X = d for k offsets d, where they lie best between their rays.

    What counts is the mean squared error of their rays in pixels.
    """
    along = np.array([-away[1], away[0]])
    cosine = tracks.rays @ away
    depth = (offsets[:, None] - tracks.centers @ away) / np.maximum(cosine, _LEAST_COSINE)
    usable = (cosine > _LEAST_COSINE) & (depth > _LEAST_DEPTH_M)
    depth = np.where(usable, depth, _LEAST_DEPTH_M)
    weight = np.where(usable, 1.0 / depth**2, 1e-12)
    first, num = tracks.first, tracks.num_views
    total = np.add.reduceat(weight, first, axis=1)
    sides = (tracks.centers[:, :2] @ along, tracks.rays[:, :2] @ along)
    heights = (tracks.centers[:, 2], tracks.rays[:, 2])
    at, off = [], []
    for center, ray in (sides, heights):
        hit = center + depth * ray
        at.append(np.add.reduceat(weight * hit, first, axis=1) / total)
        off.append(np.repeat(at[-1], num, axis=1) - hit)
    beside = off[0] ** 2 + off[1] ** 2 - (off[0] * sides[1] + off[1] * heights[1]) ** 2
    error = np.where(usable, beside * (tracks.focal_px / depth) ** 2, _BEHIND_PX2)
    return _Placed(np.add.reduceat(error, first, axis=1) / num, *at)
