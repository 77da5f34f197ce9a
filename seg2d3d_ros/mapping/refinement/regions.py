"""Refinement of maps of any length: all of it coarsely, then region by region."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from seg2d3d_ros.geometry import bundle, map_bundle
from seg2d3d_ros.mapping import forks
from seg2d3d_ros.mapping.refinement.acceptance import Factors, errors_px
from seg2d3d_ros.mapping.refinement.map_problem import MapProblem, map_problem
from seg2d3d_ros.mapping.refinement.odometry_scale import odometry_factors, odometry_scale
from seg2d3d_ros.mapping.refinement.refinement import MAX_ERROR_PX, SOLVER, Refinement, refine
from seg2d3d_ros.mapping.refinement.sightings import MOST_AT_ONCE, Observed, observed
from seg2d3d_ros.mapping.refinement.thinning import near_matches, thinned
from seg2d3d_ros.mapping.state import MapState

_LOG = logging.getLogger(__name__)
_REGION, _OVERLAP, _MARGIN = 150, 30, 20
_SKIMMED_PER_PICTURE = 30
_MIN_SHARED, _MOST_BACK = 8, 40
REGION_SOLVER = replace(SOLVER, max_iterations=6)


@dataclass(frozen=True)
class Region:
    """Keyframes that are adjusted together, by position among all keyframes.

    Attributes:
        free: Those that move.
        held: Those around them, and those that came back later, which stay.
    """

    free: tuple[int, ...]
    held: tuple[int, ...]


def refine_map(state: MapState, positions: tuple[bundle.PositionPrior, ...]) -> Refinement:
    """Adjust the whole map in memory that hardly depends on its length, in time linear in it.

    A map of up to 400 keyframes is adjusted in one piece. A longer one is first adjusted as a
    whole with some landmarks of each picture, which settles drift, loops and scale; then
    overlapping regions of 150 keyframes are adjusted with all that matters, what is around held.

    Args:
        state: The map; changed in place.
        positions: GNSS factors; `frame` is a position in `state.frames`.

    Returns:
        The landmarks that were adjusted, and counters.
    """
    keyframes = state.keyframes
    if len(keyframes) <= MOST_AT_ONCE:
        return refine(state, positions)
    skimmed = _skim(state, keyframes)
    coarse = refine(state, positions, skimmed)
    if not coarse.counts:
        return coarse
    factors = FactorsByFrame(state, positions)
    adjusted, num, num_rows = [coarse.adjusted], 0, 0.0
    for region in _regions(len(keyframes), skimmed, is_anchored=not positions):
        num += 1
        problem = region_problem(state, keyframes, region, factors)
        if problem is not None:
            adjust_region(state, problem)
            adjusted.append(problem.landmarks)
            num_rows += float(problem.used.sum())
    state.settle()
    _LOG.info("%d keyframes refined in %d regions", len(keyframes), num)
    counts = {**coarse.counts, "refine_regions": float(num), "refine_region_rows": num_rows}
    return Refinement(np.unique(np.concatenate(adjusted)), counts)


def _skim(state: MapState, keyframes: list[int]) -> Observed:
    """Choose some landmarks of every picture, a stretch at a time; return all that saw them."""
    wanted = np.zeros(state.num_ids, dtype=bool)
    for low in range(0, len(keyframes), _REGION):
        stretch = observed(state, keyframes[low : low + _REGION])
        wanted[thinned(state, stretch, _SKIMMED_PER_PICTURE).ids] = True
    return near_matches(state, observed(state, keyframes, wanted), _SKIMMED_PER_PICTURE)


def _regions(num: int, skimmed: Observed, is_anchored: bool) -> Iterator[Region]:
    """Yield the regions in order; without GNSS the first keyframe of all is the anchor."""
    for low in range(0, num, _REGION):
        high = min(low + _REGION + _OVERLAP, num)
        near = range(max(low - _MARGIN, 0), min(high + _MARGIN, num))
        back = _came_back(skimmed, near, range(low, high))
        anchor = 1 if low == 0 and is_anchored else 0
        free = tuple(range(low + anchor, high))
        held = tuple(k for k in near if not low + anchor <= k < high)
        yield Region(free, (*held, *back))
        if high == num:
            return


def _came_back(skimmed: Observed, near: range, free: range) -> list[int]:
    """Return keyframes elsewhere that see what the free ones see, those that share most."""
    inside = (skimmed.frame >= free.start) & (skimmed.frame < free.stop)
    outside = (skimmed.frame < near.start) | (skimmed.frame >= near.stop)
    shared = outside & np.isin(skimmed.ids, np.unique(skimmed.ids[inside]))
    count = np.bincount(skimmed.frame[shared], minlength=1)
    often = np.flatnonzero(count >= _MIN_SHARED)
    order = np.lexsort((often, -count[often]))
    return sorted(often[order[:_MOST_BACK]].tolist())


class FactorsByFrame:
    """Odometry, with the scale the map found for it, and GNSS, by position in `state.frames`."""

    def __init__(self, state: MapState, positions: Sequence[bundle.PositionPrior]) -> None:
        """Take all odometry of the map, and GNSS factors."""
        self._relative: dict[int, list[bundle.RelativePrior]] = defaultdict(list)
        for r in odometry_factors(state, odometry_scale(state), 1.0):
            self._relative[r.i].append(r)
        self._positions: dict[int, list[bundle.PositionPrior]] = defaultdict(list)
        for p in positions:
            self._positions[p.frame].append(p)

    def of(self, frames: list[int], free: set[int]) -> Factors:
        """Return the factors that say something about the free frames."""
        relative = [r for k in frames for r in self._relative[k] if {r.i, r.j} & free]
        positions = [p for k in sorted(free) for p in self._positions[k]]
        return Factors(tuple(relative), tuple(positions))


def region_problem(
    state: MapState, keyframes: list[int], region: Region, factors: FactorsByFrame
) -> MapProblem | None:
    """Put the problem of a region together; None where too little was seen.

    Args:
        state: The map.
        keyframes: All keyframes, by position in `state.frames`.
        region: Those that move and those that are held.
        factors: Odometry and GNSS.
    """
    at = sorted({*region.free, *region.held})
    is_free = np.isin(at, region.free)
    seen = thinned(state, observed(state, [keyframes[k] for k in at]))
    keep = errors_px(state, seen) < MAX_ERROR_PX
    keep &= np.isin(seen.ids, np.unique(seen.ids[is_free[seen.frame]]))
    known = factors.of(seen.keyframes, {keyframes[k] for k in region.free})
    problem = map_problem(state, seen, keep, known)
    if problem is None:
        return None
    return replace(problem, bundle=replace(problem.bundle, is_constant=~is_free))


def adjust_region(state: MapState, problem: MapProblem) -> None:
    """Adjust a region; frames between keyframes and other landmarks are left where they are."""
    solver = replace(REGION_SOLVER, num_threads=forks.num_allowed())
    result = map_bundle.adjust(problem.bundle, solver)
    free = ~problem.bundle.is_constant
    for k, T, moves in zip(problem.seen.keyframes, result.T_world_base, free, strict=True):
        if moves:
            state.frames[k].T_world_base = T
    state.set_points(problem.landmarks, result.points_world)
