"""Disturbed problems, and factors for them."""

from dataclasses import replace

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.bundle import PositionPrior, RelativePrior


def disturb(problem, sigma_rad=0.01, sigma_m=0.1, seed=1):
    """Shake all poses that are not held, and all points by 0.3 m."""
    rng = np.random.default_rng(seed)
    poses = problem.T_world_base.copy()
    for f in np.flatnonzero(~problem.is_constant):
        xi = np.r_[sigma_rad * rng.standard_normal(3), sigma_m * rng.standard_normal(3)]
        poses[f] = poses[f] @ transforms.exp(xi)
    points = problem.points_world + 0.3 * rng.standard_normal(problem.points_world.shape)
    return replace(problem, T_world_base=poses, points_world=points)


def odometry(problem, scale=1.0, is_robust=True):
    """Factors between consecutive frames, their way scaled; no two axes are as good."""
    T, factors = problem.T_world_base, []
    covariance = np.diag([0.02, 0.03, 0.01, 0.05, 0.08, 0.1]) ** 2
    for i in range(len(T) - 1):
        T_i_j = transforms.invert(T[i]) @ T[i + 1]
        T_i_j[:3, 3] *= scale
        # both ways round, as loops are told
        if i % 2:
            factors.append(RelativePrior(i, i + 1, T_i_j, covariance, is_robust))
        else:
            T_j_i = transforms.invert(T_i_j)
            factors.append(RelativePrior(i + 1, i, T_j_i, covariance, is_robust))
    return tuple(factors)


def fixes(problem, shift_m=(0.0, 0.0, 0.0)):
    """A position of each frame, one of them 30 m off."""
    covariance = np.diag([0.1, 0.2, 0.3]) ** 2
    out = [
        PositionPrior(f, T[:3, 3] + shift_m, covariance)
        for f, T in enumerate(problem.T_world_base)
    ]
    out[4] = replace(out[4], position_world=out[4].position_world + [0.0, 30.0, 0.0])
    return tuple(out)
