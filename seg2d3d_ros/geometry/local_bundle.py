"""Bundle adjustment of a few frames that see many points: the same minimum as `bundle`, faster.

Levenberg-Marquardt on whole arrays. Points are eliminated by the Schur complement, what is left is
a dense system of six unknowns per free frame (Triggs et al., Bundle Adjustment - A Modern
Synthesis, 2000, section 6). A window that slides with every keyframe is adjusted in a fraction of
the time that a general solver takes to be set up and to differentiate.

A frame moves by R <- exp(w) R, t <- t + v, so that with q = X - t a point moves in it by
R^T ([q]x w - v): the Jacobian of the pose is that of the point times [[q]x, -I].
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.bundle import BundleOptions, BundleProblem, BundleResult, RelativePrior
from seg2d3d_ros.geometry.pose import pose_jacobian
from seg2d3d_ros.types import FloatArray, IntArray

_ODOMETRY_LOSS = 3.0
_FIRST_DAMPING = 1e-4
_MAX_DAMPING = 1e6
_MIN_DEPTH = 1e-3


@dataclass(frozen=True)
class _Equations:
    """Normal equations: poses `U` (6f, 6f), `g` (6f,), points `V` (p, 3, 3), `h` (p, 3), both `W`.

    `W` is (p, 6f, 3); residuals are weighted by the robust loss where they were linearised.
    """

    U: FloatArray
    g: FloatArray
    V: FloatArray
    h: FloatArray
    W: FloatArray


class _Window:
    """The observations of a problem in order of point and frame, to be linearised repeatedly.

    Attributes:
        used: Points (p,) that are seen at least twice.
        free: Frames (f,) that move.
    """

    def __init__(self, problem: BundleProblem, options: BundleOptions) -> None:
        finite = np.isfinite(problem.uv_ideal_px).all(axis=1)
        finite &= np.isfinite(problem.points_world[problem.point]).all(axis=1)
        count = np.bincount(problem.point[finite], minlength=len(problem.points_world))
        rows = np.flatnonzero(finite & (count[problem.point] >= 2))
        rows = rows[np.lexsort((problem.frame[rows], problem.point[rows]))]
        self._frame, self._camera = problem.frame[rows], problem.camera[rows]
        self.used, self._point = np.unique(problem.point[rows], return_inverse=True)
        self.free = np.flatnonzero(~problem.is_constant)
        self._place = np.full(len(problem.is_constant), -1)
        self._place[self.free] = np.arange(len(self.free))
        self._relative = [(r, _root_of_information(r)) for r in problem.relative]
        self._loss_px = options.loss_px
        K = np.stack([c.K for c in problem.cameras])[self._camera]
        self._focal = np.stack([K[:, 0, 0], K[:, 1, 1]], axis=1)
        self._xy = (problem.uv_ideal_px[rows] - K[:, :2, 2]) / self._focal
        T = transforms.invert(np.stack([c.T_base_cam for c in problem.cameras]))
        self._R_cam_base, self._t_cam_base = T[:, :3, :3], T[self._camera, :3, 3]
        self._moving = np.flatnonzero(self._place[self._frame] >= 0)
        at = self._place[self._frame[self._moving]]
        self._rows_of_frame = [np.flatnonzero(at == f) for f in range(len(self.free))]
        self._pair = self._point[self._moving] * len(self.free) + at

    def residuals(self, T: FloatArray, X: FloatArray) -> tuple[FloatArray, ...]:
        """Return residuals (n, 2), their squared norms (n,), q, p_cam (n, 3), R_cam_world."""
        R_cam_world = self._R_cam_base @ np.swapaxes(T[:, None, :3, :3], -1, -2)
        R = R_cam_world[self._frame, self._camera]
        q = X[self._point] - T[self._frame, :3, 3]
        p = np.einsum("nij,nj->ni", R, q) + self._t_cam_base
        p[:, 2] = np.where(np.abs(p[:, 2]) < _MIN_DEPTH, _MIN_DEPTH, p[:, 2])
        r = (p[:, :2] / p[:, 2:] - self._xy) * self._focal
        return r, np.einsum("ni,ni->n", r, r), q, p, R

    def cost(self, T: FloatArray, X: FloatArray) -> float:
        """Return half the sum of all robust squares, as Ceres counts it."""
        width = self._loss_px**2
        total = width * float(np.log1p(self.residuals(T, X)[1] / width).sum())
        for prior, root in self._relative:
            r = root @ _deviation(prior, T)
            total += _ODOMETRY_LOSS**2 * float(np.log1p(r @ r / _ODOMETRY_LOSS**2))
        return 0.5 * total

    def linearise(self, T: FloatArray, X: FloatArray) -> _Equations:
        """Return the normal equations at poses (f, 4, 4) and points (p, 3)."""
        r, squared, q, p, R = self.residuals(T, X)
        root = 1.0 / np.sqrt(1.0 + squared / self._loss_px**2)
        r *= root[:, None]
        xy = p[:, :2] / p[:, 2:]
        J = (self._focal / p[:, 2:] * root[:, None])[:, :, None] * (
            R[:, :2] - xy[:, :, None] * R[:, 2:]
        )
        starts = np.flatnonzero(np.diff(self._point, prepend=-1))
        M = J[:, 0, :, None] * J[:, 0, None, :] + J[:, 1, :, None] * J[:, 1, None, :]
        V = np.add.reduceat(M.reshape(-1, 9), starts, axis=0).reshape(-1, 3, 3)
        h = np.add.reduceat(J[:, 0] * r[:, :1] + J[:, 1] * r[:, 1:], starts, axis=0)
        rows, num = self._moving, len(self.free)
        U, g = self._poses(pose_jacobian(J[rows], q[rows]), r[rows])
        self._add_odometry(T, U, g)
        W = np.zeros((len(self.used) * num, 6, 3))
        if len(rows):
            starts = np.flatnonzero(np.diff(self._pair, prepend=-1))
            W[self._pair[starts]] = np.add.reduceat(_times_M(q[rows], M[rows]), starts, axis=0)
        shape = (6 * num, 6 * num)
        return _Equations(U.reshape(shape), g.ravel(), V, h, W.reshape(-1, 6 * num, 3))

    def _poses(self, J: FloatArray, r: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return J^T J (f, 6, f, 6) and J^T r (f, 6) of the poses' Jacobians (n, 2, 6)."""
        num = len(self.free)
        U, g = np.zeros((num, 6, num, 6)), np.zeros((num, 6))
        for f, rows in enumerate(self._rows_of_frame):
            A = J[rows].reshape(-1, 6)
            U[f, :, f] = A.T @ A
            g[f] = A.T @ r[rows].ravel()
        return U, g

    def _add_odometry(self, T: FloatArray, U: FloatArray, g: FloatArray) -> None:
        for prior, root in self._relative:
            r = root @ _deviation(prior, T)
            weight = 1.0 / (1.0 + r @ r / _ODOMETRY_LOSS**2)
            blocks = zip((prior.i, prior.j), _odometry_jacobians(prior, T), strict=True)
            both = [(self._place[f], root @ J) for f, J in blocks if self._place[f] >= 0]
            for a, J_a in both:
                g[a] += weight * (J_a.T @ r)
                for b, J_b in both:
                    U[a, :, b] += weight * (J_a.T @ J_b)


def adjust(problem: BundleProblem, options: BundleOptions) -> BundleResult:
    """Minimise robust reprojection errors together with odometry factors.

    Memory and time grow with points x free frames and free frames cubed: meant for windows.

    Returns:
        New poses and points, with the robust cost before and after, which never rises.

    Raises:
        ValueError: there are GNSS factors, which no window has.
    """
    if problem.positions:
        raise ValueError(f"{len(problem.positions)} GNSS factors; use bundle.adjust for them")
    window = _Window(problem, options)
    T, X = problem.T_world_base.copy(), problem.points_world[window.used]
    first = cost = window.cost(T, X)
    damping = _FIRST_DAMPING
    for _ in range(options.max_iterations if len(window.free) else 0):
        sums = window.linearise(T, X)
        while damping <= _MAX_DAMPING:
            T_new, X_new = _step(sums, damping, window.free, T, X)
            new = window.cost(T_new, X_new)
            if np.isfinite(new) and new <= cost:
                break
            damping *= 10.0
        else:
            break
        fall, T, X, cost = cost - new, T_new, X_new, new
        damping = max(0.1 * damping, 1e-9)
        if fall <= options.function_tolerance * cost:
            break
    points = problem.points_world.copy()
    points[window.used] = X
    return BundleResult(T, points, first, cost)


def _step(
    sums: _Equations, damping: float, free: IntArray, T: FloatArray, X: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return poses and points after one damped Gauss-Newton step."""
    U = sums.U + np.diag(damping * np.diag(sums.U) + 1e-9)
    V = sums.V.copy()
    diagonal = np.arange(3)
    V[:, diagonal, diagonal] = V[:, diagonal, diagonal] * (1.0 + damping) + 1e-9
    V_inv = np.linalg.inv(V)
    W = sums.W.transpose(1, 0, 2).reshape(len(U), -1)
    Y = (sums.W @ V_inv).transpose(1, 0, 2).reshape(len(U), -1)
    delta = np.linalg.solve(U - Y @ W.T, Y @ sums.h.ravel() - sums.g)
    rest = sums.h + (W.T @ delta).reshape(-1, 3)
    X_new = X - np.einsum("pij,pj->pi", V_inv, rest)
    T_new = T.copy()
    for f, (w, v) in zip(free, delta.reshape(-1, 2, 3), strict=True):
        T_new[f, :3, :3] = cv2.Rodrigues(w)[0] @ T[f, :3, :3]
        T_new[f, :3, 3] += v
    return T_new, X_new


def _times_M(q: FloatArray, M: FloatArray) -> FloatArray:
    """Return [[q]x, -I]^T M (n, 6, 3) of q (n, 3) and M (n, 3, 3)."""
    out = np.empty((len(q), 6, 3))
    x, y, z = (q[:, k, None] for k in range(3))
    out[:, 0] = z * M[:, 1] - y * M[:, 2]
    out[:, 1] = x * M[:, 2] - z * M[:, 0]
    out[:, 2] = y * M[:, 0] - x * M[:, 1]
    out[:, 3:] = -M
    return out


def _deviation(prior: RelativePrior, T: FloatArray) -> FloatArray:
    """Return how the poses deviate from odometry: [rotation, translation] (6,) in frame i."""
    R_i_world = T[prior.i, :3, :3].T
    turned = R_i_world @ T[prior.j, :3, :3] @ prior.T_i_j[:3, :3].T
    moved = R_i_world @ (T[prior.j, :3, 3] - T[prior.i, :3, 3])
    return np.concatenate([transforms.rotation_vector(turned), moved - prior.T_i_j[:3, 3]])


def _odometry_jacobians(prior: RelativePrior, T: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the Jacobians (6, 6) of the deviation by frames i and j, for small deviations."""
    R_i_world = T[prior.i, :3, :3].T
    x, y, z = T[prior.j, :3, 3] - T[prior.i, :3, 3]
    of_j = np.zeros((6, 6))
    of_j[:3, :3] = of_j[3:, 3:] = R_i_world
    of_i = -of_j
    of_i[3:, :3] = R_i_world @ np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return of_i, of_j


def _root_of_information(prior: RelativePrior) -> FloatArray:
    """Return L^T (6, 6) of the information L L^T, which makes deviations unit noise."""
    return np.asarray(np.linalg.cholesky(np.linalg.inv(prior.covariance)).T)
