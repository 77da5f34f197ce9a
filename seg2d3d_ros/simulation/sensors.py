"""Wheel odometry and GNSS as a vehicle's sensors would report them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from seg2d3d_ros.geometry import geodesy, transforms
from seg2d3d_ros.simulation.options import SimulationOptions
from seg2d3d_ros.simulation.rig import ANTENNA_BASE
from seg2d3d_ros.simulation.route import Drive
from seg2d3d_ros.simulation.truth import Place
from seg2d3d_ros.types import FloatArray, Origin

_JUMP_S = 5.0
_SLIP_S = 2.0


@dataclass(frozen=True)
class OdometrySample:
    """Dead reckoning at a time of the drive.

    Attributes:
        time_s: Seconds since the start.
        T_odom_base: (4, 4) level pose.
        speed_mps: Forward speed.
        yaw_rate_rps: Turn rate.
        covariance: (6, 6) of the twist [vx vy vz wx wy wz].
    """

    time_s: float
    T_odom_base: FloatArray
    speed_mps: float
    yaw_rate_rps: float
    covariance: FloatArray


@dataclass(frozen=True)
class FixSample:
    """A position at a time of the drive, with its covariance (3, 3) in ENU, m²."""

    time_s: float
    lat_deg: float
    lon_deg: float
    alt_m: float
    covariance_enu: FloatArray


def simulate_odometry(drive: Drive, options: SimulationOptions) -> list[OdometrySample]:
    """Integrate noisy increments of the true drive; noise grows with distance, not time."""
    rng = np.random.default_rng([options.seed, 31])
    rate = options.odometry_rate_hz
    times = np.arange(0.0, drive.duration_s + 1e-9, 1.0 / rate)
    T_true = [drive.pose_at(drive.distance_m(t), is_level=True) for t in times]
    slip_from = drive.duration_s / 2
    T, samples = np.eye(4), []
    for i, t in enumerate(times):
        step = transforms.invert(T_true[i - 1]) @ T_true[i] if i else np.eye(4)
        distance = float(np.hypot(*step[:2, 3]))
        noisy = _noisy_step(rng, step, distance, options)
        if options.odometry_slip_m and slip_from <= t < slip_from + _SLIP_S:
            noisy[0, 3] += options.odometry_slip_m / (_SLIP_S * rate)
        T = T @ noisy
        speed, turn = float(noisy[0, 3] * rate), transforms.yaw_rad(noisy) * rate
        covariance = _twist_covariance(distance * rate, rate, options)
        samples.append(OdometrySample(float(t), T, speed, turn, covariance))
    return samples


def _noisy_step(
    rng: np.random.Generator, step: FloatArray, distance: float, options: SimulationOptions
) -> FloatArray:
    amount, root = options.odometry_noise, np.sqrt(distance)
    along, across, turn = rng.normal(size=3)
    yaw = transforms.yaw_rad(step)
    yaw += amount * np.deg2rad(options.odometry_drift_deg_per_m * distance)
    yaw += amount * np.deg2rad(options.odometry_heading_walk_deg) * root * turn
    x = (
        step[0, 3] * (1.0 + amount * options.odometry_scale_bias)
        + amount * options.odometry_walk_m * root * along
    )
    y = step[1, 3] + 0.3 * amount * options.odometry_walk_m * root * across
    return transforms.rigid(Rotation.from_euler("z", yaw).as_matrix(), [x, y, 0.0])


def _twist_covariance(speed: float, rate_hz: float, options: SimulationOptions) -> FloatArray:
    amount = options.odometry_noise
    sigma_v = amount * np.hypot(
        options.odometry_scale_bias * speed, options.odometry_walk_m * np.sqrt(speed * rate_hz)
    )
    sigma_w = amount * np.deg2rad(
        np.hypot(
            options.odometry_drift_deg_per_m * speed,
            options.odometry_heading_walk_deg * np.sqrt(speed * rate_hz),
        )
    )
    vx, vy, wz = max(sigma_v, 0.002), max(0.3 * sigma_v, 0.002), max(sigma_w, 2e-4)
    return np.diag([vx, vy, 0.05, 0.05, 0.05, wz]) ** 2


def draw_origin(seed: int) -> Origin:
    """Return where on the ellipsoid the map of a seed lies."""
    rng = np.random.default_rng([seed, 32])
    return Origin(
        round(float(rng.uniform(45, 55)), 6),
        round(float(rng.uniform(5, 20)), 6),
        round(float(rng.uniform(20, 400)), 3),
    )


def simulate_fixes(drive: Drive, place: Place, options: SimulationOptions) -> list[FixSample]:
    """Return fixes of the antenna with white noise, and the jump that was asked for.

    Args:
        drive: The motion.
        place: Where the street lies on the ellipsoid.
        options: Rate and noise.

    Raises:
        ValueError: the place has no origin.
    """
    if place.origin is None:
        raise ValueError("the place of the street has no origin on the ellipsoid")
    rng = np.random.default_rng([options.seed, 33])
    sigma = options.gnss_sigma_m * np.array([1.0, 1.0, 2.0])
    angle = rng.uniform(0, 2 * np.pi)
    jump = options.gnss_jump_m * np.array([np.cos(angle), np.sin(angle), 0.0])
    times, points = np.arange(0.13, drive.duration_s, 1.0 / options.gnss_rate_hz), []
    for t in times:
        antenna = transforms.apply(place.T_map_street @ drive.pose(t), ANTENNA_BASE[None])[0]
        is_jump = drive.duration_s / 2 <= t < drive.duration_s / 2 + _JUMP_S
        points.append(antenna + sigma * rng.normal(size=3) + is_jump * jump)
    return fix_samples(times, np.reshape(points, (-1, 3)), sigma, place.origin)


def fix_samples(
    times_s: FloatArray, points_map: FloatArray, sigma_m: FloatArray, origin: Origin
) -> list[FixSample]:
    """Return fixes (n,) of points (n, 3) of the ENU map, with standard deviations (3,)."""
    covariance = np.diag(np.maximum(sigma_m, 0.01) ** 2)
    places = geodesy.enu_to_geodetic(points_map, origin)
    return [
        FixSample(t, lat, lon, alt, covariance)
        for t, (lat, lon, alt) in zip(times_s.tolist(), places.tolist(), strict=True)
    ]
