"""Whether a refinement made the map better: by its own cost, and by what else is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from seg2d3d_ros.geometry import bundle, transforms
from seg2d3d_ros.mapping.refinement.sightings import Observed
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, Rig

_MAX_STRAIN = 2.0
_MAX_GROWTH = 1.1


@dataclass(frozen=True)
class Factors:
    """What else is known of the poses; `frame`, `i` and `j` are positions in `state.frames`."""

    relative: tuple[bundle.RelativePrior, ...]
    positions: tuple[bundle.PositionPrior, ...]


@dataclass(frozen=True)
class Verdict:
    """Whether to keep a refinement, the robust costs before and after, and why if not."""

    is_accepted: bool
    cost_before: float
    cost_after: float
    reason: str = ""


class Judge:
    """Remembers a map as it was, compares it with what became of it, and can put it back.

    Attributes:
        T_world_base: (4, 4) poses of all frames as they were.
    """

    def __init__(self, state: MapState, seen: Observed) -> None:
        """Remember the poses of all frames and the landmarks that were seen."""
        self._state, self._seen, self._rig = state, seen, state.rig
        self.T_world_base = [f.T_world_base.copy() for f in state.frames]
        self._ids = np.unique(seen.ids)
        self._points = state.points(self._ids)

    def compare(self, used: np.ndarray, factors: Factors, solver: bundle.BundleOptions) -> Verdict:
        """Compare the map with what was remembered, by the same observations and factors.

        Args:
            used: (n,) the observations that count.
            factors: Odometry, its scale corrected, and GNSS.
            solver: Loss and weights.

        Returns:
            Accepted if the cost did not rise, and neither odometry nor GNSS disagrees by a median
            of more than two standard deviations and a tenth more than before.
        """
        after = self._measure(used, factors, solver)
        now = (
            [f.T_world_base for f in self._state.frames],
            self._state.points(self._ids),
            self._state.rig,
        )
        self.put_back()
        before = self._measure(used, factors, solver)
        self._set(*now)
        reason = ""
        if not after[0] <= before[0]:
            reason = f"its cost rose from {before[0]:.1f} to {after[0]:.1f}"
        for name, old, new in zip(("odometry", "GNSS"), before[1:], after[1:], strict=True):
            if new > max(_MAX_STRAIN, _MAX_GROWTH * old):
                reason = f"{name} disagrees by {new:.1f} standard deviations, before {old:.1f}"
        return Verdict(not reason, before[0], after[0], reason)

    def put_back(self) -> None:
        """Give frames, landmarks and cameras the values that were remembered."""
        self._set(self.T_world_base, self._points, self._rig)

    def _set(self, T_world_base: list[FloatArray], points: FloatArray, rig: Rig | None) -> None:
        self._state.rig = rig
        for f, T in zip(self._state.frames, T_world_base, strict=True):
            f.T_world_base = T
        self._state.set_points(self._ids, points)

    def _measure(
        self, used: np.ndarray, factors: Factors, solver: bundle.BundleOptions
    ) -> tuple[float, float, float]:
        """Return the robust cost, px^2, and the median strain of odometry and of GNSS."""
        error = np.minimum(errors_px(self._state, self._seen)[used], 1e6)
        cost = _cauchy(error, solver.loss_px)
        told = np.array([_odometry_strain(self._state, r) for r in factors.relative])
        fixed = np.array([_fix_strain(self._state, p) for p in factors.positions])
        cost += solver.sigma_px**2 * _cauchy(told, bundle.ODOMETRY_LOSS)
        cost += _cauchy(fixed, bundle.FIX_LOSS)
        # six unknowns and three: what is left of each of them
        return cost, _median(told) / np.sqrt(6.0), _median(fixed) / np.sqrt(3.0)


def errors_px(state: MapState, seen: Observed) -> FloatArray:
    """Return by how much each observation (n,) misses; infinite behind the camera."""
    T_base_world = np.stack(
        [transforms.invert(state.frames[k].T_world_base) for k in seen.keyframes]
    )
    T_cam_base = np.stack([transforms.invert(c.T_base_cam) for c in state.cameras])
    T = T_cam_base[seen.camera] @ T_base_world[seen.frame]
    p = np.einsum("nij,nj->ni", T[:, :3, :3], state.points(seen.ids)) + T[:, :3, 3]
    K = np.stack([c.K for c in state.cameras])[seen.camera]
    z = np.where(np.abs(p[:, 2]) < 1e-6, 1e-6, p[:, 2])
    uv = p[:, :2] / z[:, None] * np.stack([K[:, 0, 0], K[:, 1, 1]], axis=1) + K[:, :2, 2]
    error = np.linalg.norm(uv - seen.uv_ideal_px, axis=1)
    error[~(p[:, 2] > 0.1)] = np.inf
    return error


def _cauchy(errors: FloatArray, width: float) -> float:
    return 0.5 * width**2 * float(np.log1p((errors / width) ** 2).sum())


def _median(strain: FloatArray) -> float:
    return float(np.median(strain)) if len(strain) else 0.0


def _odometry_strain(state: MapState, prior: bundle.RelativePrior) -> float:
    """Return by how many standard deviations an increment disagrees."""
    T_i, T_j = (state.frames[k].T_world_base for k in (prior.i, prior.j))
    off = transforms.invert(prior.T_i_j) @ transforms.invert(T_i) @ T_j
    r = np.r_[Rotation.from_matrix(off[:3, :3]).as_rotvec(), prior.T_i_j[:3, :3] @ off[:3, 3]]
    return float(np.sqrt(r @ np.linalg.solve(prior.covariance, r)))


def _fix_strain(state: MapState, prior: bundle.PositionPrior) -> float:
    """Return by how many standard deviations a position disagrees."""
    r = state.frames[prior.frame].T_world_base[:3, 3] - prior.position_world
    return float(np.sqrt(r @ np.linalg.solve(prior.covariance, r)))
