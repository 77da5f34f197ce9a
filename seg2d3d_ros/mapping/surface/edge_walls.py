"""Walls from side edges: a wall of known direction that ends at an edge, as far as masks go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seg2d3d_ros.mapping.surface.facades import CELL_M, Facade
from seg2d3d_ros.mapping.surface.side_edges import SideEdge
from seg2d3d_ros.types import FloatArray

# How well an edge must tell how far off the wall stands.
_MOST_SIGMA_M = 0.3
# From its far edge a wall comes nearer, seen at less than 45 degrees; near edges may be those of
# walls behind, or of what hides the wall.
_LEAST_NEARING = 0.7
# Masks do not tell a wall from the gable beside it: where its near edge is not known, it goes on
# for no more than this, and if masks go on for twice as much, they show something else.
_LONGEST_M, _LONGEST_KNOWN_M, _HIGHEST_M = 12.0, 30.0, 30.0
_SAME_PLANE_M, _SIGMAS = 0.5, 2.0
_LEAST_COSINE = 0.02
_REACHED_QUANTILE, _LOW_QUANTILE, _HIGH_QUANTILE = 0.8, 0.2, 0.8
_PARALLEL = 0.9


def raise_on_edges(edges: Sequence[SideEdge], heading_rad: float) -> list[Facade]:
    """Return the walls that go from their far edge towards those who saw it.

    Args:
        edges: Of one building, at most one to the left and one to the right.
        heading_rad: Angle of its walls' normals in the plan, up to right angles.
    """
    found: list[Facade] = []
    for edge in sorted(edges, key=lambda e: float(np.trace(e.covariance))):
        ray = edge.seen.rays.mean(axis=0)
        right = np.array([ray[1], -ray[0]]) * (1.0 if edge.is_left else -1.0)
        for angle in heading_rad + np.pi / 2.0 * np.arange(4):
            inward = np.array([np.cos(angle), np.sin(angle)])
            if inward @ right < 0.0 or inward @ ray > -_LEAST_NEARING:
                continue
            normal = np.array([-inward[1], inward[0]])
            normal *= -np.sign(normal @ ray)
            sigma = _across(edge, normal)
            length = _length(edge, [e for e in edges if e is not edge], inward, normal)
            if sigma < _MOST_SIGMA_M and length and not is_parallel(normal, found):
                found.append(_make(edge, inward * length, normal, sigma))
    return found


def is_parallel(normal: FloatArray, walls: Sequence[Facade]) -> bool:
    """Return whether a wall with this normal (2,) or (3,) has any of these beside it."""
    return any(abs(float(w.normal[:2] @ normal[:2])) > _PARALLEL for w in walls if w.is_wall)


def _across(edge: SideEdge, normal: FloatArray) -> float:
    return float(np.sqrt(normal @ edge.covariance @ normal))


def _length(
    edge: SideEdge, others: Sequence[SideEdge], inward: FloatArray, normal: FloatArray
) -> float:
    """Return how far a wall goes: to the building's other edge, if that one lies on its plane.

    Else masks say how far they go on; 0 if much farther than a wall.
    """
    for other in others:
        away = other.xy - edge.xy
        sigma = float(np.hypot(_across(edge, normal), _across(other, normal)))
        if abs(away @ normal) < max(_SAME_PLANE_M, _SIGMAS * sigma) and away @ inward > CELL_M:
            return min(float(away @ inward), _LONGEST_KNOWN_M)
    seen = edge.seen
    cosine = np.minimum(seen.others @ normal, -_LEAST_COSINE)
    depth = (edge.xy - seen.centers[:, :2]) @ normal / cosine
    ends = seen.centers[:, :2] + depth[:, None] * seen.others
    length = float(np.quantile((ends - edge.xy) @ inward, _REACHED_QUANTILE))
    return 0.0 if length > 2.0 * _LONGEST_M else float(np.clip(length, CELL_M, _LONGEST_M))


def _make(edge: SideEdge, wall: FloatArray, normal: FloatArray, sigma_m: float) -> Facade:
    """Make a wall that goes from an edge by a vector (2,), as high as masks are that end there."""
    seen = edge.seen
    distance = np.linalg.norm(edge.xy - seen.centers[:, :2], axis=1)
    ends = seen.centers[:, 2:] + seen.slopes * distance[:, None]
    low = float(np.quantile(ends[:, 0], _LOW_QUANTILE))
    high = float(np.clip(np.quantile(ends[:, 1], _HIGH_QUANTILE), low + CELL_M, low + _HIGHEST_M))
    along = np.array([-normal[1], normal[0]])
    start = min(float(edge.xy @ along), float((edge.xy + wall) @ along))
    size_m = np.array([np.linalg.norm(wall), high - low])
    return Facade.unmeasured(
        normal, float(edge.xy @ normal), sigma_m, np.array([start, low]), size_m
    )
