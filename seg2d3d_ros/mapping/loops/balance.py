"""A part of the map as a pose graph: its chain, its loops and GNSS, balanced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.bundle import PositionPrior
from seg2d3d_ros.mapping.loops.loop import Loop
from seg2d3d_ros.mapping.loops.pose_graph import Anchor, Constraint, PoseGraph, optimise
from seg2d3d_ros.mapping.loops.sessions import Sessions
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray

_MAX_GAP_M = 0.6
_MAX_GAP_RAD = np.deg2rad(1.5)
MAX_STRAIN = 25.0
_COASTED = 30.0


@dataclass(frozen=True)
class Part:
    """Keyframes of the map that hang together.

    Attributes:
        state: The map.
        sessions: Which frames hang together.
        nodes: The keyframes, by position in `state.frames`.
        positions: GNSS factors by position in `state.frames`.
    """

    state: MapState
    sessions: Sessions
    nodes: Sequence[int]
    positions: Sequence[PositionPrior]


@dataclass(frozen=True)
class Balance:
    """Where n keyframes lie once l loops are heard.

    Attributes:
        S_world_node: (n, 4, 4) similarities.
        gap_m: (l,) by how far each loop still misses.
        is_near: (l,) which of them are to be believed, as they miss by little.
        strain: By how much the chain is stretched beyond what GNSS and loops known before ask
            for, squared, in its standard deviations.
    """

    S_world_node: FloatArray
    gap_m: FloatArray
    is_near: NDArray[np.bool_]
    strain: float


def balance(part: Part, loops: Sequence[Loop], known: Sequence[Loop]) -> Balance:
    """Balance a part of the map.

    Args:
        part: The keyframes.
        loops: All loops that are heard, l of them.
        known: Those of them that bent the map before.
    """
    graph, num_chain = _graph(part, loops)
    result = optimise(graph)
    gap_m, gap_rad = result.gap_m[num_chain:], result.gap_rad[num_chain:]
    strain = result.strain
    if strain > MAX_STRAIN and graph.anchors:
        # Wheels that are off by some percent strain against GNSS without any loop.
        strain -= optimise(_graph(part, known)[0]).strain
    is_near = (gap_m < _MAX_GAP_M) & (gap_rad < _MAX_GAP_RAD)
    return Balance(result.S_world_node, gap_m, is_near, strain)


def carry(
    state: MapState, nodes: Sequence[int], S_world_node: FloatArray
) -> tuple[FloatArray, float]:
    """Return how all frames move with keyframes, (f, 4, 4), and the largest way of these.

    Args:
        state: The map, which stays as it is.
        nodes: Keyframes, by position in `state.frames`.
        S_world_node: (n, 4, 4) where they are to lie.
    """
    motion: FloatArray = np.tile(np.eye(4), (len(state.frames), 1, 1))
    for n, k in enumerate(nodes):
        motion[k] = S_world_node[n] @ transforms.invert(state.frames[k].T_world_base)
    motion = motion[[f.reference for f in state.frames]]
    places = np.stack([state.frames[k].T_world_base[:3, 3] for k in nodes])
    return motion, float(np.linalg.norm(S_world_node[:, :3, 3] - places, axis=1).max())


def _graph(part: Part, loops: Sequence[Loop]) -> tuple[PoseGraph, int]:
    """Return the pose graph of keyframes, and how many of its constraints are the chain."""
    state, nodes, sessions = part.state, part.nodes, part.sessions
    place = {k: n for n, k in enumerate(nodes)}
    poses = np.stack([state.frames[k].T_world_base for k in nodes])
    constraints = []
    for n in range(1, len(nodes)):
        if sessions.of(nodes[n]) == sessions.of(nodes[n - 1]):
            T = transforms.invert(poses[n - 1]) @ poses[n]
            length = max(float(np.linalg.norm(T[:3, 3])), 0.1)
            if state.frames[nodes[n]].status == "coasted":
                length *= _COASTED
            constraints.append(Constraint(n - 1, n, T, length))
    num_chain = len(constraints)
    constraints += [Constraint(place[e.old], place[e.new], e.S_old_new) for e in loops]
    anchors = tuple(
        Anchor(place[p.frame], p.position_world, np.sqrt(np.diag(p.covariance)))
        for p in part.positions
        if p.frame in place
    )
    has_scale = not all(sessions.is_metric(k) for k in nodes)
    return PoseGraph(poses, tuple(constraints), anchors, has_scale), num_chain
