"""Bundle adjustment of a few frames that see many points: the same minimum as `bundle`, faster.

Levenberg-Marquardt on whole arrays. Points are eliminated by the Schur complement, what is left is
a dense system of six unknowns per free frame (Triggs et al., Bundle Adjustment - A Modern
Synthesis, 2000, section 6). A window that slides with every keyframe is adjusted in a fraction of
the time that a general solver takes to be set up and to differentiate.

A frame moves by R <- exp(w) R, t <- t + v, so that with q = X - t a point moves in it by
R^T ([q]x w - v): the Jacobian of the pose is that of the point times [[q]x, -I].
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.bundle import BundleOptions, BundleProblem, BundleResult
from seg2d3d_ros.geometry.pose import by_pose
from seg2d3d_ros.geometry.pose_factors import Factors
from seg2d3d_ros.types import FloatArray, IntArray

_FIRST_DAMPING = 1e-4
_MAX_DAMPING = 1e6
_MIN_DEPTH = 1e-3


@dataclass(frozen=True)
class _Equations:
    """Normal equations: poses `U` (6f, 6f), `g` (6f,), points `V` (3, 3, p), `h` (3, p), both `W`.

    `W` is (6f, 3, p); residuals are weighted by the robust loss where they were linearised.
    """

    U: FloatArray
    g: FloatArray
    V: FloatArray
    h: FloatArray
    W: FloatArray


@dataclass(frozen=True)
class _Residuals:
    """Residuals `r` (2, n), their squared norms (n,), and what they were made of.

    Attributes:
        q: (3, n) points from the frames' origins, world axes.
        xy: (2, n) their ideal image coordinates.
        z: (n,) their depths.
        R_cam_world: (3, 3, n).
    """

    r: FloatArray
    squared: FloatArray
    q: FloatArray
    xy: FloatArray
    z: FloatArray
    R_cam_world: FloatArray


class _Window:
    """The observations of a problem, one to a column, by free frame; those of held ones first.

    Attributes:
        used: Points (p,) that are seen at least twice.
        free: Frames (f,) that move.
    """

    def __init__(self, problem: BundleProblem, options: BundleOptions) -> None:
        finite = np.isfinite(problem.uv_ideal_px).all(axis=1)
        finite &= np.isfinite(problem.points_world[problem.point]).all(axis=1)
        count = np.bincount(problem.point[finite], minlength=len(problem.points_world))
        rows = np.flatnonzero(finite & (count[problem.point] >= 2))
        self.free = np.flatnonzero(~problem.is_constant)
        self._place = np.full(len(problem.is_constant), -1)
        self._place[self.free] = np.arange(len(self.free))
        rows = rows[np.argsort(self._place[problem.frame[rows]], kind="stable")]
        self._frame = problem.frame[rows]
        self.used, self._point = np.unique(problem.point[rows], return_inverse=True)
        self._factors = Factors(problem, self._place, options.sigma_px)
        self._loss_px = options.loss_px
        self._set_cameras(problem, rows)
        place = self._place[self._frame]
        self._bounds = np.searchsorted(place, np.arange(len(self.free) + 1))
        self._moving = slice(self._bounds[0], None)
        self._pair = (place * len(self.used) + self._point)[self._moving]

    def _set_cameras(self, problem: BundleProblem, rows: IntArray) -> None:
        camera = problem.camera[rows]
        K = np.stack([c.K for c in problem.cameras])[camera]
        self._focal = np.stack([K[:, 0, 0], K[:, 1, 1]])
        self._xy = (problem.uv_ideal_px[rows] - K[:, :2, 2]).T / self._focal
        T = transforms.invert(np.stack([c.T_base_cam for c in problem.cameras]))
        self._R_cam_base, self._t_cam_base = T[:, :3, :3], T[:, :3, 3].T[:, camera]
        self._view = self._frame * len(problem.cameras) + camera

    def residuals(self, T: FloatArray, X: FloatArray) -> _Residuals:
        """Return the residuals at poses (f, 4, 4) and points (3, p)."""
        R_cam_world = self._R_cam_base @ np.swapaxes(T[:, None, :3, :3], -1, -2)
        R = np.take(R_cam_world.reshape(-1, 9).T, self._view, axis=1).reshape(3, 3, -1)
        q = np.take(X, self._point, axis=1) - np.take(T[:, :3, 3].T, self._frame, axis=1)
        p = R[:, 0] * q[0] + R[:, 1] * q[1] + R[:, 2] * q[2] + self._t_cam_base
        z = np.where(np.abs(p[2]) < _MIN_DEPTH, _MIN_DEPTH, p[2])
        xy = p[:2] / z
        r = (xy - self._xy) * self._focal
        return _Residuals(r, r[0] * r[0] + r[1] * r[1], q, xy, z, R)

    def cost(self, T: FloatArray, at: _Residuals) -> float:
        """Return half the sum of all robust squares, as Ceres counts it."""
        width = self._loss_px**2
        total = width * float(np.log1p(at.squared / width).sum())
        return 0.5 * total + self._factors.cost(T)

    def linearise(self, T: FloatArray, at: _Residuals) -> _Equations:
        """Return the normal equations at poses (f, 4, 4)."""
        root = 1.0 / np.sqrt(1.0 + at.squared / self._loss_px**2)
        r, R = at.r * root, at.R_cam_world
        J = (self._focal / at.z * root)[:, None] * (R[:2] - at.xy[:, None] * R[2])
        M = J[0, :, None] * J[0] + J[1, :, None] * J[1]
        num, rows = len(self.used), self._moving
        V = _sums(self._point, M.reshape(9, -1), num).reshape(3, 3, -1)
        h = _sums(self._point, J[0] * r[0] + J[1] * r[1], num)
        q = at.q[:, rows]
        U, g = self._poses(by_pose(q, J[:, :, rows].swapaxes(0, 1)), r[:, rows], T)
        W = _sums(self._pair, by_pose(q, M[:, :, rows]).reshape(18, -1), num * len(self.free))
        W = W.reshape(6, 3, len(g), num).transpose(2, 0, 1, 3).reshape(g.size, 3, num)
        return _Equations(U.reshape(g.size, g.size), g.ravel(), V, h, W)

    def _poses(self, J: FloatArray, r: FloatArray, T: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return J^T J (f, 6, f, 6) and J^T r (f, 6) of the poses, by factors, too.

        Args:
            J: (6, 2, n) Jacobians of the residuals.
            r: (2, n) residuals.
            T: (f, 4, 4) all poses.
        """
        num = len(self.free)
        own, g = np.zeros((num, 6, 6)), np.zeros((num, 6))
        for f, (low, high) in enumerate(itertools.pairwise(self._bounds - self._bounds[0])):
            A = J[:, :, low:high].reshape(6, -1)
            own[f] = A @ A.T
            g[f] = A @ r[:, low:high].ravel()
        told = self._factors.added_to(own, g, T)
        U = np.zeros((num, 6, num, 6))
        each = np.arange(num)
        U[each, :, each] = told.U
        for i, j, block in zip(told.first, told.second, told.between, strict=True):
            U[i, :, j] += block
            U[j, :, i] += block.T
        return U, told.g


def adjust(problem: BundleProblem, options: BundleOptions) -> BundleResult:
    """Minimise robust reprojection errors together with odometry and GNSS factors.

    Memory and time grow with points x free frames and free frames cubed: meant for windows.

    Returns:
        New poses and points, with the robust cost before and after, which never rises.
    """
    window = _Window(problem, options)
    T, X = problem.T_world_base.copy(), problem.points_world[window.used].T.copy()
    at = window.residuals(T, X)
    first = cost = window.cost(T, at)
    damping = _FIRST_DAMPING
    for _ in range(options.max_iterations if len(window.free) else 0):
        sums = window.linearise(T, at)
        while damping <= _MAX_DAMPING:
            T_new, X_new = _step(sums, damping, window.free, T, X)
            at_new = window.residuals(T_new, X_new)
            new = window.cost(T_new, at_new)
            if np.isfinite(new) and new <= cost:
                break
            damping *= 10.0
        else:
            break
        fall, T, X, at, cost = cost - new, T_new, X_new, at_new, new
        damping = max(0.1 * damping, 1e-9)
        if fall <= options.function_tolerance * cost:
            break
    points = problem.points_world.copy()
    points[window.used] = X.T
    return BundleResult(T, points, first, cost)


def _step(
    sums: _Equations, damping: float, free: IntArray, T: FloatArray, X: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return poses and points after one damped Gauss-Newton step."""
    U = sums.U + np.diag(damping * np.diag(sums.U) + 1e-9)
    V = sums.V.copy()
    diagonal = np.arange(3)
    V[diagonal, diagonal] = V[diagonal, diagonal] * (1.0 + damping) + 1e-9
    V_inv = _inverse(V)
    W = sums.W.reshape(len(U), -1)
    Y = np.einsum("aip,ijp->ajp", sums.W, V_inv).reshape(len(U), -1)
    delta = np.linalg.solve(U - Y @ W.T, Y @ sums.h.ravel() - sums.g)
    rest = sums.h + (delta @ W).reshape(3, -1)
    X_new = X - np.einsum("ijp,jp->ip", V_inv, rest)
    T_new = T.copy()
    for f, (w, v) in zip(free, delta.reshape(-1, 2, 3), strict=True):
        T_new[f, :3, :3] = cv2.Rodrigues(w)[0] @ T[f, :3, :3]
        T_new[f, :3, 3] += v
    return T_new, X_new


def _sums(index: IntArray, values: FloatArray, num: int) -> FloatArray:
    """Return the sums (k, num) of values (k, n) with the same index (n,)."""
    out = np.empty((len(values), num))
    for k, row in enumerate(values):
        out[k] = np.bincount(index, row, num)
    return out


def _inverse(V: FloatArray) -> FloatArray:
    """Return the inverses of symmetric matrices (3, 3, p), by their cofactors."""
    (a, b, c), (_, d, e), (_, _, f) = V
    first = np.stack([d * f - e * e, c * e - b * f, b * e - c * d])
    det = a * first[0] + b * first[1] + c * first[2]
    second, third = (
        [first[1], a * f - c * c, b * c - a * e],
        [first[2], b * c - a * e, a * d - b * b],
    )
    return np.stack([first, second, third]) / det
