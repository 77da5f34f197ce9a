"""Evidence for and against "same building", between places on facades seen in the same picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from seg2d3d_ros.mapping.association.labels import may_join
from seg2d3d_ros.mapping.incidence import Incidence
from seg2d3d_ros.mapping.packed_rows import PackedRows
from seg2d3d_ros.types import FloatArray, IntArray

_RANKS = np.array([1, 2, 3, 4, 5, 6, 11, 19, 31, 47])
_FEW = 700
_BITS = 20
_LONE = 1 << 62
_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class PictureVotes:
    """What a picture says about places in it.

    Attributes:
        places: (n,) places in its masks, sorted.
        pairs: (m, 2) which of them are compared, as positions in `places`.
        weight: (m,) vote about each pair: +1 same mask, -1 different masks or classes.
    """

    places: IntArray
    pairs: IntArray
    weight: FloatArray


def place_keys(ids: IntArray, points: FloatArray, sigma_m: FloatArray, voxel_m: float) -> IntArray:
    """Return one integer per landmark (n,) that names its place.

    A landmark that is better known than a voxel is wide shares its voxel's key with all others in
    there, so that what was seen on another pass is the same place; an uncertain one is a place of
    its own.
    """
    cell = np.floor(np.nan_to_num(points) / voxel_m).astype(np.int64) + (1 << (_BITS - 1))
    cell = np.clip(cell, 0, (1 << _BITS) - 1)
    voxel = (cell[:, 0] << (2 * _BITS)) | (cell[:, 1] << _BITS) | cell[:, 2]
    return np.where(sigma_m <= voxel_m, voxel, ids | _LONE)


def cells_of(places: IntArray) -> tuple[IntArray, np.ndarray]:
    """Return the voxels (n, 3) of places (n,), and which of them are voxels, no lone landmarks."""
    shift = np.array([2 * _BITS, _BITS, 0])
    cell = (places[:, None] >> shift) & ((1 << _BITS) - 1)
    return cell - (1 << (_BITS - 1)), places < _LONE


@dataclass(frozen=True)
class PlacedLandmarks:
    """Landmarks with a position, and all that votes about them ask for.

    Attributes:
        ids: (n,) landmarks, ascending.
        places: (n,) their places.
        points: (n, 3) where they are, in metres or what counts as such.
        sigma_m: (n,) how sure that is.
        class_id: (n,) their class, 0 unknown.
    """

    ids: IntArray
    places: IntArray
    points: FloatArray
    sigma_m: FloatArray
    class_id: IntArray

    def votes_of(self, seen: Incidence, reach_m: float) -> PictureVotes:
        """Return what a picture says about those of these landmarks that lie in its masks."""
        order = np.argsort(seen.ids, kind="stable")
        rows = np.searchsorted(self.ids, seen.ids[order])
        known = rows < len(self.ids)
        known[known] = self.ids[rows[known]] == seen.ids[order[known]]
        order, rows = order[known], rows[known]
        return picture_votes(
            self.places[rows],
            self.points[rows],
            self.sigma_m[rows],
            seen.mask[order],
            reach_m,
            self.class_id[rows],
        )


def picture_votes(
    keys: IntArray,
    points: FloatArray,
    sigma_m: FloatArray,
    mask: IntArray,
    reach_m: float,
    class_id: IntArray | None = None,
) -> PictureVotes:
    """Pair each place of a picture with near ones and a few further ones, and compare their masks.

    Args:
        keys: (n,) places of landmarks in masks of the picture.
        points: (n, 3) their positions, world frame.
        sigma_m: (n,) their uncertainty.
        mask: (n,) mask of each.
        reach_m: Pairs further apart say nothing; uncertain ones reach ten times their sigma.
        class_id: (n,) class of each by all pictures, 0 unknown: what is of two classes is not one,
            though a mask covers both. All are unknown without it.

    Returns:
        The votes of this picture; the mask of a place is that of most of its landmarks.
    """
    keys, first, index = np.unique(keys, return_index=True, return_inverse=True)
    if len(keys) < 2:
        return PictureVotes(keys, np.zeros((0, 2), dtype=np.int64), np.zeros(0))
    num_masks = int(mask.max()) + 1
    table = np.bincount(index * num_masks + mask, minlength=len(keys) * num_masks)
    owner = table.reshape(len(keys), num_masks).argmax(axis=1)
    sums = [np.bincount(index, weights=axis) for axis in points.T]
    places = np.stack(sums, axis=1) / np.bincount(index)[:, None]
    reach = np.maximum(reach_m, 10.0 * np.minimum(sigma_m[first], 10.0))
    other = _neighbours(places, _RANKS[_RANKS < len(keys)])
    a, b = np.repeat(np.arange(len(keys)), other.shape[1]), other.ravel()
    # Where places coincide, the nearest one need not be the place itself.
    x, y, z = (places.take(a, axis=0) - places.take(b, axis=0)).T
    near = (np.sqrt(x * x + y * y + z * z) <= reach[a]) & (a != b)
    a, b = a[near], b[near]
    low, high = np.minimum(a, b), np.maximum(a, b)
    low, high = _once(low, high, len(keys))
    is_one = owner[low] == owner[high]
    if class_id is not None:
        is_one &= may_join(class_id[first[low]], class_id[first[high]])
    weight = np.where(is_one, 1.0, -1.0)
    return PictureVotes(keys, np.stack([low, high], axis=1), weight)


def _once(low: IntArray, high: IntArray, size: int) -> tuple[IntArray, IntArray]:
    """Return each pair (m,), (m,) of numbers below `size` once, in order."""
    joined = low * size + high
    if size > _FEW:
        joined = np.unique(joined)
    else:  # of few, a tenth of the time
        is_there = np.zeros(size * size, dtype=bool)
        is_there[joined] = True
        joined = np.flatnonzero(is_there)
    return joined // size, joined % size


def _neighbours(points: FloatArray, ranks: IntArray) -> IntArray:
    """Return the neighbours (n, r) of points (n, 3) that come at some ranks (r,), 1 the nearest.

    Of a few hundred points all distances are sorted at once, which is several times as fast as a
    tree; so near ones are told apart to a part in ten thousand.
    """
    size = len(points)
    if size > _FEW:
        return np.asarray(cKDTree(points).query(points, k=ranks + 1)[1])
    centred = points - points.mean(axis=0)
    square = (centred**2).sum(axis=1)
    distance2 = square[:, None] + square
    distance2 -= 2.0 * centred @ centred.T
    np.maximum(distance2, 0.0, out=distance2)
    # Positive floats are in the order of their bits; the lowest ones make room for the number.
    room = (1 << size.bit_length()) - 1
    key = (distance2.astype(np.float32).view(np.int32) & ~room) | np.arange(size, dtype=np.int32)
    last = int(ranks[-1])
    key.partition(last, axis=1)
    nearest = key[:, : last + 1]
    nearest.sort(axis=1)
    return nearest[:, ranks].astype(np.int64) & room


class VoteGraph:
    """Sums of votes between places, kept row by row: a place and those it was compared with."""

    def __init__(self) -> None:
        """Start without votes."""
        self._number: dict[int, int] = {}
        self._places: list[int] = []
        self._rows = PackedRows()

    def add(self, votes: list[PictureVotes]) -> IntArray:
        """Add the votes of pictures; return the places (n,) they touch, sorted."""
        known = [v for v in votes if len(v.pairs)]
        if not known:
            return np.zeros(0, dtype=np.int64)
        places, position = np.unique(
            np.concatenate([v.places for v in known]), return_inverse=True
        )
        sizes = [len(v.places) for v in known]
        first_row = np.repeat(np.cumsum([0, *sizes[:-1]]), [len(v.pairs) for v in known])
        pairs = position[np.concatenate([v.pairs for v in known]) + first_row[:, None]]
        is_touched = np.zeros(len(places), dtype=bool)
        is_touched[pairs] = True
        touched = places[is_touched]
        self._sum(touched, (np.cumsum(is_touched) - 1)[pairs], known)
        return touched

    def _sum(self, places: IntArray, pairs: IntArray, votes: list[PictureVotes]) -> None:
        """Add votes between places (n,), given as pairs (m, 2) of positions among them."""
        numbers = self._enrolled(places)
        weight = np.concatenate([v.weight for v in votes]).astype(np.float32)
        rows = np.concatenate([pairs[:, 0], pairs[:, 1]])
        columns = numbers[np.concatenate([pairs[:, 1], pairs[:, 0]])]
        shape = (len(places), len(self._rows))
        new = sparse.coo_array((np.tile(weight, 2), (rows, columns)), shape=shape).tocsr()
        self._rows.put(numbers, self._rows.take(numbers) + new)

    def _enrolled(self, places: IntArray) -> IntArray:
        """Return the row of each place (n,), an empty one where there was none."""
        for place in places.tolist():
            if place not in self._number:
                self._number[place] = len(self._places)
                self._places.append(place)
        self._rows.grow(len(self._places))
        return self._numbers(places)

    def around(self, places: IntArray) -> tuple[sparse.csr_array, IntArray]:
        """Look up the votes of some places.

        Args:
            places: (n,) places, without repetition.

        Returns:
            Sums of votes (n, n + m): of each place about these places, then about m others; and
            these others (m,).
        """
        numbers = self._numbers(places)
        rows = self._rows.take(numbers)
        # Only what is set is read: this costs what the rows hold, whatever the size of the graph.
        column = np.empty(len(self._rows), dtype=np.int64)
        column[rows.indices] = -1
        known = numbers >= 0
        column[numbers[known]] = np.flatnonzero(known)
        others = np.unique(rows.indices[column[rows.indices] < 0])
        column[others] = len(places) + np.arange(len(others))
        parts = (rows.data, column[rows.indices], rows.indptr)
        shape = (len(places), len(places) + len(others))
        beyond = np.array([self._places[k] for k in others.tolist()], dtype=np.int64)
        return sparse.csr_array(parts, shape=shape), beyond

    def renamed(self, places: IntArray, now: IntArray) -> VoteGraph:
        """Return the graph with places (n,), sorted, called otherwise (n,); others are left out.

        The votes of places that are one now add up; what they said of each other falls away.
        """
        known = np.array(self._places, dtype=np.int64)
        there = np.flatnonzero(np.isin(known, places))
        names, now_at = np.unique(now[np.searchsorted(places, known[there])], return_inverse=True)
        column = np.full(len(self._rows), -1, dtype=np.int64)
        column[there] = now_at
        graph = VoteGraph()
        graph._places = names.tolist()
        graph._number = {place: k for k, place in enumerate(graph._places)}
        graph._rows.grow(len(names))
        # Some rows at a time: all votes of a long drive at once take hundreds of megabytes.
        order = there[np.argsort(now_at, kind="stable")]
        for low in range(0, len(names), _ROWS_AT_A_TIME):
            some = np.arange(low, min(low + _ROWS_AT_A_TIME, len(names)))
            graph._rows.put(some, self._gathered(order, column, some, len(names)))
        return graph

    def move(self, places: IntArray, now: IntArray) -> None:
        """Call some places (n,), sorted, otherwise (n,) and leave all others: `renamed` in place.

        Costs what the rows of these places and of those they were compared with hold.
        """
        known = self._numbers(places) >= 0
        places, now = places[known], now[known]
        votes, beyond = self.around(places)
        others = self._numbers(beyond)
        rest = self._rows.take(others).tocoo()
        stays = ~np.isin(rest.col, self._numbers(places))
        parts = (rest.data[stays], (rest.row[stays], rest.col[stays]))
        self._rows.put(others, sparse.coo_array(parts, shape=rest.shape).tocsr())
        self._rows.put(self._numbers(places), sparse.csr_array((len(places), len(self._rows))))
        found = votes.tocoo()
        # Between two of these places each vote is there twice.
        once = (found.col >= len(places)) | (found.row < found.col)
        ends = np.stack([now[found.row], np.concatenate([now, beyond])[found.col]], axis=1)[once]
        differ = ends[:, 0] != ends[:, 1]
        keys, pairs = np.unique(ends[differ], return_inverse=True)
        weight = found.data[once][differ].astype(np.float64)
        self._enrolled(now)
        self.add([PictureVotes(keys, pairs.reshape(-1, 2), weight)])

    def _gathered(
        self, order: IntArray, column: IntArray, some: IntArray, size: int
    ) -> sparse.csr_array:
        """Return rows `some` (k,), ascending, of another numbering: sums of rows of this one.

        Args:
            order: (n,) rows of this graph, by their number in the other.
            column: Number in the other, -1 for none, of each row of this graph.
            some: (k,) which rows of the other, without a gap.
            size: How many the other has.
        """
        first, last = np.searchsorted(column[order], [some[0], some[-1] + 1])
        rows = self._rows.take(order[first:last])
        row = np.repeat(column[order[first:last]], np.diff(rows.indptr))
        other = column[rows.indices]
        counts = (other >= 0) & (other != row)
        parts = (rows.data[counts], (row[counts] - some[0], other[counts]))
        return sparse.coo_array(parts, shape=(len(some), size)).tocsr()

    def known(self, places: IntArray) -> IntArray:
        """Return those of some places (n,) that were compared with others."""
        return places[self._numbers(places) >= 0]

    def _numbers(self, places: IntArray) -> IntArray:
        """Return the row of each place (n,), -1 where there is none."""
        get = self._number.get
        return np.array([get(place, -1) for place in places.tolist()], dtype=np.int64)
