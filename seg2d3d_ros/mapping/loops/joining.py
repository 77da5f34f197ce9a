"""How a part of the map that lies apart fits onto another that loops tie it to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from seg2d3d_ros.geometry.alignment import align_points
from seg2d3d_ros.mapping.loops.loop import Loop, Wishes
from seg2d3d_ros.mapping.loops.sessions import Sessions
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, IntArray

_MIN_JOINING = 3
_MIN_SHARED = 30
_LANDMARK_SIGMA_M = 0.3


@dataclass(frozen=True)
class Join:
    """Two groups of sessions that are one.

    Attributes:
        keeper: The group that stays where it is.
        other: The group that is carried.
        S: (4, 4) how, p_new = S @ p_old.
        num_loops: How many loops agree.
        residual_m: Median distance of the landmarks both share; None where one loop alone tells.
    """

    keeper: int
    other: int
    S: FloatArray
    num_loops: int
    residual_m: float | None = None


def find_join(
    state: MapState, sessions: Sessions, apart: Sequence[Loop], votes: IntArray
) -> Join | None:
    """Return what the loop that most others back joins; None where too few agree.

    Args:
        state: The map.
        sessions: Which frames hang together.
        apart: Loops between groups, n of them.
        votes: (n,) by how many others each is backed.
    """
    if votes.max(initial=0) < _MIN_JOINING - 1:
        return None
    poses = np.stack([f.T_world_base for f in state.frames])
    first = int(np.argmax(votes))
    best, agree = apart[first], Wishes(apart, poses).agree(first)
    keeper, other = sorted((sessions.group(best.old), sessions.group(best.new)))
    S = best.motion(poses)
    if sessions.group(best.old) != keeper:
        S = np.asarray(np.linalg.inv(S), dtype=np.float64)
    one = Join(keeper, other, S, int(votes.max()) + 1)
    return _aligned(state, sessions, [apart[k] for k in np.flatnonzero(agree).tolist()], one)


def _aligned(state: MapState, sessions: Sessions, agreed: Sequence[Loop], one: Join) -> Join:
    """Let all landmarks that loops match tell how the groups fit.

    What one loop tells stands where these are too few or lie on a line.
    """
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for loop in agreed:
        groups = sessions.group(loop.old), sessions.group(loop.new)
        pair = np.stack([loop.landmarks_old, loop.landmarks_new], axis=1)
        if sorted(groups) == [one.keeper, one.other]:
            pairs.append(pair if groups[0] == one.keeper else pair[:, ::-1])
    ids = np.concatenate(pairs)
    here, there = state.points(ids[:, 0]), state.points(ids[:, 1])
    known = np.isfinite(here[:, 0]) & np.isfinite(there[:, 0])
    is_metric = all(sessions.is_group_metric(g) for g in (one.keeper, one.other))
    delta_m = _LANDMARK_SIGMA_M * state.unit
    found = align_points(here[known], there[known], not is_metric, delta_m=delta_m)
    if known.sum() < _MIN_SHARED or found.is_degenerate:
        return one
    return replace(one, S=found.S_a_b, residual_m=found.residual_m)
