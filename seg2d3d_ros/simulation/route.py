"""Where the vehicle drives: the street's centre line, the lane on it, and the pose at any time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from seg2d3d_ros.errors import ConfigError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.transforms import path_distances
from seg2d3d_ros.simulation.options import SimulationOptions
from seg2d3d_ros.types import FloatArray

LANE_M = 1.6
_STEP_M = 0.05
_LATERAL_MPS2 = 2.0
_ACCELERATION_MPS2 = 1.8
_TURN_RADIUS_M = 4.0
_PIVOT_RATE_RPS = np.deg2rad(30.0)
_PIVOT_CALM_M = 5.0
_MIN_LOOP_M = 140.0


@dataclass(frozen=True)
class Centerline:
    """The middle of the road: nodes (n, 2) joined at right angles; closed if it is a block."""

    nodes: FloatArray
    is_closed: bool


def plan(options: SimulationOptions) -> tuple[Centerline, FloatArray]:
    """Return the centre line of the street and the path (n, 2) on its right lane, 5 cm apart."""
    length = options.length_m
    turn = 1.0 if np.random.default_rng([options.seed, 11]).random() < 0.6 else -1.0
    if options.route == "straight":
        line = np.array([[0.0, 0.0], [length + 20.0, 0.0]])
        return Centerline(line, False), _trim(_lane(line, False, 1), length)
    if options.route == "corner":
        leg = length / 2 + 3.0
        line = np.array([[0.0, 0.0], [leg, 0.0], [leg, turn * (leg + 20.0)]])
        return Centerline(line, False), _trim(_lane(line, False, 1), length)
    if options.route == "pivot":
        line = np.array([[0.0, 0.0], [length / 2, 0.0], [length / 2, turn * (length / 2 + 20.0)]])
        return Centerline(line, False), _trim(_pivot(line), length)
    if options.route == "out_and_back":
        out = (length - np.pi * _TURN_RADIUS_M) / 2
        line = np.array([[0.0, 0.0], [out + 8.0, 0.0]])
        return Centerline(line, False), _trim(_turnaround(out), length)
    is_both = options.route == "both_ways"
    perimeter = (length - np.pi * _TURN_RADIUS_M) / 2 if is_both else length / options.laps
    laps = 2.0 if is_both else options.laps
    if perimeter < _MIN_LOOP_M:
        raise ConfigError(
            f"a block of {length:g} m in {laps:g} laps has {perimeter:.0f} m around; at "
            f"least {_MIN_LOOP_M:g} m are needed: raise length_m or lower laps"
        )
    ratio = np.random.default_rng([options.seed, 12]).uniform(0.4, 0.6)
    # One way the lane lies outside of the block's middle line, the other way inside.
    radius, aside = (6.0, 0.0) if is_both else (_fillet_radius(turn), turn * 4 * LANE_M)
    half = (perimeter + (8 - 2 * np.pi) * radius) / 2 - aside
    a, b = half * ratio, half * (1 - ratio)
    line = np.array([[0.0, 0.0], [a, 0.0], [a, turn * b], [0.0, turn * b]]) - [a / 2, 0.0]
    if is_both:
        return Centerline(line, True), _trim(_both_ways(line), length)
    path = _lane(line, True, int(np.ceil(options.laps)) + 1)
    start = int(np.argmin(np.abs(path[: len(path) // 4, 0] + 0.0)))
    return Centerline(line, True), _trim(path[start:], length)


def left_turn(a: FloatArray, b: FloatArray) -> float:
    """Return the sine of the turn from heading a (2,) to heading b (2,): 1 = left, -1 = right."""
    return float(a[0] * b[1] - a[1] * b[0])


def _fillet_radius(turn: float) -> float:
    return 7.0 if turn > 0 else 5.0


def _trim(path: FloatArray, length: float) -> FloatArray:
    along = path_distances(path)
    s = np.arange(0.0, min(length, along[-1]), _STEP_M)
    return np.column_stack([np.interp(s, along, path[:, k]) for k in range(2)])


def _turnaround(out: float) -> FloatArray:
    """Return out along the right lane, a half circle to the left and back along the other lane."""
    x = np.arange(0.0, out, _STEP_M)
    there = np.column_stack([x, np.full_like(x, -LANE_M)])
    return _turned_round(there, there[::-1] * [1.0, -1.0], out)


def _both_ways(line: FloatArray) -> FloatArray:
    """Return a round of a block from the middle of its first street, and one the other way."""
    rounds = []
    for way, nodes in ((1.0, line), (-1.0, line[[1, 0, 3, 2]])):
        path = _lane(nodes, True, 1)
        # Lanes pass the middle of the first street at y = -LANE_M there and LANE_M back.
        near = np.abs(path[:, 0]) + np.abs(path[:, 1] + way * LANE_M)
        half = len(path) // 2
        rounds.append(path[np.argmin(near[:half]) : half + np.argmin(near[half:])])
    there, back = rounds
    return _turned_round(there, back, 0.0)


def _turned_round(there: FloatArray, back: FloatArray, out: float) -> FloatArray:
    """Join a path (n, 2) that ends at x = `out` on the right lane to one back on the other.

    A half circle to the left takes more room than the lanes: both bulge before and after it.
    """
    bulge = 8.0
    rows = round(bulge / _STEP_M) + 1
    there, back = there.copy(), back.copy()
    for path, side in ((there[-rows:], -1.0), (back[:rows], 1.0)):
        ramp = np.clip(1.0 - (out - path[:, 0]) / bulge, 0.0, 1.0)
        path[:, 1] += side * (_TURN_RADIUS_M - LANE_M) * ramp**2 * (3 - 2 * ramp)
    angle = np.arange(-np.pi / 2, np.pi / 2, _STEP_M / _TURN_RADIUS_M)
    arc = np.column_stack([out + _TURN_RADIUS_M * np.cos(angle), _TURN_RADIUS_M * np.sin(angle)])
    path = np.concatenate([there, arc, back])
    return gaussian_filter1d(path, 0.8 / _STEP_M, axis=0, mode="nearest")


def _pivot(line: FloatArray) -> FloatArray:
    """Return the right lanes of two streets up to and from where they meet, with a sharp turn."""
    heading = np.diff(line, axis=0)
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    right = LANE_M * np.column_stack([heading[:, 1], -heading[:, 0]])
    corner = line[1] + right[0] + right[1]
    return np.concatenate(
        [_straight(line[0] + right[0], corner), _straight(corner, line[2] + right[1])]
    )


def _lane(line: FloatArray, is_closed: bool, laps: int) -> FloatArray:
    """Return the right lane along a centre line, with the round corners of a steering hand."""
    if is_closed:
        line = np.concatenate([line] * laps + [line[:2]])
    heading = np.diff(line, axis=0)
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    right = np.column_stack([heading[:, 1], -heading[:, 0]])
    corners = [line[0] + LANE_M * right[0]]
    for i in range(1, len(line) - 1):
        corners.append(line[i] + LANE_M * (right[i - 1] + right[i]))
    corners.append(line[-1] + LANE_M * right[-1])
    pieces, last = [], corners[0]
    for i in range(1, len(corners) - 1):
        turn = left_turn(heading[i - 1], heading[i])
        radius = _fillet_radius(turn)
        enter, leave = corners[i] - radius * heading[i - 1], corners[i] + radius * heading[i]
        center = enter + radius * np.sign(turn) * -right[i - 1]
        angle = np.arange(0.0, np.pi / 2, _STEP_M / radius)[:, None]
        arc = (
            center
            + radius * np.sign(turn) * np.cos(angle) * right[i - 1]
            + radius * np.sin(angle) * heading[i - 1]
        )
        pieces += [_straight(last, enter), arc]
        last = leave
    pieces.append(_straight(last, corners[-1]))
    return gaussian_filter1d(np.concatenate(pieces), 1.2 / _STEP_M, axis=0, mode="nearest")


def _straight(a: FloatArray, b: FloatArray) -> FloatArray:
    n = max(1, round(float(np.linalg.norm(b - a)) / _STEP_M))
    return a + (b - a) * (np.arange(n) / n)[:, None]


class Drive:
    """The motion of the vehicle in the frame of the street."""

    def __init__(self, path: FloatArray, options: SimulationOptions) -> None:
        """Lay wobble and speed over a path (n, 2)."""
        rng = np.random.default_rng([options.seed, 13])
        s = path_distances(path)
        ramp = np.clip(s / 5.0, 0.0, 1.0) * options.wobble
        heading = np.unwrap(np.arctan2(*np.gradient(path, axis=0).T[::-1]))
        if options.route == "pivot":
            ramp *= np.clip(np.abs(s - s[np.argmax(_sharpness(path))]) / _PIVOT_CALM_M, 0.0, 1.0)
        left = np.column_stack([-np.sin(heading), np.cos(heading)])
        self._xy = path + left * (ramp * _waves(rng, s, 0.12, (25.0, 70.0)))[:, None]
        self._s = path_distances(self._xy)
        self._yaw = np.unwrap(np.arctan2(*np.gradient(self._xy, axis=0).T[::-1]))
        self._pitch = ramp * _waves(rng, s, np.deg2rad(0.5), (6.0, 25.0))
        self._roll = ramp * _waves(rng, s, np.deg2rad(0.4), (8.0, 30.0))
        self._heave = ramp * _waves(rng, s, 0.012, (5.0, 20.0))
        self._times, self._places = _timetable(rng, self._s, self._yaw, options)
        self.length_m = float(self._s[-1])
        self.duration_s = float(self._times[-1])

    def distance_m(self, t_s: float) -> float:
        """Return the distance driven at a time."""
        return float(np.interp(t_s, self._times, self._places))

    def time_s(self, distance_m: float) -> float:
        """Return when a distance has been driven."""
        return float(np.interp(distance_m, self._places, self._times))

    def pose(self, t_s: float) -> FloatArray:
        """Return T_street_base (4, 4) at a time."""
        return self.pose_at(self.distance_m(t_s))

    def pose_at(self, distance_m: float, is_level: bool = False) -> FloatArray:
        """Return T_street_base (4, 4) at a distance along the path."""
        yaw, pitch, roll, heave, x, y = (
            float(np.interp(distance_m, self._s, values))
            for values in (self._yaw, self._pitch, self._roll, self._heave, *self._xy.T)
        )
        if is_level:
            pitch = roll = heave = 0.0
        return transforms.rigid(
            Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_matrix(), [x, y, heave]
        )


def _sharpness(path: FloatArray) -> FloatArray:
    """Return how much a path (n, 2) turns around each of its points, 25 cm before to after."""
    far = round(0.25 / _STEP_M)
    ahead, behind = np.roll(path, -far, axis=0) - path, path - np.roll(path, far, axis=0)
    sharp = np.abs(ahead[:, 0] * behind[:, 1] - ahead[:, 1] * behind[:, 0])
    sharp[:far] = sharp[len(path) - far :] = 0.0
    return sharp


def _waves(
    rng: np.random.Generator, s: FloatArray, amplitude: float, wavelengths: tuple[float, float]
) -> FloatArray:
    out = np.zeros_like(s)
    for wavelength in rng.uniform(*wavelengths, 4):
        out += np.sin(2 * np.pi * s / wavelength + rng.uniform(0, 2 * np.pi))
    return amplitude / np.sqrt(2.0) * out


def _timetable(
    rng: np.random.Generator, s: FloatArray, yaw: FloatArray, options: SimulationOptions
) -> tuple[FloatArray, FloatArray]:
    """Return times and the distances driven by then: slower in bends, a stop half way."""
    bend = np.abs(gaussian_filter1d(np.gradient(yaw, s), 0.5 / _STEP_M))
    speed = options.speed_mps * np.clip(1.0 + 0.12 * _waves(rng, s, 1.0, (30.0, 90.0)), 0.6, 1.4)
    speed = np.minimum(speed, np.sqrt(_LATERAL_MPS2 / np.maximum(bend, 1e-6)))
    if options.route == "pivot":
        turning = np.abs(np.gradient(yaw, s))
        speed = np.minimum(speed, _PIVOT_RATE_RPS / np.maximum(turning, 1e-6))
    stop = len(s) // 2
    if options.standing_s > 0:
        speed[stop] = 0.2
    step = np.diff(s)
    for i in range(1, len(s)):
        speed[i] = min(speed[i], np.sqrt(speed[i - 1] ** 2 + 2 * _ACCELERATION_MPS2 * step[i - 1]))
    for i in range(len(s) - 2, -1, -1):
        speed[i] = min(speed[i], np.sqrt(speed[i + 1] ** 2 + 2 * _ACCELERATION_MPS2 * step[i]))
    times = np.concatenate([[0.0], np.cumsum(2 * step / (speed[1:] + speed[:-1]))])
    if options.standing_s > 0:
        times = np.insert(times, stop, times[stop])
        times[stop + 1 :] += options.standing_s
        s = np.insert(s, stop, s[stop])
    return times, s
