"""Odometry whose stamps are not those of the pictures: both turn alike, one later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, RelativePose

_Key = tuple[int, int]

_MIN_INCREMENTS = 20
_MOST_S = 5.0
_LEAST_S = 0.04
_COARSE_S, _FINE_S = 0.1, 0.01
# Of what odometry and pictures turn apart, so much at most is left once it is shifted: of noise
# alone interpolation leaves 0.7.
_MOST_LEFT = 0.6
_LEAST_GAIN_RAD = np.deg2rad(3.0)


@dataclass(frozen=True)
class ClockOffset:
    """Odometry of one session that is stamped later than pictures of the same moment.

    Attributes:
        late_s: How much later; negative if it is stamped earlier.
        increments: Its increments at the times of the keyframes, as in `MapState.odometry`; None
            where odometry had not begun, or had ended.
    """

    late_s: float
    increments: dict[_Key, RelativePose | None]

    def describe(self) -> str:
        """Return a sentence."""
        return (
            f"odometry is stamped {abs(self.late_s):.2f} s "
            f"{'later' if self.late_s > 0 else 'earlier'} than the pictures, by how both turn; "
            "the finished map has it shifted: see to the clocks of its driver and of the cameras"
        )


def find_clock_offsets(state: MapState) -> tuple[ClockOffset, ...]:
    """Find the sessions whose odometry fits the turns in the pictures only at other times.

    The angles between keyframes are compared, which pictures tell to a tenth of a degree whatever
    odometry says. A drive that never turns tells nothing, and loses little.
    """
    found = (_Session(state, keys).offset() for keys in _sessions(state))
    return tuple(offset for offset in found if offset is not None)


class _Session:
    """Consecutive increments, with what odometry and pictures turn over each."""

    def __init__(self, state: MapState, keys: list[_Key]) -> None:
        self._keys = keys
        self._told = [state.odometry[key] for key in keys]
        frames = [state.frames[k] for k in (keys[0][0], *(j for _, j in keys))]
        self._stamps_ns = np.array([f.stamp_ns for f in frames])
        self._t = (self._stamps_ns - self._stamps_ns[0]) * 1e-9
        poses = [np.eye(4)]
        for increment in self._told:
            poses.append(poses[-1] @ increment.T_i_j)
        self._poses = np.stack(poses)
        turns = [transforms.yaw_rad(increment.T_i_j) for increment in self._told]
        self._yaw = np.concatenate([[0.0], np.cumsum(turns)])
        seen = np.stack([f.T_world_base for f in frames])
        moved = transforms.invert(seen[:-1]) @ seen[1:]
        self._turned = np.array([transforms.yaw_rad(T) for T in moved])
        tracked = np.array([f.status == "tracked" for f in frames])
        self._is_sure = tracked[:-1] & tracked[1:]

    def offset(self) -> ClockOffset | None:
        """Return the offset; None if there is none that tells."""
        coarse = np.arange(-_MOST_S, _MOST_S + _COARSE_S / 2, _COARSE_S)
        about = coarse[np.argmax([self._gain(late_s)[0] for late_s in coarse])]
        fine = about + np.arange(-_COARSE_S, _COARSE_S + _FINE_S / 2, _FINE_S)
        gains = [self._gain(late_s) for late_s in fine]
        best = int(np.argmax([gain for gain, _ in gains]))
        (gain, apart), late_s = gains[best], float(fine[best])
        is_clear = gain > max(_LEAST_GAIN_RAD, (1.0 - _MOST_LEFT) * apart)
        if not is_clear or not _LEAST_S <= abs(late_s) < _MOST_S:
            return None
        return ClockOffset(late_s, self._shifted(late_s))

    def _gain(self, late_s: float) -> tuple[float, float]:
        """Return by how much less they turn apart (rad) at an offset, and how much without."""
        start, end = self._t[:-1] + late_s, self._t[1:] + late_s
        rows = self._is_sure & (start >= 0.0) & (end <= self._t[-1])
        told = np.interp(end, self._t, self._yaw) - np.interp(start, self._t, self._yaw)
        apart = np.abs(self._turned - np.diff(self._yaw))[rows].sum()
        return float(apart - np.abs(self._turned - told)[rows].sum()), float(apart)

    def _shifted(self, late_s: float) -> dict[_Key, RelativePose | None]:
        at_ns = self._stamps_ns + round(late_s * 1e9)
        poses = transforms.interpolate_many(self._stamps_ns, self._poses, at_ns)
        steps: FloatArray = transforms.invert(poses[:-1]) @ poses[1:]
        is_known = (at_ns >= self._stamps_ns[0]) & (at_ns <= self._stamps_ns[-1])
        return {
            key: replace(told, T_i_j=step) if known else None
            for key, told, step, known in zip(
                self._keys, self._told, steps, is_known[:-1] & is_known[1:], strict=True
            )
        }


def _sessions(state: MapState) -> Iterator[list[_Key]]:
    """Yield the increments that follow each other without a gap."""
    run: list[_Key] = []
    for key in sorted(state.odometry):
        if run and run[-1][1] != key[0]:
            if len(run) >= _MIN_INCREMENTS:
                yield run
            run = []
        run.append(key)
    if len(run) >= _MIN_INCREMENTS:
        yield run
