"""Keyframes of the map, what they saw and what else is known of them, ready to be adjusted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from seg2d3d_ros.geometry import bundle
from seg2d3d_ros.mapping.refinement.acceptance import Factors
from seg2d3d_ros.mapping.refinement.sightings import Observed, seen_twice
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import IntArray

_MIN_OBSERVATIONS = 50


@dataclass(frozen=True)
class MapProblem:
    """A bundle adjustment of keyframes of the map.

    Attributes:
        seen: What its keyframes saw.
        used: (n,) bool by observation: takes part.
        landmarks: (p,) landmarks that take part.
        factors: Odometry and GNSS of what moves.
        bundle: The problem; its frames are those of `seen`.
    """

    seen: Observed
    used: np.ndarray
    landmarks: IntArray
    factors: Factors
    bundle: bundle.BundleProblem


def map_problem(
    state: MapState, seen: Observed, keep: np.ndarray, factors: Factors
) -> MapProblem | None:
    """Put a problem together of the landmarks that are kept twice; None where too little is left.

    Args:
        state: The map.
        seen: What its keyframes saw.
        keep: (n,) bool, the observations that may take part.
        factors: Odometry and GNSS; without GNSS the first keyframe stays.
    """
    landmarks, point, rows = seen_twice(seen.ids, keep)
    if len(rows) < _MIN_OBSERVATIONS:
        return None
    used = np.zeros(len(keep), dtype=bool)
    used[rows] = True
    place = {k: i for i, k in enumerate(seen.keyframes)}
    relative = tuple(
        replace(r, i=place[r.i], j=place[r.j])
        for r in factors.relative
        if r.i in place and r.j in place
    )
    positions = tuple(
        replace(p, frame=place[p.frame]) for p in factors.positions if p.frame in place
    )
    constant = np.zeros(len(seen.keyframes), dtype=bool)
    constant[0] = not positions
    problem = bundle.BundleProblem(
        cameras=state.cameras,
        T_world_base=np.stack([state.frames[k].T_world_base for k in seen.keyframes]),
        is_constant=constant,
        points_world=state.points(landmarks),
        frame=seen.frame[rows],
        camera=seen.camera[rows],
        point=point,
        uv_ideal_px=seen.uv_ideal_px[rows],
        relative=relative,
        positions=positions,
    )
    return MapProblem(seen, used, landmarks, factors, problem)
