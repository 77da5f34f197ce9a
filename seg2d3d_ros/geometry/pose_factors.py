"""Odometry and GNSS as factors of poses, on whole arrays: costs and normal equations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.bundle import FIX_LOSS, ODOMETRY_LOSS, BundleProblem
from seg2d3d_ros.types import FloatArray, IntArray


@dataclass(frozen=True)
class FactorEquations:
    """Normal equations of f poses that move, by [rotation, translation].

    Attributes:
        U: (f, 6, 6) of each pose.
        g: (f, 6) gradient.
        first: (m,) of two poses that odometry ties, the one that comes later.
        second: (m,) the other one.
        between: (m, 6, 6) of both, first by second.
    """

    U: FloatArray
    g: FloatArray
    first: IntArray
    second: IntArray
    between: FloatArray


class Factors:
    """What a problem knows of its poses besides pictures.

    Costs are in px^2: instead of reprojections weighing 1 / sigma^2, odometry weighs sigma^2.
    """

    def __init__(self, problem: BundleProblem, place: IntArray, sigma_px: float) -> None:
        """Gather the factors; `place` (n,) is that of frames among the free ones, -1 for none."""
        relative, fixes = problem.relative, problem.positions
        self._place = place
        self._i = np.array([r.i for r in relative], dtype=np.int64)
        self._j = np.array([r.j for r in relative], dtype=np.int64)
        self._T_i_j = np.array([r.T_i_j for r in relative]).reshape(-1, 4, 4)
        self._root = _roots(np.array([r.covariance for r in relative]).reshape(-1, 6, 6))
        is_robust = np.array([r.is_robust for r in relative], dtype=bool)
        self._width2 = np.where(is_robust, ODOMETRY_LOSS**2, np.inf)
        self._weight = sigma_px**2
        self._fixed = np.array([p.frame for p in fixes], dtype=np.int64)
        self._position = np.array([p.position_world for p in fixes]).reshape(-1, 3)
        self._fix_root = _roots(np.array([p.covariance for p in fixes]).reshape(-1, 3, 3))

    def cost(self, T: FloatArray) -> float:
        """Return half the sum of the robust squares at poses (n, 4, 4)."""
        told, fixed = _squared(self._deviation(T)), _squared(self._offset(T))
        width2 = np.full(len(fixed), FIX_LOSS**2)
        odometry = self._weight * _robust(told, self._width2)
        return 0.5 * (odometry + _robust(fixed, width2))

    def added_to(self, U: FloatArray, g: FloatArray, T: FloatArray) -> FactorEquations:
        """Add the factors to the normal equations U (f, 6, 6) and g (f, 6) at poses (n, 4, 4)."""
        U, g = U.copy(), g.copy()
        self._add_fixes(U, g, T)
        r = self._deviation(T)
        weight = self._weight / (1.0 + _squared(r) / self._width2)
        J_i, J_j = self._jacobians(T)
        weighed_i, weighed_j = (weight[:, None, None] * np.swapaxes(J, 1, 2) for J in (J_i, J_j))
        i, j = self._place[self._i], self._place[self._j]
        for at, weighed, J in ((i, weighed_i, J_i), (j, weighed_j, J_j)):
            free = at >= 0
            np.add.at(U, at[free], (weighed @ J)[free])
            np.add.at(g, at[free], (weighed @ r[:, :, None])[free, :, 0])
        both = (i >= 0) & (j >= 0)
        is_later = (i > j)[both]
        between = np.where(
            is_later[:, None, None], (weighed_i @ J_j)[both], (weighed_j @ J_i)[both]
        )
        first, second = np.maximum(i, j)[both], np.minimum(i, j)[both]
        return FactorEquations(U, g, first, second, between)

    def _add_fixes(self, U: FloatArray, g: FloatArray, T: FloatArray) -> None:
        r, at = self._offset(T), self._place[self._fixed]
        free = at >= 0
        weighed = (
            np.swapaxes(self._fix_root, 1, 2) / (1.0 + _squared(r) / FIX_LOSS**2)[:, None, None]
        )
        np.add.at(U[:, 3:, 3:], at[free], (weighed @ self._fix_root)[free])
        np.add.at(g[:, 3:], at[free], (weighed @ r[:, :, None])[free, :, 0])

    def _offset(self, T: FloatArray) -> FloatArray:
        """Return how far poses are from fixes (n, 3), of unit noise."""
        off = T[self._fixed, :3, 3] - self._position
        return np.asarray((self._fix_root @ off[:, :, None])[:, :, 0])

    def _deviation(self, T: FloatArray) -> FloatArray:
        """Return how poses deviate from odometry (n, 6) in frame i, of unit noise.

        Where Ceres has the prior of COLMAP turn the way by which the rotation is off.
        """
        R_i_world = np.swapaxes(T[self._i, :3, :3], 1, 2)
        turned = R_i_world @ T[self._j, :3, :3] @ np.swapaxes(self._T_i_j[:, :3, :3], 1, 2)
        moved = R_i_world @ (T[self._j, :3, 3] - T[self._i, :3, 3])[:, :, None]
        rotvec = np.reshape([transforms.rotation_vector(R) for R in turned], (-1, 3))
        off = np.concatenate([rotvec, moved[:, :, 0] - self._T_i_j[:, :3, 3]], axis=1)
        return np.asarray((self._root @ off[:, :, None])[:, :, 0])

    def _jacobians(self, T: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the Jacobians (n, 6, 6) of the deviation by poses i and j, where it is small."""
        R_i_world = np.swapaxes(T[self._i, :3, :3], 1, 2)
        x, y, z = (T[self._j, :3, 3] - T[self._i, :3, 3]).T
        across = np.zeros((len(x), 3, 3))
        across[:, 0, 1], across[:, 0, 2], across[:, 1, 2] = -z, y, -x
        across -= np.swapaxes(across, 1, 2)
        of_j = np.zeros((len(x), 6, 6))
        of_j[:, :3, :3] = of_j[:, 3:, 3:] = R_i_world
        of_i = -of_j
        of_i[:, 3:, :3] = R_i_world @ across
        return self._root @ of_i, self._root @ of_j


def _roots(covariances: FloatArray) -> FloatArray:
    """Return L^T (n, k, k) of the informations L L^T, which makes deviations unit noise."""
    return np.swapaxes(np.linalg.cholesky(np.linalg.inv(covariances)), -1, -2)


def _squared(r: FloatArray) -> FloatArray:
    return np.asarray((r * r).sum(axis=1))


def _robust(squared: FloatArray, width2: FloatArray) -> float:
    """Return the sum of Cauchy losses of squares (n,); where a width (n,) is infinite, of none."""
    is_robust = np.isfinite(width2)
    s, w = squared[is_robust], width2[is_robust]
    return float((w * np.log1p(s / w)).sum()) + float(squared[~is_robust].sum())
