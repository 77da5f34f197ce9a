"""Bundle adjustment of the whole map, with odometry and GNSS as factors."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from seg2d3d_ros.geometry import bundle, map_bundle, transforms
from seg2d3d_ros.geometry.triangulation import triangulate
from seg2d3d_ros.mapping import forks
from seg2d3d_ros.mapping.refinement.acceptance import Factors, Judge, errors_px
from seg2d3d_ros.mapping.refinement.map_problem import MapProblem, map_problem
from seg2d3d_ros.mapping.refinement.odometry_scale import (
    odometry_factors,
    odometry_scale,
    take_odometry_scale,
)
from seg2d3d_ros.mapping.refinement.sightings import (
    MOST_AT_ONCE,
    Observed,
    observed,
    track_batches,
)
from seg2d3d_ros.mapping.refinement.thinning import fire_in_turn, num_across, thinned
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, IntArray, Rig

_LOG = logging.getLogger(__name__)
MAX_ERROR_PX = 2.5
_MIN_ACROSS = 5
_MIN_PARALLAX_RAD = 0.004
_MAX_RELATIVE_SIGMA = 0.3
SOLVER = bundle.BundleOptions(
    loss_px=0.5, max_iterations=10, function_tolerance=1e-4, sigma_px=3.0
)
_LAST_ITERATIONS = 5
_FAINT = 0.001
# Landmarks whose observations scatter by more than this, and by so many times what is usual, are
# none: edges that cross in the picture, and what slid along a surface. Each view of them errs
# within bounds, but all err alike.
_MOST_SCATTER_PX, _MOST_SCATTER = 0.4, 1.5
# By how much wheels are usually long or short.
_WHEEL_SIGMA = 0.025


@dataclass(frozen=True)
class Refinement:
    """Landmarks that were adjusted, and counters (observations, robust cost, odometry's scale)."""

    adjusted: IntArray
    counts: dict[str, float]


def refine(
    state: MapState,
    positions: tuple[bundle.PositionPrior, ...],
    skimmed: Observed | None = None,
) -> Refinement:
    """Adjust all keyframes and landmarks together, dropping what disagrees between two rounds.

    Wheels are off by a few percent always in the same direction, which is not noise. The first
    round therefore barely listens to odometry; where cameras overlap or GNSS speaks, the scale
    comes out right, and its ratio to the odometry's corrects the increments of the second round.
    A few fixes over a short way know the scale no better than wheels do: then both are weighed.
    The outcome is kept only if it costs less than what was there and does not leave odometry and
    GNSS further behind; else all is put back, and `refine_rejected` says so.

    Args:
        state: The map; changed in place. Cameras with a `sigma_mount_rad` are turned, too.
        positions: GNSS factors; `frame` is a position in `state.frames`. With any, no pose is
            held.
        skimmed: What of the observations takes part; chosen from all of them without it.

    Returns:
        The landmarks that were adjusted, and counters.
    """
    seen = skimmed if skimmed is not None else thinned(state, observed(state))
    nothing = Refinement(np.zeros(0, dtype=np.int64), {})
    if len(seen.keyframes) < 3:
        return nothing
    judge = Judge(state, seen)
    trust = _trust(seen, positions)
    done = _adjust_twice(state, seen, positions, trust)
    if not done:
        return nothing
    verdict = judge.compare(done[-1].used, done[-1].factors, SOLVER)
    counts = {
        "refine_observations": float(done[-1].used.sum()),
        "refine_cost_before": verdict.cost_before,
        "refine_cost_after": verdict.cost_after,
        "refine_rejected": float(not verdict.is_accepted),
    }
    if not verdict.is_accepted:
        judge.put_back()
        _LOG.warning("refinement put back: %s", verdict.reason)
        return Refinement(nothing.adjusted, counts)
    if state.odometry:
        counts["odometry_scale"] = odometry_scale(state)
    # What turned cameras have bent, they have bent between the keyframes, too.
    state.settle(judge.T_world_base if any(state.sigma_mount_rad) else None)
    if state.odometry and not trust:
        take_odometry_scale(state)
    return Refinement(done[-1].landmarks, counts)


def _adjust_twice(
    state: MapState, seen: Observed, positions: tuple[bundle.PositionPrior, ...], trust: float
) -> list[MapProblem]:
    """Adjust in two rounds, or until one fails; the second corrects odometry by `trust`."""
    solver = replace(
        SOLVER, sigma_mount_rad=state.sigma_mount_rad, num_threads=forks.num_allowed()
    )
    first = _Round(4 * MAX_ERROR_PX, _FAINT if trust else 1.0, solver, fire_in_turn(seen))
    solver = replace(solver, max_iterations=_LAST_ITERATIONS)
    # Where matches across cameras tell the scale, the nearest ones scatter most.
    last = _Round(MAX_ERROR_PX, 1.0, solver, drops_unsteady=not trust)
    done: list[MapProblem] = []
    for one in (first, last):
        scale = 1.0 + trust * (odometry_scale(state) - 1.0) if done and trust else 1.0
        told = odometry_factors(state, scale, one.odometry_weight, one.hears_sideways)
        if not told and not trust:
            told = (_hold_scale(state, seen),)
        keep = done[-1].used if done else np.ones(len(seen.ids), dtype=bool)
        adjusted = _adjust(state, seen, keep, Factors(told, positions), one)
        if adjusted is None:
            break
        done.append(adjusted)
    return done


@dataclass(frozen=True)
class _Round:
    """A bundle adjustment: error above which observations are dropped, ear for odometry.

    What odometry says across the way may be heard in any case, unsteady landmarks left out.
    """

    bound_px: float
    odometry_weight: float
    solver: bundle.BundleOptions
    hears_sideways: bool = False
    drops_unsteady: bool = False


def _adjust(
    state: MapState, seen: Observed, keep: np.ndarray, factors: Factors, one: _Round
) -> MapProblem | None:
    """Adjust once; None, and nothing changed, where too little is left to be adjusted."""
    error_px = errors_px(state, seen)
    keep = keep & (error_px < one.bound_px)
    if one.drops_unsteady:
        keep &= _is_steady(seen.ids, error_px)
    problem = map_problem(state, seen, keep, factors)
    if problem is None:
        return None
    # Where thousands of keyframes form loops, no order makes a band of them; cameras that turn
    # see all of them.
    is_band = len(seen.keyframes) <= MOST_AT_ONCE and not any(one.solver.sigma_mount_rad)
    if is_band:
        result = map_bundle.adjust(problem.bundle, one.solver)
    else:
        # With several threads Ceres adds up in the order in which they come.
        result = bundle.adjust(problem.bundle, replace(one.solver, num_threads=1))
    for index, T in zip(seen.keyframes, result.T_world_base, strict=True):
        state.frames[index].T_world_base = T
    state.set_points(problem.landmarks, result.points_world)
    if state.rig is not None and len(result.R_base_cam):
        state.rig = _turned(state.rig, result.R_base_cam)
    return problem


def _is_steady(ids: IntArray, error_px: FloatArray) -> np.ndarray:
    """Return which observations (n,) are of landmarks that scatter hardly more than is usual.

    Args:
        ids: (n,) landmarks.
        error_px: (n,) reprojection errors.
    """
    _, index, count = np.unique(ids, return_inverse=True, return_counts=True)
    squared = np.square(np.fmin(error_px, MAX_ERROR_PX))
    scatter = np.bincount(index, weights=squared, minlength=len(count)) / count
    usual = float(np.median(scatter)) if len(count) else 0.0
    return np.asarray(scatter[index] <= max(_MOST_SCATTER_PX**2, _MOST_SCATTER**2 * usual))


def _turned(rig: Rig, R_base_cam: FloatArray) -> Rig:
    """Return a rig whose cameras have other rotations (c, 3, 3), at the same places."""
    turned = [
        replace(c, T_base_cam=transforms.rigid(R, c.T_base_cam[:3, 3]))
        for c, R in zip(rig.cameras, R_base_cam, strict=True)
    ]
    return replace(rig, cameras=tuple(turned))


def _trust(seen: Observed, positions: tuple[bundle.PositionPrior, ...]) -> float:
    """Return what part of the odometry's scale error to correct: 0 where nothing else knows it.

    Cameras that overlap know it well. Fixes p know the scale of a track to
    1 / sqrt(sum(|p - mean|^2 / sigma^2)), wheels to 2.5 %.
    """
    if num_across(seen) >= _MIN_ACROSS * len(seen.keyframes):
        return 1.0
    if not positions:
        return 0.0
    places = np.array([p.position_world[:2] for p in positions])
    variance = np.array([0.5 * np.trace(p.covariance[:2, :2]) for p in positions])
    mean = np.average(places, axis=0, weights=1.0 / variance)
    known = float((np.square(places - mean).sum(axis=1) / variance).sum())
    return known / (known + 1.0 / _WHEEL_SIGMA**2)


def _hold_scale(state: MapState, seen: Observed) -> bundle.RelativePrior:
    """Hold how far the farthest keyframe is from the first, where nothing else tells the scale."""
    T = np.stack([state.frames[k].T_world_base for k in seen.keyframes])
    T_first = transforms.invert(T[0]) @ T
    distance = np.linalg.norm(T_first[:, :3, 3], axis=1)
    far = int(np.argmax(distance))
    length = max(float(distance[far]), 1e-6)
    along = np.outer(*[T_first[far, :3, 3] / length] * 2)
    covariance = 1e4 * np.eye(6)
    covariance[3:, 3:] = length**2 * (1e4 * (np.eye(3) - along) + 1e-6 * along)
    return bundle.RelativePrior(seen.keyframes[0], seen.keyframes[far], T_first[far], covariance)


def retriangulate(state: MapState, adjusted: IntArray) -> int:
    """Place all tracks that were not adjusted anew, from every keyframe's rays.

    Args:
        state: The map; changed in place.
        adjusted: Landmarks that keep their position.

    Returns:
        How many landmarks there are.
    """
    return sum(_place_anew(state, seen, adjusted) for seen in track_batches(state))


def _place_anew(state: MapState, seen: Observed, adjusted: IntArray) -> int:
    if not len(seen.ids):
        return 0
    T_base_cam = np.stack([c.T_base_cam for c in state.cameras])
    T = (
        np.stack([state.frames[k].T_world_base for k in seen.keyframes])[seen.frame]
        @ T_base_cam[seen.camera]
    )
    K = np.stack([c.K for c in state.cameras])[seen.camera]
    focal = np.stack([K[:, 0, 0], K[:, 1, 1]], axis=1)
    xy = (seen.uv_ideal_px - K[:, :2, 2]) / focal
    rays = np.einsum("nij,nj->ni", T[:, :3, :3], np.c_[xy, np.ones(len(xy))])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    unique, track, count = np.unique(seen.ids, return_inverse=True, return_counts=True)
    found = triangulate(track, T[:, :3, 3], rays, len(unique), 1.0 / float(focal.mean()))
    offset = found.points[track] - T[:, :3, 3]
    cosine = np.einsum("ni,ni->n", offset, rays) / np.maximum(np.linalg.norm(offset, axis=1), 1e-9)
    error = np.arccos(np.clip(np.nan_to_num(cosine, nan=-1.0), -1.0, 1.0)) * focal[:, 0]
    worst, reach = np.zeros(len(unique)), np.zeros(len(unique))
    np.maximum.at(worst, track, error)
    np.maximum.at(reach, track, np.nan_to_num(np.linalg.norm(offset, axis=1)))
    fixed = np.isin(unique, adjusted)
    state.set_points(unique[fixed], state.points(unique[fixed]), found.sigma_m[fixed])
    good = (count >= 2) & found.is_front & (worst < 1.5 * MAX_ERROR_PX)
    good &= (found.parallax_rad > _MIN_PARALLAX_RAD) & (
        found.sigma_m < _MAX_RELATIVE_SIGMA * reach
    )
    free = ~fixed
    points = np.where(good[:, None], found.points, np.nan)
    state.set_points(unique[free], points[free], found.sigma_m[free])
    return int((fixed | good).sum())
