"""Tell fixes that contradict the track from those that only scatter about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded

from seg2d3d_ros.types import FloatArray

#: Median of the square of a whitened residual with two degrees of freedom.
_MEDIAN_CHI2 = 1.386
_GATE_SIGMAS = 4.0
_STEP_FLOOR_M = 0.05
_GROWTH = 1.4
_MAX_ROUNDS = 60
_MOST_COMPARED = 2000


@dataclass(frozen=True)
class GatedFixes:
    """Which fixes (n,) are believed, their misfits (n,) in metres, and how far they scatter.

    Attributes:
        is_accepted: (n,) bool.
        misfit_m: (n,) horizontal distance from where the track and the believed fixes put it.
        noise_ratio: Scatter from fix to fix over what their covariances say, at least 1.
    """

    is_accepted: np.ndarray
    misfit_m: FloatArray
    noise_ratio: float


def gate_fixes(
    offset_m: FloatArray, sigma_m: FloatArray, way_m: FloatArray, drift: float
) -> GatedFixes:
    """Find the fixes that no slow drift of the track explains.

    What lies between the fixes and the track is a drift, which grows with the way, and noise.
    The drift is a random walk, smoothed under truncated least squares by graduated
    non-convexity (Yang et al. 2020, "Graduated Non-Convexity for Robust Spatial Perception",
    eq. 14): a jump, a bad start and a bump that comes and goes faster than a track drifts all
    end up outside the truncation.

    Args:
        offset_m: (n, 2) fix less the track's antenna, east and north, in stamp order.
        sigma_m: (n,) stated horizontal standard deviation of each fix.
        way_m: (n,) distance travelled at each fix.
        drift: Metres the track may drift per metre travelled.

    Returns:
        Accepted fixes; all of fewer than three.
    """
    n = len(offset_m)
    if n < 3:
        return GatedFixes(np.ones(n, dtype=bool), np.zeros(n), 1.0)
    walk = np.hypot(drift * np.abs(np.diff(way_m)), _STEP_FLOOR_M)
    ratio = _noise_ratio(offset_m, sigma_m, walk)
    sigma = ratio * sigma_m
    # A precise fix pulls the drift towards itself: what is left of its error is that much smaller.
    bound_m = _GATE_SIGMAS * sigma * np.sqrt(1.0 - _leverage(sigma, walk))
    weight, mu = np.ones(n), 0.0
    for _ in range(_MAX_ROUNDS):
        left_m = np.linalg.norm(offset_m - _smooth(offset_m, sigma, walk, weight), axis=1)
        square = (left_m / bound_m) ** 2
        mu = mu * _GROWTH if mu else 1.0 / max(2.0 * float(square.max()) - 1.0, 1e-9)
        weight = _weights(square, mu)
        if ((weight < 1e-3) | (weight > 1.0 - 1e-3)).all():
            break
    believed = weight > 0.5
    if 2 * int(believed.sum()) < n <= _MOST_COMPARED:
        believed = _largest_group(offset_m, sigma, way_m, drift)
    misfit = np.linalg.norm(
        offset_m - _smooth(offset_m, sigma, walk, believed.astype(np.float64)), axis=1
    )
    return GatedFixes(believed | (misfit <= _GATE_SIGMAS * sigma), misfit, ratio)


def _largest_group(
    offset_m: FloatArray, sigma_m: FloatArray, way_m: FloatArray, drift: float
) -> np.ndarray:
    """Return which fixes (n,) agree with the one most others agree with, the earlier of equals.

    Where half of the fixes jumped together, what lies between the halves agrees with neither.
    """
    apart = np.linalg.norm(offset_m[:, None] - offset_m[None], axis=2)
    noise = np.hypot(sigma_m[:, None], sigma_m[None])
    agree = apart <= _GATE_SIGMAS * noise + drift * np.abs(way_m[:, None] - way_m[None])
    return np.asarray(agree[int(np.argmax(agree.sum(axis=1)))])


def _leverage(sigma: FloatArray, walk: FloatArray) -> FloatArray:
    """Return how far (n,), from 0 to 1, the drift at each fix follows that fix alone."""
    before, after = np.full(len(sigma), np.inf), np.full(len(sigma), np.inf)
    for k in range(1, len(sigma)):
        before[k] = 1.0 / (1.0 / before[k - 1] + 1.0 / sigma[k - 1] ** 2) + walk[k - 1] ** 2
    for k in range(len(sigma) - 2, -1, -1):
        after[k] = 1.0 / (1.0 / after[k + 1] + 1.0 / sigma[k + 1] ** 2) + walk[k] ** 2
    own = 1.0 / sigma**2
    return own / (own + 1.0 / before + 1.0 / after)


def _weights(square: FloatArray, mu: float) -> FloatArray:
    """Return weights (n,) of residuals whose square is given in units of the truncation's."""
    between = np.sqrt(mu * (mu + 1.0) / np.maximum(square, 1e-12)) - mu
    weight = np.clip(between, 0.0, 1.0)
    weight[square <= mu / (mu + 1.0)] = 1.0
    weight[square >= (mu + 1.0) / mu] = 0.0
    return weight


def _noise_ratio(offset: FloatArray, sigma: FloatArray, walk: FloatArray) -> float:
    """Return how much more the fixes scatter from one to the next than they say."""
    step = np.linalg.norm(np.diff(offset, axis=0), axis=1)
    expected = np.sqrt(sigma[1:] ** 2 + sigma[:-1] ** 2 + walk**2)
    return float(max(1.0, np.median(step / expected) / np.sqrt(_MEDIAN_CHI2)))


def _smooth(
    offset: FloatArray, sigma: FloatArray, walk: FloatArray, weight: FloatArray
) -> FloatArray:
    """Return the random walk (n, 2) that explains weighted offsets best (tridiagonal solve)."""
    trust, stiff = np.maximum(weight, 1e-9) / sigma**2, 1.0 / walk**2
    banded = np.zeros((2, len(offset)))
    banded[1] = trust
    banded[1, :-1] += stiff
    banded[1, 1:] += stiff
    banded[0, 1:] = -stiff
    return np.asarray(solveh_banded(banded, trust[:, None] * offset))


def agree_in_length(
    positions_a: FloatArray, positions_b: FloatArray, sigma_m: float, drift: float
) -> np.ndarray:
    """Find points whose distances to each other are the same in two frames.

    Distances do not depend on the heading between the frames, which a single bad fix would turn.

    Args:
        positions_a: (n, 2).
        positions_b: (n, 2) the same points in a frame of the same scale.
        sigma_m: Noise of a point of a.
        drift: Relative error of a distance in b.

    Returns:
        (n,) bool, True for the largest group found that agrees with one of its own.
    """
    distance_a, distance_b = (
        np.linalg.norm(p[:, None] - p[None], axis=2) for p in (positions_a, positions_b)
    )
    bound = _GATE_SIGMAS * np.sqrt(2.0) * sigma_m + drift * distance_b
    agree = np.abs(distance_a - distance_b) <= bound
    best = agree[int(np.argmax(agree.sum(axis=1)))]
    return best & (agree[:, best].mean(axis=1) > 0.5)
