"""Bundle adjustment of some hundred frames: the same minimum as `bundle`, in half the time.

Levenberg-Marquardt on whole arrays with Jacobians written down, which Ceres differentiates one
observation at a time. Points are eliminated by the Schur complement; frames are put in an order in
which those that see the same points are near each other (reverse Cuthill-McKee), so that what is
left is a band, solved by LAPACK's banded Cholesky (Triggs et al., Bundle Adjustment - A Modern
Synthesis, 2000, section 6). Weights of losses and damping are those of Ceres. Weights that follow
the residuals only after each step make steps short, so twice as far is tried, too: that halves
the number of steps.

Points are worked on in shares, by several threads where they are given: how many shares there are
does not depend on the threads, and what they add up to is added in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgError, solveh_banded
from scipy.spatial.transform import Rotation

from seg2d3d_ros.geometry.bundle import BundleOptions, BundleProblem, BundleResult
from seg2d3d_ros.geometry.map_points import (
    LEAST_DAMPING,
    Look,
    PointEquations,
    PointShare,
    damped,
    diagonals,
    moved,
)
from seg2d3d_ros.geometry.pose_factors import FactorEquations, Factors
from seg2d3d_ros.types import FloatArray, IntArray

_FIRST_DAMPING = 1e-4
_MAX_DAMPING = 1e6
_GROWTH = 2.0
_FURTHER = 2.0
_NUM_SHARES = 4

Each: TypeAlias = Callable[..., list[Any]]


@dataclass(frozen=True)
class _Place:
    """Poses (f, 4, 4), points (p, 3) by share, how they look, and the robust cost."""

    T: FloatArray
    X: list[FloatArray]
    looks: list[Look]
    cost: float


@dataclass(frozen=True)
class _Equations:
    """Normal equations of points by share, and of poses."""

    shares: list[PointEquations]
    poses: FactorEquations


class _Map:
    """A problem in shares of its points, to be linearised repeatedly.

    Attributes:
        free: Frames (f,) that move, near each other where they see the same points.
        shares: Its points that are seen at least twice.
    """

    def __init__(self, problem: BundleProblem, options: BundleOptions, each: Each) -> None:
        finite = np.isfinite(problem.uv_ideal_px).all(axis=1)
        finite &= np.isfinite(problem.points_world[problem.point]).all(axis=1)
        count = np.bincount(problem.point[finite], minlength=len(problem.points_world))
        rows = np.flatnonzero(finite & (count[problem.point] >= 2))
        rows = rows[np.lexsort((problem.frame[rows], problem.point[rows]))]
        self._each, self._loss_px = each, options.loss_px
        self.free = _ordered(problem, rows)
        place = np.full(len(problem.is_constant), -1)
        place[self.free] = np.arange(len(self.free))
        self._factors = Factors(problem, place, options.sigma_px)
        starts = np.flatnonzero(np.diff(problem.point[rows], prepend=-1))
        ends = np.append(starts, len(rows))
        cuts = ends[len(starts) * np.arange(1, _NUM_SHARES) // _NUM_SHARES]
        self.shares = [PointShare(problem, r, place) for r in np.split(rows, cuts)]

    def look(self, T: FloatArray, X: list[FloatArray]) -> _Place:
        """Look at points with poses; the cost is half the sum of robust squares, as in Ceres."""
        looks = self._each(lambda share, points: share.look(T, points), self.shares, X)
        width = self._loss_px**2
        total = sum(float(np.log1p(look.squared / width).sum()) for look in looks)
        return _Place(T, X, looks, 0.5 * width * total + self._factors.cost(T))

    def linearise(self, at: _Place) -> _Equations:
        """Return the normal equations."""

        def one(share: PointShare, look: Look, points: FloatArray) -> PointEquations:
            return share.linearise(look, at.T, points, self._loss_px)

        sums: list[PointEquations] = self._each(one, self.shares, at.looks, at.X)
        U, g = (np.sum([getattr(s, n) for s in sums], axis=0) for n in ("U", "g"))
        return _Equations(sums, self._factors.added_to(U, g, at.T))

    def step(self, at: _Place, sums: _Equations, damping: float) -> tuple[_Place, float]:
        """Take a damped step.

        Returns:
            Where it leads to, and by how much cost falls if it is quadratic.

        Raises:
            LinAlgError: the equations are not positive definite.
        """
        done = self._each(lambda s, e: s.eliminate(e, damping), self.shares, sums.shares)
        poses = sums.poses
        each = np.arange(len(poses.U))
        band = _banded(
            np.concatenate([each, poses.first, *(e.row for e in done)]),
            np.concatenate([each, poses.second, *(e.column for e in done)]),
            np.concatenate([damped(poses.U, damping), poses.between, *(-e.blocks for e in done)]),
        )
        taken = np.sum([e.g for e in done], axis=0)
        delta = solveh_banded(band, taken - poses.g.ravel(), lower=True)
        steps = self._each(lambda s, e: moved(s, e, delta), sums.shares, done)
        fall = damping * float(diagonals(poses.U).ravel() @ delta**2)
        fall -= float(poses.g.ravel() @ delta)
        for s, of_points in zip(sums.shares, steps, strict=True):
            fall += damping * float((diagonals(s.V) * of_points**2).sum())
            fall -= float((s.h * of_points).sum())
        delta = delta.reshape(-1, 6)
        new, further = (
            self._moved(at, k * delta, [k * s for s in steps]) for k in (1.0, _FURTHER)
        )
        return further if further.cost < new.cost else new, 0.5 * fall

    def _moved(self, at: _Place, delta: FloatArray, steps: list[FloatArray]) -> _Place:
        """Look from where poses moved by [rotation, translation] (f, 6), and points by steps."""
        T = _turned(at.T, self.free, delta)
        return self.look(T, [a + b for a, b in zip(at.X, steps, strict=True)])


def adjust(problem: BundleProblem, options: BundleOptions) -> BundleResult:
    """Minimise robust reprojection errors together with odometry and GNSS factors.

    Points that are seen only once or not finite, and poses without observations and factors, stay.
    Time grows with the number of frames, and with the square of how many see a point in common.

    Returns:
        New poses and points, with the robust cost before and after, which never rises.
    """
    with _each_of(options.num_threads) as each:
        map = _Map(problem, options, each)
        first = map.look(
            problem.T_world_base.copy(), [problem.points_world[s.points] for s in map.shares]
        )
        last = _descended(map, first, options) if len(map.free) else first
    points = problem.points_world.copy()
    for share, X in zip(map.shares, last.X, strict=True):
        points[share.points] = X
    return BundleResult(last.T, points, first.cost, last.cost)


def _descended(map: _Map, at: _Place, options: BundleOptions) -> _Place:
    """Go down until cost hardly falls any more."""
    damping, growth = _FIRST_DAMPING, _GROWTH
    for _ in range(options.max_iterations):
        sums = map.linearise(at)
        while damping <= _MAX_DAMPING:
            try:
                new, expected = map.step(at, sums, damping)
            except LinAlgError:
                new, expected = at, np.inf
            if np.isfinite(expected) and new.cost <= at.cost:
                break
            damping, growth = damping * growth, 2.0 * growth
        else:
            return at
        fall, at = at.cost - new.cost, new
        gain = fall / max(expected, LEAST_DAMPING * at.cost, np.finfo(float).tiny)
        damping, growth = damping * max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3), _GROWTH
        if fall <= options.function_tolerance * at.cost:
            break
    return at


@contextmanager
def _each_of(num_threads: int) -> Iterator[Each]:
    """Give a `map` that works on several shares at a time; results come in order."""
    if num_threads < 2:
        yield lambda work, *shares: list(map(work, *shares))
        return
    with ThreadPoolExecutor(num_threads) as pool:
        yield lambda work, *shares: list(pool.map(work, *shares))


def _ordered(problem: BundleProblem, rows: IntArray) -> IntArray:
    """Return the frames that move, in an order that makes their equations a narrow band."""
    num, num_points = len(problem.is_constant), len(problem.points_world)
    pairs = (np.ones(len(rows), dtype=np.int32), (problem.frame[rows], problem.point[rows]))
    sees = sparse.coo_array(pairs, shape=(num, num_points)).tocsr()
    i = [r.i for r in problem.relative]
    j = [r.j for r in problem.relative]
    told = sparse.coo_array((np.ones(len(i), dtype=np.int32), (i, j)), shape=(num, num))
    near = sparse.csr_matrix(sees @ sees.T + told + told.T)
    free = np.flatnonzero(~problem.is_constant)
    order = sparse.csgraph.reverse_cuthill_mckee(near[free][:, free], symmetric_mode=True)
    return np.asarray(free[order])


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


def _turned(T_world_base: FloatArray, free: IntArray, delta: FloatArray) -> FloatArray:
    """Return poses (f, 4, 4) of which those at `free` moved by [rotation, translation] (n, 6)."""
    T = T_world_base.copy()
    R = Rotation.from_rotvec(delta[:, :3]).as_matrix()
    T[free, :3, :3] = R @ T[free, :3, :3]
    T[free, :3, 3] += delta[:, 3:]
    return T
