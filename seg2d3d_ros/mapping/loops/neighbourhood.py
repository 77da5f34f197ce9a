"""Bundle adjustment of what lies around loops that were just closed; the rest is held."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.bundle import PositionPrior
from seg2d3d_ros.mapping.loops.loop import Loop
from seg2d3d_ros.mapping.refinement.acceptance import Factors, Judge
from seg2d3d_ros.mapping.refinement.map_problem import MapProblem
from seg2d3d_ros.mapping.refinement.regions import (
    REGION_SOLVER,
    FactorsByFrame,
    Region,
    adjust_region,
    region_problem,
)
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, IntArray

_LOG = logging.getLogger(__name__)
_REACH, _MARGIN = 20, 10
_MOST_FREE = 120
_MOST_BENT, _BENT = 20, 3.0


def settle(
    state: MapState,
    loops: Sequence[Loop],
    bend: FloatArray,
    positions: Sequence[PositionPrior],
) -> FloatArray | None:
    """Adjust both ends of loops, and where the pose graph bent the map most, all else held.

    At most 120 keyframes move, whatever the length of the map. The outcome is kept only if it
    costs less and leaves neither odometry nor GNSS further behind. GNSS has no say in it: what it
    knows of the whole the pose graph has heard, and a part must not be torn from the rest.

    Args:
        state: The map, bent and its landmarks merged; changed in place.
        loops: The loops that were just closed.
        bend: (n, 4, 4) how the pose graph moved each frame, p_new = S @ p_old.
        positions: GNSS factors by frame of the map.

    Returns:
        (n, 4, 4) how each frame of the map moved, p_new = T @ p_old; None where the adjustment
        was put back or too little was seen.
    """
    keyframes = state.keyframes
    free = set(_free(state, keyframes, loops, bend).tolist())
    free.discard(0)
    near = {j for k in free for j in range(k - _MARGIN, k + _MARGIN + 1)}
    held = near.intersection(range(len(keyframes))).difference(free)
    region = Region(tuple(sorted(free)), tuple(sorted(held)))
    problem = region_problem(state, keyframes, region, FactorsByFrame(state, ()))
    if problem is None:
        return None
    moving = {keyframes[k] for k in free}
    fixes = tuple(p for p in positions if p.frame in moving)
    return _adjust(state, problem, replace(problem.factors, positions=fixes))


def _free(
    state: MapState, keyframes: list[int], loops: Sequence[Loop], bend: FloatArray
) -> IntArray:
    """Return the keyframes (n,) that may move, by position among all keyframes."""
    ends = np.searchsorted(keyframes, sorted({k for loop in loops for k in (loop.old, loop.new)}))
    at = np.arange(len(keyframes))
    away = np.abs(at[:, None] - ends).min(axis=1)
    order = np.lexsort((at, away))
    near = order[away[order] <= _REACH]
    return np.union1d(near[: _MOST_FREE - _MOST_BENT], _most_bent(state, keyframes, bend))


def _most_bent(state: MapState, keyframes: list[int], bend: FloatArray) -> IntArray:
    """Return keyframes (n,) that moved otherwise than the one before, much more than is usual."""
    S = bend[keyframes]
    places = np.stack([state.frames[k].T_world_base[:3, 3] for k in keyframes])
    way = np.linalg.norm(np.diff(places, axis=0), axis=1)
    back = np.linalg.inv(S)
    as_before = np.einsum("nij,nj->ni", S[:-1] @ back[1:], np.c_[places, np.ones(len(S))][1:])
    apart = np.linalg.norm(as_before[:, :3] - places[1:], axis=1) / np.sqrt(np.maximum(way, 0.1))
    much = np.flatnonzero(apart > max(_BENT * float(np.median(apart)), 1e-6))
    return 1 + much[np.argsort(-apart[much], kind="stable")][:_MOST_BENT]


def _adjust(state: MapState, problem: MapProblem, known: Factors) -> FloatArray | None:
    """Adjust the region and carry all that hangs on it along; None if it was put back."""
    judge = Judge(state, problem.seen)
    adjust_region(state, problem)
    verdict = judge.compare(problem.used, known, REGION_SOLVER)
    found = [state.frames[k].T_world_base for k in problem.seen.keyframes]
    points = state.points(problem.landmarks)
    judge.put_back()
    if not verdict.is_accepted:
        _LOG.warning("adjustment around a loop put back: %s", verdict.reason)
        return None
    motion: FloatArray = np.tile(np.eye(4), (len(state.frames), 1, 1))
    held = problem.bundle.is_constant
    for k, T, stays in zip(problem.seen.keyframes, found, held, strict=True):
        if not stays:
            motion[k] = T @ transforms.invert(state.frames[k].T_world_base)
    motion = motion[[f.reference for f in state.frames]]
    state.correct(motion)
    state.set_points(problem.landmarks, points)
    return motion
