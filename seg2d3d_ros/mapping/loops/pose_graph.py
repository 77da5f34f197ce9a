"""Where all keyframes lie if odometry, vision, GNSS and loops are heard together (gtsam)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import FloatArray

# Drift of the tracked trajectory per square root of metre: radians, metres, log of scale.
_CHAIN_ROTATION = np.deg2rad(0.1)
_CHAIN_TRANSLATION_M = 0.05
_CHAIN_SCALE = 0.01
_LOOP_ROTATION = np.deg2rad(0.3)
_LOOP_TRANSLATION_M = 0.15
_LOOP_SCALE = 0.03
_FIXED = 1e-6
_FREE = 1e3
_MAX_ITERATIONS = 60


def load() -> None:
    """Load gtsam: a tenth of a second and 40 MiB that no cluster should find in its way."""
    import gtsam  # noqa: F401


@dataclass(frozen=True)
class Constraint:
    """A relative pose between nodes: p_i = S_i_j @ p_j, (4, 4) with its scale.

    `length_m` is the way between them on a chain; 0 for a loop, which is robust.
    """

    i: int
    j: int
    S_i_j: FloatArray
    length_m: float = 0.0


@dataclass(frozen=True)
class Anchor:
    """A measured position (3,) of a node in the world, with standard deviations (3,)."""

    node: int
    position_world: FloatArray
    sigma_m: FloatArray


@dataclass(frozen=True)
class PoseGraph:
    """Poses to be found.

    Attributes:
        T_world_node: (n, 4, 4) first guess.
        constraints: Chain and loops.
        anchors: GNSS; without any, the first node stays.
        has_scale: Scales may drift: nodes are similarities.
    """

    T_world_node: FloatArray
    constraints: tuple[Constraint, ...]
    anchors: tuple[Anchor, ...] = ()
    has_scale: bool = False


@dataclass(frozen=True)
class PoseGraphResult:
    """Similarities (n, 4, 4) of the nodes, and what each constraint misses after it.

    Attributes:
        S_world_node: (n, 4, 4).
        gap_m: (c,) distance.
        gap_rad: (c,) angle.
        strain: Squared error of the whole chain, in its standard deviations; the drift that
            loops take away is of six dimensions, and so this is about 6 where it is noise.
    """

    S_world_node: FloatArray
    gap_m: FloatArray
    gap_rad: FloatArray
    strain: float


def optimise(graph: PoseGraph) -> PoseGraphResult:
    """Minimise all errors by Levenberg-Marquardt, loops and anchors under a Cauchy kernel."""
    import gtsam

    factors, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    for k, T in enumerate(graph.T_world_node):
        values.insert(k, _similarity(gtsam, T))
    for c in graph.constraints:
        noise = _noise(gtsam, c, graph.has_scale)
        measured = _similarity(gtsam, c.S_i_j)
        factors.add(gtsam.BetweenFactorSimilarity3(c.i, c.j, measured, noise))
    first = np.full(7, _FIXED) if not graph.anchors else np.r_[[_FREE] * 6, _FIXED]
    factors.add(
        gtsam.PriorFactorSimilarity3(
            0, values.atSimilarity3(0), gtsam.noiseModel.Diagonal.Sigmas(first)
        )
    )
    for a in graph.anchors:
        factors.add(_anchor(gtsam, a, graph.T_world_node[a.node]))
    parameters = gtsam.LevenbergMarquardtParams()
    parameters.setMaxIterations(_MAX_ITERATIONS)
    solved = gtsam.LevenbergMarquardtOptimizer(factors, values, parameters).optimize()
    S = np.stack([_matrix(solved.atSimilarity3(k)) for k in range(len(graph.T_world_node))])
    return _assess(graph, S)


def _similarity(gtsam: Any, S: FloatArray) -> Any:
    scale = float(np.cbrt(np.linalg.det(S[:3, :3])))
    # gtsam's similarity maps p to scale * (R p + t).
    return gtsam.Similarity3(gtsam.Rot3(S[:3, :3] / scale), S[:3, 3] / scale, scale)


def _matrix(similarity: Any) -> FloatArray:
    scale = similarity.scale()
    out = np.eye(4)
    out[:3, :3] = scale * similarity.rotation().matrix()
    out[:3, 3] = scale * similarity.translation()
    return out


def _noise(gtsam: Any, c: Constraint, has_scale: bool) -> Any:
    if c.length_m > 0:
        root = np.sqrt(c.length_m)
        scale = _CHAIN_SCALE * root if has_scale else _FIXED
        sigmas = [_CHAIN_ROTATION * root] * 3 + [_CHAIN_TRANSLATION_M * root] * 3 + [scale]
        return gtsam.noiseModel.Diagonal.Sigmas(np.array(sigmas))
    sigmas = [_LOOP_ROTATION] * 3 + [_LOOP_TRANSLATION_M] * 3 + [_LOOP_SCALE]
    return _robust(gtsam, np.array(sigmas))


def _robust(gtsam: Any, sigmas: FloatArray) -> Any:
    kernel = gtsam.noiseModel.mEstimator.Cauchy.Create(2.0)
    return gtsam.noiseModel.Robust.Create(kernel, gtsam.noiseModel.Diagonal.Sigmas(sigmas))


def _anchor(gtsam: Any, a: Anchor, T_world_node: FloatArray) -> Any:
    """Return a prior on the position alone: what turns and scales is left free."""
    target = T_world_node.copy()
    target[:3, 3] = a.position_world
    # The error is told in the node's axes: a round deviation needs no turning.
    sigma = float(np.sqrt((a.sigma_m**2).mean()))
    sigmas = np.array([_FREE] * 3 + [sigma] * 3 + [_FREE])
    return gtsam.PriorFactorSimilarity3(a.node, _similarity(gtsam, target), _robust(gtsam, sigmas))


def _assess(graph: PoseGraph, S: FloatArray) -> PoseGraphResult:
    constraints = graph.constraints
    i, j = (np.array([getattr(c, end) for c in constraints], dtype=np.int64) for end in "ij")
    told = np.reshape([c.S_i_j for c in constraints], (-1, 4, 4))
    missed = np.linalg.inv(S[i] @ told) @ S[j]
    scale_i, scale = (np.cbrt(np.linalg.det(M[:, :3, :3])) for M in (S[i], missed))
    gap_m = scale_i * np.linalg.norm(missed[:, :3, 3], axis=1)
    missed[:, :3, :3] /= scale[:, None, None]
    gap_rad = np.array([transforms.angle_rad(T) for T in missed])
    length_m = np.array([c.length_m for c in constraints])
    chain = length_m > 0
    turned, apart = gap_rad[chain] / _CHAIN_ROTATION, gap_m[chain] / _CHAIN_TRANSLATION_M
    strain = float(((turned**2 + apart**2) / length_m[chain]).sum())
    return PoseGraphResult(S, gap_m, gap_rad, strain)
