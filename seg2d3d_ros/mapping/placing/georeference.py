"""Place the map on the earth: GNSS fixes against the trajectory."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.config import MappingConfig
from seg2d3d_ros.geometry import bundle, transforms
from seg2d3d_ros.geometry.alignment import align_points
from seg2d3d_ros.geometry.geodesy import geodetic_to_enu
from seg2d3d_ros.mapping.placing.fix_gate import GatedFixes, agree_in_length, gate_fixes
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Fix, FloatArray, Origin

_MIN_FIXES = 4
_MIN_EXTENT_SIGMAS = 8.0
_MIN_SIGMA_M = 0.01
_LEAST_OF_WAY = 0.5
# What a track may drift per metre, where it knows its metres and where it does not.
_DRIFT, _DRIFT_WITHOUT_SCALE = 0.03, 0.1
_MOST_COMPARED = 200
_MIN_NOISE_RATIO = 2.0


class GeoReference:
    """Collects fixes in the ENU frame of the first; fits the world frame when they span enough."""

    def __init__(self, config: MappingConfig) -> None:
        """Start without fixes."""
        self._config = config
        self.origin: Origin | None = None
        self.fixes: list[Fix] = []
        self._enu: list[FloatArray] = []
        self._origin_row = 0
        self.counts: dict[str, float] = {}
        self.remarks: tuple[str, ...] = ()

    def push(self, fix: Fix) -> None:
        """Take one fix; those that are not finite are ignored."""
        place = np.array([[fix.lat_deg, fix.lon_deg, fix.alt_m]])
        if not np.isfinite(place).all():
            return
        if self.origin is None:
            self.origin = Origin(fix.lat_deg, fix.lon_deg, fix.alt_m)
        self.fixes.append(fix)
        self._enu.append(geodetic_to_enu(place, self.origin)[0])

    def fit(self, state: MapState, with_scale: bool) -> tuple[FloatArray, float] | None:
        """Find S_enu_world: heading, position and, if asked, scale; the vertical stays vertical.

        Fixes that contradict the track take no part. If the one the map's origin was taken from
        is among them, the origin moves to the first that is believed.

        Returns:
            S (4, 4) and its scale, or None while the fixes do not span enough to tell a heading.
        """
        rows, world = self._matched(state)
        if len(rows) < _MIN_FIXES:
            return None
        enu = np.stack([self._enu[r] for r in rows])
        sigma = self._horizontal_sigma(rows)
        # Where the map knows its metres it says how far the vehicle went: noise has an extent too.
        path = enu if with_scale else world
        extent = float(np.linalg.norm(np.ptp(path[:, :2], axis=0)))
        typical = float(np.median(sigma))
        if extent < max(_MIN_EXTENT_SIGMAS * typical / np.sqrt(max(len(rows) / 4, 1.0)), 5.0):
            return None
        went = float(np.linalg.norm(np.ptp(enu[:, :2], axis=0)))
        if went < _LEAST_OF_WAY * extent:
            self.remarks = (
                f"GNSS fixes stay within {went:.1f} m while the track spans {extent:.1f} m: the "
                "receiver repeats itself, and they are not used",
            )
            return None
        believed = np.ones(len(rows), dtype=bool)
        if not with_scale and len(rows) <= _MOST_COMPARED:
            believed = agree_in_length(enu[:, :2], world[:, :2], typical, _DRIFT)
        S, scale = _align_level(enu[believed], world[believed], with_scale, 2.0 * typical)
        drift = _DRIFT_WITHOUT_SCALE if with_scale else _DRIFT
        off = (enu - transforms.apply(S, world))[:, :2]
        way = transforms.path_distances(scale * world[:, :2])
        believed = gate_fixes(off, sigma, way, drift).is_accepted
        if believed.sum() < _MIN_FIXES:
            return None
        if rows[0] == self._origin_row and not believed[0]:
            self._move_origin(rows[int(np.argmax(believed))])
            return self.fit(state, with_scale)
        S, scale = _align_level(enu[believed], world[believed], with_scale, 2.0 * typical)
        off = (enu - transforms.apply(S, world))[believed, :2]
        extent = scale * float(np.linalg.norm(np.ptp(world[:, :2], axis=0)))
        scatter = float(np.median(np.linalg.norm(off, axis=1)))
        if with_scale and extent < _MIN_EXTENT_SIGMAS * scatter:
            return None
        return S, scale

    def factors(self, state: MapState) -> tuple[bundle.PositionPrior, ...]:
        """Return the fixes as position factors of their nearest keyframes (world must be ENU).

        Fixes that contradict the track are left out, and counted; where the others scatter more
        than they say, their covariance is widened.
        """
        rows, world = self._matched(state)
        stamps = np.array([f.stamp_ns for f in state.frames])
        keyframes = np.array(
            [k for k, f in enumerate(state.frames) if f.is_keyframe and len(f.ids)], dtype=np.int64
        )
        if not len(keyframes) or not rows:
            return ()
        gated = self._gate(rows, world)
        # Errors of fixes that follow each other quickly are nearly the same: count one per second.
        span_s = (self.fixes[rows[-1]].stamp_ns - self.fixes[rows[0]].stamp_ns) * 1e-9
        widen = max(1.0, len(rows) / max(span_s, 1.0)) * gated.noise_ratio**2
        out = []
        for r, antenna, is_accepted in zip(rows, world, gated.is_accepted, strict=True):
            if not is_accepted:
                continue
            fix = self.fixes[r]
            k = int(keyframes[np.argmin(np.abs(stamps[keyframes] - fix.stamp_ns))])
            # What the trajectory says happened between the keyframe and the fix is taken from it.
            offset = state.frames[k].T_world_base[:3, 3] - antenna
            covariance = self._covariance(fix) * widen
            out.append(bundle.PositionPrior(k, self._enu[r] + offset, covariance))
        return tuple(out)

    def _gate(self, rows: list[int], world: FloatArray) -> GatedFixes:
        off = (np.stack([self._enu[r] for r in rows]) - world)[:, :2]
        way = transforms.path_distances(world[:, :2])
        gated = gate_fixes(off, self._horizontal_sigma(rows), way, _DRIFT)
        num = int((~gated.is_accepted).sum())
        self.counts["fixes_used"] = float(len(rows) - num)
        self.counts["fixes_gated"] = float(num)
        self.counts["fix_noise_ratio"] = gated.noise_ratio
        self.remarks = self._explain(rows, gated)
        return gated

    def _explain(self, rows: list[int], gated: GatedFixes) -> tuple[str, ...]:
        out = []
        bad = np.flatnonzero(~gated.is_accepted)
        if len(bad):
            since = (self.fixes[rows[bad[0]]].stamp_ns - self.fixes[0].stamp_ns) * 1e-9
            out.append(
                f"{len(bad)} of {len(rows)} GNSS fixes contradict the track and were not used: "
                f"up to {gated.misfit_m[bad].max():.1f} m off, the first {since:.1f} s after the "
                "first fix"
            )
        if gated.noise_ratio > _MIN_NOISE_RATIO:
            out.append(
                f"GNSS fixes scatter {gated.noise_ratio:.1f} times as much as their covariance "
                "says; they were given that much less weight"
            )
        return tuple(out)

    def _move_origin(self, row: int) -> None:
        fix = self.fixes[row]
        self._origin_row, self.origin = row, Origin(fix.lat_deg, fix.lon_deg, fix.alt_m)
        place = np.array([[f.lat_deg, f.lon_deg, f.alt_m] for f in self.fixes])
        self._enu = list(geodetic_to_enu(place, self.origin))

    def _matched(self, state: MapState) -> tuple[list[int], FloatArray]:
        """Return the n fixes within the track, by row, and where it puts the antenna (n, 3)."""
        frames = list(state.frames)
        if len(frames) < 2:
            return [], np.zeros((0, 3))
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
            return [], np.zeros((0, 3))
        T = transforms.interpolate_many(
            stamps,
            np.stack([f.T_world_base for f in frames]),
            [self.fixes[r].stamp_ns for r in rows],
        )
        places = zip(T, rows, strict=True)
        return rows, np.stack(
            [t[:3, 3] + t[:3, :3] @ self.fixes[r].antenna_base for t, r in places]
        )

    def _covariance(self, fix: Fix) -> FloatArray:
        """Return the (3, 3) covariance of a fix; ours where it brings none that can be used."""
        default = np.diag(np.array([1.0, 1.0, 4.0]) * self._config.gnss_sigma_m**2)
        if fix.covariance_enu is None or not np.isfinite(fix.covariance_enu).all():
            return default
        symmetric = 0.5 * (fix.covariance_enu + fix.covariance_enu.T)
        values, vectors = np.linalg.eigh(symmetric)
        if values[-1] <= 0.0:
            return default
        return np.asarray((vectors * np.maximum(values, _MIN_SIGMA_M**2)) @ vectors.T)

    def _horizontal_sigma(self, rows: list[int]) -> FloatArray:
        covariance = np.stack([self._covariance(self.fixes[r]) for r in rows])
        return np.sqrt(0.5 * (covariance[:, 0, 0] + covariance[:, 1, 1]))


def _align_level(
    enu: FloatArray, world: FloatArray, with_scale: bool, delta_m: float
) -> tuple[FloatArray, float]:
    """Return S_enu_world (4, 4), which keeps the vertical, and its scale."""
    flat_a, flat_b = enu.copy(), world.copy()
    flat_a[:, 2] = flat_b[:, 2] = 0.0
    # Mirror pairs above and below the plane keep the fit from tilting.
    lift = np.array([0.0, 0.0, max(float(np.linalg.norm(np.ptp(flat_b, axis=0))), 1.0)])
    fitted = align_points(
        np.concatenate([flat_a + lift, flat_a - lift]),
        np.concatenate([flat_b + lift, flat_b - lift]),
        False,
        delta_m=delta_m,
    )
    scale = _planar_scale(flat_a, flat_b) if with_scale else 1.0
    R = fitted.S_a_b[:3, :3]
    S = np.eye(4)
    S[:3, :3] = scale * R
    S[:3, 3] = np.median(enu - world @ (scale * R).T, axis=0)
    return S, scale


def _planar_scale(a: FloatArray, b: FloatArray) -> float:
    """Return metres of a per unit of b: the median over pairs half a drive and far apart."""
    half = len(a) // 2
    distance_a, distance_b = (
        np.linalg.norm(p[half:] - p[: len(p) - half], axis=1) for p in (a, b)
    )
    far = (distance_b >= np.median(distance_b)) & (distance_b > 0)
    return float(np.median(distance_a[far] / distance_b[far])) if far.any() else 1.0
