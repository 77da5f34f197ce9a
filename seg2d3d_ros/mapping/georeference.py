"""Place the map on the earth: GNSS fixes against the trajectory."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.config import MappingConfig
from seg2d3d_ros.geometry import bundle, transforms
from seg2d3d_ros.geometry.alignment import align_points
from seg2d3d_ros.geometry.geodesy import geodetic_to_enu
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Fix, FloatArray, Origin

_MIN_FIXES = 4
_MIN_EXTENT_SIGMAS = 8.0


class GeoReference:
    """Collects fixes in the ENU frame of the first; fits the world frame when they span enough."""

    def __init__(self, config: MappingConfig) -> None:
        """Start without fixes."""
        self._config = config
        self.origin: Origin | None = None
        self.fixes: list[Fix] = []
        self._enu: list[FloatArray] = []

    def push(self, fix: Fix) -> None:
        """Take one fix; those that are not finite are ignored."""
        if not np.isfinite([fix.lat_deg, fix.lon_deg, fix.alt_m]).all():
            return
        if self.origin is None:
            self.origin = Origin(fix.lat_deg, fix.lon_deg, fix.alt_m)
        self.fixes.append(fix)
        place = np.array([[fix.lat_deg, fix.lon_deg, fix.alt_m]])
        self._enu.append(geodetic_to_enu(place, self.origin)[0])

    def fit(self, state: MapState, with_scale: bool) -> tuple[FloatArray, float] | None:
        """Find S_enu_world: heading, position and, if asked, scale; the vertical stays vertical.

        Returns:
            S (4, 4) and its scale, or None while the fixes do not span enough to tell a heading.
        """
        rows, T = self._matched(state)
        if len(rows) < _MIN_FIXES:
            return None
        enu = np.stack([self._enu[r] for r in rows])
        world = np.stack(
            [
                t[:3, 3] + t[:3, :3] @ self.fixes[r].antenna_base
                for r, t in zip(rows, T, strict=True)
            ]
        )
        sigma = float(np.median([self._sigma(self.fixes[r])[0] for r in rows]))
        # Where the map knows its metres it says how far the vehicle went: noise has an extent too.
        path = enu if with_scale else world
        extent = float(np.linalg.norm(np.ptp(path[:, :2], axis=0)))
        if extent < _MIN_EXTENT_SIGMAS * sigma / np.sqrt(max(len(rows) / 4, 1.0)) or extent < 5.0:
            return None
        flat_a, flat_b = enu.copy(), world.copy()
        flat_a[:, 2] = flat_b[:, 2] = 0.0
        # Mirror pairs above and below the plane keep the fit from tilting.
        lift = np.array([0.0, 0.0, extent])
        fitted = align_points(
            np.concatenate([flat_a + lift, flat_a - lift]),
            np.concatenate([flat_b + lift, flat_b - lift]),
            False,
            delta_m=2.0 * sigma,
        )
        scale = _planar_scale(flat_a, flat_b) if with_scale else 1.0
        R = fitted.S_a_b[:3, :3]
        S = np.eye(4)
        S[:3, :3] = scale * R
        S[:3, 3] = np.median(enu - world @ (scale * R).T, axis=0)
        off = np.linalg.norm((enu - transforms.apply(S, world))[:, :2], axis=1)
        extent = scale * float(np.linalg.norm(np.ptp(world[:, :2], axis=0)))
        if with_scale and extent < _MIN_EXTENT_SIGMAS * float(np.median(off)):
            return None
        return S, scale

    def factors(self, state: MapState) -> tuple[bundle.PositionPrior, ...]:
        """Return the fixes as position factors of their nearest keyframes (world must be ENU)."""
        rows, T = self._matched(state)
        stamps = np.array([f.stamp_ns for f in state.frames])
        keyframes = np.array(
            [k for k, f in enumerate(state.frames) if f.is_keyframe and len(f.ids)], dtype=np.int64
        )
        if not len(keyframes):
            return ()
        # Errors of fixes that follow each other quickly are nearly the same: count one per second.
        span_s = (
            (self.fixes[rows[-1]].stamp_ns - self.fixes[rows[0]].stamp_ns) * 1e-9 if rows else 0.0
        )
        correlation = np.sqrt(max(1.0, len(rows) / max(span_s, 1.0)))
        out = []
        for r, t in zip(rows, T, strict=True):
            fix = self.fixes[r]
            k = int(keyframes[np.argmin(np.abs(stamps[keyframes] - fix.stamp_ns))])
            pose = state.frames[k].T_world_base
            # What the trajectory says happened between the keyframe and the fix is taken from it.
            offset = pose[:3, 3] - (t[:3, 3] + t[:3, :3] @ fix.antenna_base)
            sigma = self._sigma(fix) * correlation
            out.append(bundle.PositionPrior(k, self._enu[r] + offset, np.diag(sigma**2)))
        return tuple(out)

    def _matched(self, state: MapState) -> tuple[list[int], list[FloatArray]]:
        frames = list(state.frames)
        if len(frames) < 2:
            return [], []
        stamps = np.array([f.stamp_ns for f in frames], dtype=np.int64)
        if (np.diff(stamps) <= 0).any():
            order = np.argsort(stamps, kind="stable")
            order = order[np.r_[True, np.diff(stamps[order]) > 0]]
            frames, stamps = [frames[k] for k in order], stamps[order]
        rows = [
            r
            for r, fix in enumerate(self.fixes)
            if stamps[0] - 50_000_000 <= fix.stamp_ns <= stamps[-1] + 50_000_000
        ]
        if not rows:
            return [], []
        T = transforms.interpolate_many(
            stamps,
            np.stack([f.T_world_base for f in frames]),
            [self.fixes[r].stamp_ns for r in rows],
        )
        return rows, list(T)

    def _sigma(self, fix: Fix) -> FloatArray:
        if fix.covariance_enu is None:
            return np.array([1.0, 1.0, 2.0]) * self._config.gnss_sigma_m
        return np.sqrt(np.maximum(np.diag(fix.covariance_enu), 1e-4))


def _planar_scale(a: FloatArray, b: FloatArray) -> float:
    """Return metres of a per unit of b: the median over pairs half a drive and far apart."""
    half = len(a) // 2
    distance_a, distance_b = (
        np.linalg.norm(p[half:] - p[: len(p) - half], axis=1) for p in (a, b)
    )
    far = (distance_b >= np.median(distance_b)) & (distance_b > 0)
    return float(np.median(distance_a[far] / distance_b[far])) if far.any() else 1.0
