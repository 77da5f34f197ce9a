"""Corners of one camera, followed by optical flow (Lucas-Kanade, both ways)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from seg2d3d_ros.clusters.landmarks import is_among
from seg2d3d_ros.clusters.references import ReferencePatches
from seg2d3d_ros.types import Camera, FloatArray, IntArray

_WINDOW_PX = (11, 11)
_CRITERIA = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 20, 0.01)
# Enough to tell whether a corner comes back within 0.7 px.
_CRITERIA_BACK = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 10, 0.03)
_BORDER_PX = 6
_MAX_RETURN_PX = 0.7
# Brightness is compared in the surroundings of corners, 28 px wide, since where they are by now is
# known to within some pixels only; black and white say nothing. It is told to within a percent or
# two, between two cameras to within five.
_SPARSE, _AROUND = 4, (7, 7)
_DARK, _BRIGHT = 8, 245
_LEAST_GAIN = 0.05


@dataclass(frozen=True)
class Reach:
    """Levels of the pyramids in which corners are looked for, forward and back.

    Each level doubles the reach, and the room that a corner needs around it.
    """

    there: int
    back: int


FAR = Reach(4, 2)
# Odometry says within a few pixels where a corner is by now: a third less time, on two cores.
NEAR = Reach(3, 1)


def flow(
    before: np.ndarray,
    after: np.ndarray,
    uv: FloatArray,
    guess: FloatArray,
    reach: Reach = FAR,
) -> tuple[FloatArray, np.ndarray]:
    """Follow pixels (n, 2) from one grey picture into another, starting at a guess (n, 2).

    Flow takes things to be as bright as before, so where the exposure is another one the first
    picture is made as bright as the other.

    Returns:
        New pixels (n, 2) and which of them (n,) came back to their start within 0.7 px.
    """
    if len(uv) == 0:
        return np.zeros((0, 2)), np.zeros(0, dtype=bool)
    gain = _gain(before, after, uv, guess)
    if abs(gain - 1.0) > _LEAST_GAIN:
        before = cv2.convertScaleAbs(before, alpha=gain)
    start = np.ascontiguousarray(uv, dtype=np.float32)[:, None]
    initial = np.ascontiguousarray(guess, dtype=np.float32)[:, None].copy()
    flags = cv2.OPTFLOW_USE_INITIAL_FLOW
    there, ok, _ = cv2.calcOpticalFlowPyrLK(
        before,
        after,
        start,
        initial,
        winSize=_WINDOW_PX,
        maxLevel=reach.there - 1,
        criteria=_CRITERIA,
        flags=flags,
    )
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(
        after,
        before,
        there,
        start.copy(),
        winSize=_WINDOW_PX,
        maxLevel=reach.back - 1,
        criteria=_CRITERIA_BACK,
        flags=flags,
    )
    height, width = after.shape[:2]
    new = there[:, 0].astype(np.float64)
    good = (ok[:, 0] > 0) & (ok_back[:, 0] > 0)
    good &= np.linalg.norm(back[:, 0] - start[:, 0], axis=1) < _MAX_RETURN_PX
    good &= (new > _BORDER_PX).all(axis=1)
    good &= (new[:, 0] < width - 1 - _BORDER_PX) & (new[:, 1] < height - 1 - _BORDER_PX)
    return new, good


def _gain(before: np.ndarray, after: np.ndarray, uv: FloatArray, guess: FloatArray) -> float:
    """Return how many times as bright a picture is at `guess` (n, 2) as one is at `uv` (n, 2)."""
    inside = ((guess >= 0.0) & (guess < after.shape[1::-1])).all(axis=1)
    here, there = _brightness(before, uv[inside]), _brightness(after, guess[inside])
    usable = (here > _DARK) & (here < _BRIGHT) & (there > _DARK) & (there < _BRIGHT)
    return float(np.median(there[usable] / here[usable])) if usable.any() else 1.0


def _brightness(image: np.ndarray, uv: FloatArray) -> FloatArray:
    """Return the mean grey value of the surroundings of pixels (n, 2); (n,)."""
    mean = cv2.blur(np.ascontiguousarray(image[::_SPARSE, ::_SPARSE]), _AROUND)
    u, v = np.round(uv / _SPARSE).astype(int).T
    height, width = mean.shape
    return mean[np.minimum(v, height - 1), np.minimum(u, width - 1)].astype(np.float64)


class Tracker:
    """Live tracks of one camera: ids (n,) and where they are now, uv_px (n, 2)."""

    def __init__(self, max_features: int, min_distance_px: int) -> None:
        """Keep up to `max_features` corners that are `min_distance_px` apart."""
        self._max_features = max_features
        self._min_distance_px = min_distance_px
        self._image: np.ndarray | None = None
        self._corners: tuple[np.ndarray, ...] | None = None
        self._columns = 1
        self._references = ReferencePatches()
        self.ids: IntArray = np.zeros(0, dtype=np.int64)
        self.uv_px: FloatArray = np.zeros((0, 2))

    @property
    def image(self) -> np.ndarray | None:
        """Return the grey picture the tracks were last seen in."""
        return self._image

    @property
    def ended_in_doubt(self) -> IntArray:
        """Return tracks, ascending, that did not fit at the last keyframe and have ended since."""
        misfits = self._references.misfits
        return misfits[~is_among(np.sort(self.ids), misfits)]

    def advance(self, gray: np.ndarray, guess_px: FloatArray, reach: Reach = FAR) -> None:
        """Follow all tracks into the next picture from guesses (n, 2); those that fail end."""
        if self._image is not None and len(self.ids):
            uv, good = flow(self._image, gray, self.uv_px, guess_px, reach)
            self.ids, self.uv_px = self.ids[good], uv[good]
        self._image, self._corners = gray, None
        self._columns = gray.shape[1] // self._min_distance_px + 1

    def realign(self, points_local: FloatArray, T_cam_local: FloatArray, camera: Camera) -> None:
        """Put tracks back onto what they followed at first, at a keyframe.

        Args:
            points_local: (n, 3) landmarks of the tracks, NaN where there is none yet.
            T_cam_local: (4, 4) pose of the camera.
            camera: The camera.
        """
        if self._image is not None and len(self.ids):
            self.uv_px = self._references.align(
                self._image, self.ids, self.uv_px, points_local, T_cam_local, camera
            )

    def remember(self, T_cam_local: FloatArray) -> None:
        """Keep how tracks that are new since the last keyframe look, at a pose (4, 4)."""
        if self._image is not None:
            self._references.add(self._image, self.ids, self.uv_px, T_cam_local)

    def keep(self, mask: np.ndarray) -> None:
        """End the tracks where the mask (n,) is False."""
        self.ids, self.uv_px = self.ids[mask], self.uv_px[mask]

    def add(self, ids: IntArray, uv_px: FloatArray) -> None:
        """Start tracks."""
        self.ids = np.concatenate([self.ids, ids])
        self.uv_px = np.concatenate([self.uv_px, uv_px])

    def clear(self) -> None:
        """End all tracks, and forget how they looked."""
        self.keep(np.zeros(len(self.ids), dtype=bool))
        self._references = ReferencePatches()

    def look_for_corners(self) -> None:
        """Find all corners of the picture, once; `find_corners` chooses among them."""
        if self._corners is None and self._image is not None:
            self._corners = self._peaks(self._image)

    def find_corners(self, allowed: np.ndarray | None, num: int | None = None) -> FloatArray:
        """Return new corners (k, 2), strongest of each free cell, evenly over the picture.

        Args:
            allowed: (h, w) uint8, zero where no landmark may be; None allows everything.
            num: At most so many; None fills up to `max_features` tracks.
        """
        wanted = self._max_features - len(self.ids) if num is None else num
        if wanted <= 0 or self._image is None:
            return np.zeros((0, 2))
        if self._corners is None:
            self._corners = self._peaks(self._image)
        u, v, strength, cell = self._corners
        free = self._is_free(cell)
        rows = np.flatnonzero(free if allowed is None else free & (allowed[v, u] > 0))
        first = rows[np.flatnonzero(np.diff(cell[rows], prepend=-1))]
        first = self._spread(first, u, v, strength, wanted)
        return np.stack([u[first], v[first]], axis=1).astype(np.float64)

    def find_corners_in(self, regions: np.ndarray, num: IntArray) -> FloatArray:
        """Return new corners (k, 2), the strongest of free cells of each region.

        Args:
            regions: (h, w) integers that name a region by pixel.
            num: (r,) at most so many, by that number.
        """
        if self._image is None or not num.any():
            return np.zeros((0, 2))
        if self._corners is None:
            self._corners = self._peaks(self._image)
        u, v, strength, cell = self._corners
        rows = np.flatnonzero(self._is_free(cell) & (num[regions[v, u]] > 0))
        first = rows[np.flatnonzero(np.diff(cell[rows], prepend=-1))]
        region = regions[v[first], u[first]]
        order = np.lexsort((-strength[first], region))
        first, region = first[order], region[order]
        rank = np.arange(len(first)) - np.searchsorted(region, region)
        first = first[rank < num[region]]
        return np.stack([u[first], v[first]], axis=1).astype(np.float64)

    def _is_free(self, cell: np.ndarray) -> np.ndarray:
        """Return which corners (n,) lie in cells (n,) without a track."""
        free = np.ones(int(cell.max(initial=0)) + 1, dtype=bool)
        taken = self._cell(*np.round(self.uv_px).astype(int).T)
        free[taken[taken < len(free)]] = False
        return free[cell]

    def _peaks(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return u, v, strength and cell (n,) of all corners, cell by cell, strongest first."""
        response = cv2.cornerMinEigenVal(image, 5, ksize=3)
        highest = cv2.dilate(response, np.ones((3, 3), np.uint8))
        b = _BORDER_PX + 2
        inner = response[b:-b, b:-b]
        peak = np.flatnonzero((inner == highest[b:-b, b:-b]) & (inner > 1e-5))
        v, u = np.divmod(peak, max(inner.shape[1], 1)) + np.array([[b], [b]])
        strength, cell = response[v, u], self._cell(u, v)
        # Positive floats are ordered as their bits are: one key for both sorts in a tenth of time.
        order = np.argsort((cell << 32) - strength.view(np.int32), kind="stable")
        return u[order], v[order], strength[order], cell[order]

    def _cell(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return (v // self._min_distance_px) * self._columns + u // self._min_distance_px

    def _spread(
        self, rows: np.ndarray, u: np.ndarray, v: np.ndarray, strength: np.ndarray, wanted: int
    ) -> np.ndarray:
        if len(rows) <= wanted or self._image is None:
            return rows
        height, width = self._image.shape
        block = (v[rows] * 4 // height) * 8 + u[rows] * 8 // width
        order = np.lexsort((-strength[rows], block))
        sorted_block = block[order]
        start = np.searchsorted(sorted_block, sorted_block)
        rank = np.empty(len(rows), dtype=np.int64)
        rank[order] = np.arange(len(rows)) - start
        return rows[np.lexsort((-strength[rows], rank))[:wanted]]
