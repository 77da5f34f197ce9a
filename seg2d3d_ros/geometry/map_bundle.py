"""Bundle adjustment of some hundred frames: the same minimum as `bundle`, in half the time.

Levenberg-Marquardt on whole arrays with Jacobians written down, which Ceres differentiates one
observation at a time. Points are eliminated by the Schur complement; frames are put in an order in
which those that see the same points are near each other (reverse Cuthill-McKee), so that what is
left is a band, solved by LAPACK's banded Cholesky (Triggs et al., Bundle Adjustment - A Modern
Synthesis, 2000, section 6). The weights of losses are those that Ceres takes for a Cauchy loss.

A frame moves by R <- exp(w) R, t <- t + v, so that with q = X - t a point moves in it by
R^T ([q]x w - v): the Jacobian of the pose is that of the point times B = [[q]x, -I]. With M the
normal equations of a point by one frame, those of point and pose are M B, of the pose B^T M B.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgError, solveh_banded
from scipy.spatial.transform import Rotation

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.bundle import BundleOptions, BundleProblem, BundleResult
from seg2d3d_ros.geometry.map_factors import FactorEquations, Factors
from seg2d3d_ros.geometry.pose import pose_jacobian
from seg2d3d_ros.types import FloatArray, IntArray

_FIRST_DAMPING = 1e-4
_MAX_DAMPING = 1e6
_GROWTH = 2.0
_LEAST = 1e-9
_MIN_DEPTH = 1e-3


@dataclass(frozen=True)
class _Look:
    """How points lie in the pictures: residuals (n, 2), their squares (n,), p_cam, R_cam_world."""

    r: FloatArray
    squared: FloatArray
    p_cam: FloatArray
    R_cam_world: FloatArray


@dataclass(frozen=True)
class _Equations:
    """Normal equations: points `V` (p, 3, 3), `h` (p, 3), point by pose `W` (b, 3, 6), poses."""

    V: FloatArray
    h: FloatArray
    W: FloatArray
    poses: FactorEquations


@dataclass(frozen=True)
class _Step:
    """How poses (f, 6) and points (p, 3) move, and by how much cost falls if it is quadratic."""

    poses: FloatArray
    points: FloatArray
    fall: float


class _Map:
    """The observations of a problem in order of point and frame, to be linearised repeatedly.

    Attributes:
        used: Points (p,) that are seen at least twice.
        free: Frames (f,) that move, near each other where they see the same points.
    """

    def __init__(self, problem: BundleProblem, options: BundleOptions) -> None:
        finite = np.isfinite(problem.uv_ideal_px).all(axis=1)
        finite &= np.isfinite(problem.points_world[problem.point]).all(axis=1)
        count = np.bincount(problem.point[finite], minlength=len(problem.points_world))
        rows = np.flatnonzero(finite & (count[problem.point] >= 2))
        rows = rows[np.lexsort((problem.frame[rows], problem.point[rows]))]
        self._frame, self._camera = problem.frame[rows], problem.camera[rows]
        self.used, self._point = np.unique(problem.point[rows], return_inverse=True)
        self._loss_px = options.loss_px
        K = np.stack([c.K for c in problem.cameras])[self._camera]
        self._focal = np.stack([K[:, 0, 0], K[:, 1, 1]], axis=1)
        self._xy = (problem.uv_ideal_px[rows] - K[:, :2, 2]) / self._focal
        T = transforms.invert(np.stack([c.T_base_cam for c in problem.cameras]))
        self._R_cam_base, self._t_cam_base = T[:, :3, :3], T[self._camera, :3, 3]
        moment = self._point * len(problem.is_constant) + self._frame
        self._starts = np.flatnonzero(np.diff(moment, prepend=-1))
        self._point_starts = np.flatnonzero(np.diff(self._point[self._starts], prepend=-1))
        self.free = self._ordered(problem)
        place = np.full(len(problem.is_constant), -1)
        place[self.free] = np.arange(len(self.free))
        self.factors = Factors(problem, place, options.sigma_px)
        at = place[self._frame[self._starts]]
        self._moving = np.flatnonzero(at >= 0)
        self.coupled = _Coupled(
            self._point[self._starts][self._moving],
            at[self._moving],
            len(self.used),
            len(self.free),
        )

    def _ordered(self, problem: BundleProblem) -> IntArray:
        """Return the frames that move, in an order that makes their equations a narrow band."""
        num = len(problem.is_constant)
        pairs = (np.ones(len(self._frame), dtype=np.int32), (self._frame, self._point))
        sees = sparse.coo_array(pairs, shape=(num, len(self.used))).tocsr()
        i = [r.i for r in problem.relative]
        j = [r.j for r in problem.relative]
        told = sparse.coo_array((np.ones(len(i), dtype=np.int32), (i, j)), shape=(num, num))
        near = sparse.csr_matrix(sees @ sees.T + told + told.T)
        free = np.flatnonzero(~problem.is_constant)
        order = sparse.csgraph.reverse_cuthill_mckee(near[free][:, free], symmetric_mode=True)
        return free[order]

    def look(self, T: FloatArray, X: FloatArray) -> _Look:
        """Project points (p, 3) with poses (f, 4, 4)."""
        R_cam_world = self._R_cam_base @ np.swapaxes(T[:, None, :3, :3], -1, -2)
        R = R_cam_world[self._frame, self._camera]
        q = X[self._point] - T[self._frame, :3, 3]
        p = np.matmul(R, q[:, :, None])[:, :, 0] + self._t_cam_base
        p[:, 2] = np.where(np.abs(p[:, 2]) < _MIN_DEPTH, _MIN_DEPTH, p[:, 2])
        r = (p[:, :2] / p[:, 2:] - self._xy) * self._focal
        return _Look(r, r[:, 0] ** 2 + r[:, 1] ** 2, p, R)

    def cost(self, look: _Look, T: FloatArray) -> float:
        """Return half the sum of all robust squares, as Ceres counts it."""
        width = self._loss_px**2
        return 0.5 * width * float(np.log1p(look.squared / width).sum()) + self.factors.cost(T)

    def linearise(self, look: _Look, T: FloatArray, X: FloatArray) -> _Equations:
        """Return the normal equations at poses (f, 4, 4) and points (p, 3)."""
        p, R = look.p_cam, look.R_cam_world
        root = 1.0 / np.sqrt(1.0 + look.squared / self._loss_px**2)
        scale = self._focal / p[:, 2:] * root[:, None]
        xy = p[:, :2] / p[:, 2:]
        J = scale[:, :, None] * (R[:, :2] - xy[:, :, None] * R[:, 2:])
        r = look.r * root[:, None]
        M = J[:, 0, :, None] * J[:, 0, None, :] + J[:, 1, :, None] * J[:, 1, None, :]
        m = J[:, 0] * r[:, :1] + J[:, 1] * r[:, 1:]
        M = np.add.reduceat(M.reshape(-1, 9), self._starts, axis=0)
        m = np.add.reduceat(m, self._starts, axis=0)
        V = np.add.reduceat(M, self._point_starts, axis=0).reshape(-1, 3, 3)
        h = np.add.reduceat(m, self._point_starts, axis=0)
        rows = self._moving
        M, m = M[rows].reshape(-1, 3, 3), m[rows]
        seen = self._starts[rows]
        q = X[self._point[seen]] - T[self._frame[seen], :3, 3]
        W = pose_jacobian(M, q)
        U = self.coupled.by_frame(pose_jacobian(np.swapaxes(W, 1, 2), q).reshape(-1, 36))
        g = self.coupled.by_frame(pose_jacobian(m[:, None], q)[:, 0])
        poses = self.factors.added_to(U.reshape(-1, 6, 6), g, T)
        return _Equations(V, h, W, poses)


class _Coupled:
    """Which points (p) and free frames (f) share an equation: b pairs, in order of point."""

    def __init__(self, point: IntArray, frame: IntArray, num_points: int, num: int) -> None:
        self._point, self._frame = point, frame
        self._shape = 3 * num_points, 6 * num
        self._by_frame = np.argsort(frame, kind="stable")
        self._frame_ends = np.searchsorted(frame[self._by_frame], np.arange(num + 1))
        self._point_ends = np.searchsorted(point, np.arange(num_points + 1))
        parts = (np.ones(len(point)), self._by_frame, self._frame_ends)
        self._sum = sparse.csr_array(parts, shape=(num, len(point)))

    def by_frame(self, values: FloatArray) -> FloatArray:
        """Return sums over the pairs of each frame (f, k) of values (b, k)."""
        return np.asarray(self._sum @ values)

    def step(self, sums: _Equations, damping: float) -> _Step:
        """Solve the damped equations.

        Raises:
            LinAlgError: the equations are not positive definite.
        """
        V_inv = np.linalg.inv(_damped(sums.V, damping))
        blocks = np.swapaxes(V_inv[self._point] @ sums.W, 1, 2)[self._by_frame]
        Y = sparse.bsr_array(
            (blocks, self._point[self._by_frame], self._frame_ends), shape=self._shape[::-1]
        )
        W = sparse.bsr_array((sums.W, self._frame, self._point_ends), shape=self._shape)
        eliminated = sparse.bsr_array(Y @ W)
        row = np.repeat(np.arange(len(eliminated.indptr) - 1), np.diff(eliminated.indptr))
        poses = sums.poses
        U = _damped(poses.U, damping)
        each = np.arange(len(U))
        band = _banded(
            np.concatenate([each, poses.first, row]),
            np.concatenate([each, poses.second, eliminated.indices]),
            np.concatenate([U, poses.between, -eliminated.data]),
        )
        delta = solveh_banded(band, Y @ sums.h.ravel() - poses.g.ravel(), lower=True)
        rest = sums.h + (W @ delta).reshape(-1, 3)
        of_points = -np.matmul(V_inv, rest[:, :, None])[:, :, 0]
        fall = damping * float((_diagonals(poses.U).ravel() * delta**2).sum())
        fall += damping * float((_diagonals(sums.V) * of_points**2).sum())
        fall -= float(poses.g.ravel() @ delta) + float((sums.h * of_points).sum())
        return _Step(delta.reshape(-1, 6), of_points, 0.5 * fall)


def _diagonals(blocks: FloatArray) -> FloatArray:
    return np.asarray(np.diagonal(blocks, axis1=1, axis2=2))


def _damped(blocks: FloatArray, damping: float) -> FloatArray:
    """Return blocks (m, k, k) with longer diagonals."""
    more = damping * _diagonals(blocks) + _LEAST
    return blocks + more[:, :, None] * np.eye(blocks.shape[1])


def _banded(row: IntArray, column: IntArray, blocks: FloatArray) -> FloatArray:
    """Return the lower band (w, n) of a symmetric matrix of blocks (m, 6, 6), which are added."""
    size = 6 * (int(row.max()) + 1)
    is_low = row >= column
    six = np.arange(6)
    at = 6 * column[is_low, None, None] + six
    below = 6 * row[is_low, None, None] + six[:, None] - at
    keep = below >= 0
    at, below = np.broadcast_to(at, below.shape)[keep], below[keep]
    width = int(below.max()) + 1
    values = np.bincount(below * size + at, blocks[is_low][keep], width * size)
    return values.astype(np.float64, copy=False).reshape(width, size)


def adjust(problem: BundleProblem, options: BundleOptions) -> BundleResult:
    """Minimise robust reprojection errors together with odometry and GNSS factors.

    Points that are seen only once or not finite, and poses without observations and factors, stay.
    Time grows with the number of frames, and with the square of how many see a point in common.

    Returns:
        New poses and points, with the robust cost before and after, which never rises.
    """
    map = _Map(problem, options)
    T, X = problem.T_world_base.copy(), problem.points_world[map.used]
    look = map.look(T, X)
    first = cost = map.cost(look, T)
    damping, growth = _FIRST_DAMPING, _GROWTH
    for _ in range(options.max_iterations if len(map.free) else 0):
        sums = map.linearise(look, T, X)
        while damping <= _MAX_DAMPING:
            T_new, X_new, expected = _moved(map, sums, damping, T, X)
            look = map.look(T_new, X_new)
            new = map.cost(look, T_new)
            if np.isfinite(new) and new <= cost:
                break
            damping, growth = damping * growth, 2.0 * growth
        else:
            break
        fall, T, X, cost = cost - new, T_new, X_new, new
        gain = fall / max(expected, _LEAST * cost)
        damping, growth = damping * max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3), _GROWTH
        if fall <= options.function_tolerance * cost:
            break
    points = problem.points_world.copy()
    points[map.used] = X
    return BundleResult(T, points, first, cost)


def _moved(
    map: _Map, sums: _Equations, damping: float, T: FloatArray, X: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Return poses and points after one damped step, and by how much cost should fall."""
    try:
        step = map.coupled.step(sums, damping)
    except LinAlgError:
        return np.full_like(T, np.nan), X, 0.0
    T_new = T.copy()
    R = Rotation.from_rotvec(step.poses[:, :3]).as_matrix()
    T_new[map.free, :3, :3] = R @ T[map.free, :3, :3]
    T_new[map.free, :3, 3] += step.poses[:, 3:]
    return T_new, X + step.points, step.fall
