"""Points of a map and the pictures that saw them: a share of a bundle adjustment, on arrays.

A frame moves by R <- exp(w) R, t <- t + v, so that with q = X - t a point moves in it by
R^T ([q]x w - v): the Jacobian of the pose is that of the point times B = [[q]x, -I]. With M the
normal equations of a point by one frame, those of point and pose are M B, of the pose B^T M B.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.bundle import BundleProblem
from seg2d3d_ros.geometry.pose import pose_jacobian
from seg2d3d_ros.types import FloatArray, IntArray

LEAST_DAMPING = 1e-9
_MIN_DEPTH = 1e-3


@dataclass(frozen=True)
class Look:
    """How points lie in the pictures: residuals (n, 2), their squares (n,), p_cam, R_cam_world."""

    r: FloatArray
    squared: FloatArray
    p_cam: FloatArray
    R_cam_world: FloatArray


@dataclass(frozen=True)
class PointEquations:
    """Normal equations of p points, f poses and the b pairs of them that share an observation.

    Attributes:
        V: (p, 3, 3) of the points.
        h: (p, 3) their gradient.
        W: (b, 3, 6) of point and pose.
        U: (f, 6, 6) of the poses.
        g: (f, 6) their gradient.
    """

    V: FloatArray
    h: FloatArray
    W: FloatArray
    U: FloatArray
    g: FloatArray


@dataclass(frozen=True)
class Eliminated:
    """What eliminating the points takes from the equations of the poses, and how to go back.

    Attributes:
        row: (m,) poses of the blocks.
        column: (m,) the same.
        blocks: (m, 6, 6).
        g: (6 f,) what it takes from the gradient.
        V_inv: (p, 3, 3).
        W: (3 p, 6 f).
    """

    row: IntArray
    column: IntArray
    blocks: FloatArray
    g: FloatArray
    V_inv: FloatArray
    W: sparse.bsr_array


class PointShare:
    """Some points of a problem and what was seen of them, to be linearised repeatedly.

    Attributes:
        points: (p,) which points of the problem they are.
    """

    def __init__(self, problem: BundleProblem, rows: IntArray, place: IntArray) -> None:
        """Gather observations.

        Args:
            problem: What is adjusted.
            rows: (n,) observations in order of point and frame; all of each point.
            place: (f,) place of each frame among those that move, -1 for none.
        """
        self._frame, self._camera = problem.frame[rows], problem.camera[rows]
        self.points, self._point = np.unique(problem.point[rows], return_inverse=True)
        K = np.stack([c.K for c in problem.cameras])[self._camera]
        self._focal = np.stack([K[:, 0, 0], K[:, 1, 1]], axis=1)
        self._xy = (problem.uv_ideal_px[rows] - K[:, :2, 2]) / self._focal
        T = transforms.invert(np.stack([c.T_base_cam for c in problem.cameras]))
        self._R_cam_base, self._t_cam_base = T[:, :3, :3], T[self._camera, :3, 3]
        moment = self._point * len(place) + self._frame
        self._starts = np.flatnonzero(np.diff(moment, prepend=-1))
        self._point_starts = np.flatnonzero(np.diff(self._point[self._starts], prepend=-1))
        at = place[self._frame[self._starts]]
        self._moving = np.flatnonzero(at >= 0)
        num, num_free = len(self.points), int((place >= 0).sum())
        self._shape = 3 * num, 6 * num_free
        self._pair_point, self._pair_frame = self._point[self._starts][self._moving], at[at >= 0]
        self._by_frame = np.argsort(self._pair_frame, kind="stable")
        in_order = self._pair_frame[self._by_frame]
        self._frame_ends = np.searchsorted(in_order, np.arange(num_free + 1))
        self._point_ends = np.searchsorted(self._pair_point, np.arange(num + 1))
        parts = (np.ones(len(in_order)), self._by_frame, self._frame_ends)
        self._sum = sparse.csr_array(parts, shape=(num_free, len(in_order)))

    def look(self, T: FloatArray, X: FloatArray) -> Look:
        """Project the points (p, 3) with poses (f, 4, 4)."""
        R_cam_world = self._R_cam_base @ np.swapaxes(T[:, None, :3, :3], -1, -2)
        R = R_cam_world[self._frame, self._camera]
        q = X[self._point] - T[self._frame, :3, 3]
        p = np.matmul(R, q[:, :, None])[:, :, 0] + self._t_cam_base
        p[:, 2] = np.where(np.abs(p[:, 2]) < _MIN_DEPTH, _MIN_DEPTH, p[:, 2])
        r = (p[:, :2] / p[:, 2:] - self._xy) * self._focal
        return Look(r, r[:, 0] ** 2 + r[:, 1] ** 2, p, R)

    def linearise(
        self, look: Look, T: FloatArray, X: FloatArray, loss_px: float
    ) -> PointEquations:
        """Return the normal equations at poses (n, 4, 4) and points (p, 3)."""
        p, R = look.p_cam, look.R_cam_world
        root = 1.0 / np.sqrt(1.0 + look.squared / loss_px**2)
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
        M, m = M[self._moving].reshape(-1, 3, 3), m[self._moving]
        seen = self._starts[self._moving]
        q = X[self._point[seen]] - T[self._frame[seen], :3, 3]
        W = pose_jacobian(M, q)
        U = np.asarray(self._sum @ pose_jacobian(np.swapaxes(W, 1, 2), q).reshape(-1, 36))
        g = np.asarray(self._sum @ pose_jacobian(m[:, None], q)[:, 0])
        return PointEquations(V, h, W, U.reshape(-1, 6, 6), g)

    def eliminate(self, sums: PointEquations, damping: float) -> Eliminated:
        """Eliminate the points by the Schur complement."""
        V_inv = np.asarray(np.linalg.inv(damped(sums.V, damping)))
        blocks = np.swapaxes(V_inv[self._pair_point] @ sums.W, 1, 2)[self._by_frame]
        at = self._pair_point[self._by_frame]
        Y = sparse.bsr_array((blocks, at, self._frame_ends), shape=self._shape[::-1])
        W = sparse.bsr_array((sums.W, self._pair_frame, self._point_ends), shape=self._shape)
        taken = sparse.bsr_array(Y @ W)
        row = np.repeat(np.arange(len(taken.indptr) - 1), np.diff(taken.indptr))
        column = taken.indices.astype(np.int64)
        return Eliminated(row, column, taken.data, Y @ sums.h.ravel(), V_inv, W)


def moved(sums: PointEquations, eliminated: Eliminated, delta: FloatArray) -> FloatArray:
    """Return how points (p, 3) follow a step of the poses (6 f,)."""
    rest = sums.h + (eliminated.W @ delta).reshape(-1, 3)
    return np.asarray(-np.matmul(eliminated.V_inv, rest[:, :, None])[:, :, 0])


def diagonals(blocks: FloatArray) -> FloatArray:
    """Return the diagonals (m, k) of blocks (m, k, k)."""
    return np.asarray(np.diagonal(blocks, axis1=1, axis2=2))


def damped(blocks: FloatArray, damping: float) -> FloatArray:
    """Return blocks (m, k, k) with longer diagonals."""
    more = damping * diagonals(blocks) + LEAST_DAMPING
    return np.asarray(blocks + more[:, :, None] * np.eye(blocks.shape[1]))
