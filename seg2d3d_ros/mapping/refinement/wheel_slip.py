"""Where the wheels tell another way than the pictures: spinning, locked or lifted wheels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray

_MIN_LANDMARKS = 40
_MIN_INCREMENTS = 10
_MIN_WAY_M = 0.2
_MIN_SLIP_M = 0.4
_MIN_SIGMAS = 6.0
_NOISE_PER_M = 0.02
# Increments within a slip exceed this many sigma on average.
_ONSET_SIGMAS = 1.5
# The unit of one camera drifts: there an increment is held against as many around it, which are
# three times as many as most slips last.
_AROUND = 25


@dataclass(frozen=True)
class WheelSlip:
    """Consecutive increments of odometry that disagree with the pictures in one direction.

    Attributes:
        keys: The increments, as in `MapState.odometry`.
        start_ns: Stamp of the first frame.
        end_ns: Stamp of the last frame.
        excess_m: Metres told beyond the true way, times the odometry's usual scale; negative
            where wheels slid without turning.
    """

    keys: tuple[tuple[int, int], ...]
    start_ns: int
    end_ns: int
    excess_m: float

    def describe(self, first_ns: int) -> str:
        """Return a sentence; times count from `first_ns`."""
        start, end = ((t - first_ns) * 1e-9 for t in (self.start_ns, self.end_ns))
        what = "more" if self.excess_m > 0 else "less"
        return (
            f"odometry tells {abs(self.excess_m):.1f} m {what} than the pictures between "
            f"{start:.1f} s and {end:.1f} s (wheels slipped?); it was given no weight there"
        )


def find_slips(state: MapState) -> tuple[WheelSlip, ...]:
    """Find runs of increments whose length the pictures contradict.

    Each increment's excess is held against the usual ratio of way to told way (median over the
    drive, of one camera over the increments around) and the usual scatter about it; runs are the
    segments of largest sum, which finds a slow slip that no single increment betrays. Increments
    to or from frames that saw little take no part.
    """
    if state.rig is None or not state.rig.has_odometry:
        return ()
    keys, told, true = _lengths(state)
    if len(keys) < _MIN_INCREMENTS:
        return ()
    excess = told - true / _usual(true / told, is_steady=len(state.cameras) > 1)
    scatter = 1.4826 * float(np.median(np.abs(excess / told)))
    sigma = np.hypot(scatter, _NOISE_PER_M) * told
    slips = []
    for sign in (1.0, -1.0):
        for rows in _segments(sign * excess / sigma - _ONSET_SIGMAS):
            total = float(excess[rows].sum())
            bound = _MIN_SIGMAS * float(np.sqrt((sigma[rows] ** 2).sum()))
            if abs(total) >= max(_MIN_SLIP_M, bound):
                run = tuple(keys[r] for r in range(rows.start, rows.stop))
                start, end = (state.frames[k].stamp_ns for k in (run[0][0], run[-1][1]))
                slips.append(WheelSlip(run, start, end, total))
    return tuple(sorted(slips, key=lambda s: s.start_ns))


def distrust(state: MapState, slips: tuple[WheelSlip, ...]) -> None:
    """Take the weight from the translation of increments within slips; changes the state."""
    for slip in slips:
        for key in slip.keys:
            covariance = state.odometry[key].covariance.copy()
            covariance[3:, 3:] += np.eye(3) * max(abs(slip.excess_m), 1.0) ** 2
            state.odometry[key] = replace(state.odometry[key], covariance=covariance)


def _lengths(state: MapState) -> tuple[list[tuple[int, int]], FloatArray, FloatArray]:
    """Return increments with the way the odometry and the pictures tell, where both are sure."""
    keys, told, true = [], [], []
    for (i, j), r in sorted(state.odometry.items()):
        a, b = state.frames[i], state.frames[j]
        if a.status != "tracked" or b.status != "tracked":
            continue
        if len(np.intersect1d(a.ids, b.ids)) < _MIN_LANDMARKS:
            continue
        moved = (transforms.invert(a.T_world_base) @ b.T_world_base)[:3, 3]
        length, way = float(np.linalg.norm(r.T_i_j[:3, 3])), float(np.linalg.norm(moved))
        if max(length, way) >= _MIN_WAY_M:
            keys.append((i, j))
            told.append(max(length, 1e-3))
            true.append(way)
    return keys, np.array(told), np.array(true)


def _usual(ratio: FloatArray, is_steady: bool) -> FloatArray:
    """Return the median of ratios (n,), of all or of those around each; (n,)."""
    n = len(ratio)
    num = n if is_steady else min(n, _AROUND)
    first = np.clip(np.arange(n) - num // 2, 0, n - num)
    median: FloatArray = np.median(np.lib.stride_tricks.sliding_window_view(ratio, num), axis=1)
    return median[first]


def _segments(score: FloatArray) -> list[slice]:
    """Return the disjoint runs of largest sum that are positive (Kadane), in order."""
    out, start, total, best, end = [], 0, 0.0, 0.0, 0
    for k, s in enumerate([*score, -np.inf]):
        total += s
        if total > best:
            best, end = total, k + 1
        if total <= 0.0:
            if best > 0.0:
                out.append(slice(start, end))
            start, total, best = k + 1, 0.0, 0.0
    return out
