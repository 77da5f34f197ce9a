"""Odometry as increments between stamps, with the noise they carry."""

from __future__ import annotations

import bisect

import numpy as np

from seg2d3d_ros.clusters.motion import Motion
from seg2d3d_ros.config import ClustersConfig
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import FloatArray, Odometry

_KEEP_NS = 60_000_000_000
_SLACK_NS = 200_000_000
# What lies longer ago matters after a long stop only: there poses that moved no further are one.
_REST_M = 0.01
_REST_RAD = np.deg2rad(0.05)
_MOST_OLD = 4096
_MOST_BEHIND = 1024


class OdometryBuffer:
    """The recent dead-reckoning poses; interpolates, never uses anything but increments.

    All poses of the last one or two minutes are kept. Of older ones the first and the last of
    each rest stay, so that the increment over a stop is told however long that was; at most 4096
    of them, which are some hundred metres of way.
    """

    def __init__(self, config: ClustersConfig) -> None:
        """Use the configured noise where the messages bring none."""
        self._config = config
        self._stamps: list[int] = []
        self._poses: list[FloatArray] = []
        self._num_old = 0
        # Those behind the newest, until another one follows it: of after a jump, perhaps.
        self._behind: list[Odometry] = []
        # Stamps of the newest item of all, now and when odometry came last.
        self._newest_ns = self._heard_ns = -(1 << 62)

    def go_on(self, stamp_ns: int) -> None:
        """Hear of an item of another sensor."""
        self._newest_ns = max(self._newest_ns, stamp_ns)

    def push(self, odometry: Odometry) -> None:
        """Take one pose; those that are not newer than the last, or not finite, are ignored."""
        self.go_on(odometry.stamp_ns)
        self._heard_ns = self._newest_ns
        if not np.isfinite(odometry.T_odom_base).all():
            return
        if self._stamps and odometry.stamp_ns <= self._stamps[-1]:
            self._behind = [*self._behind, odometry][-_MOST_BEHIND:]
            return
        self._behind = []
        self._stamps.append(odometry.stamp_ns)
        self._poses.append(odometry.T_odom_base)
        if self._stamps[-1] - self._stamps[self._num_old] > 2 * _KEEP_NS:
            self._thin(bisect.bisect_left(self._stamps, self._stamps[-1] - _KEEP_NS))

    def _thin(self, end: int) -> None:
        """Sum up what the poses before `end` tell of rests; forget the oldest of too many."""
        kept = list(range(self._num_old))[-_MOST_OLD:]
        for k in range(self._num_old, end):
            is_end = not kept or not self._is_rest(kept[-1], k + 1)
            if is_end or not self._is_rest(kept[-1], k):
                kept.append(k)
        kept = kept[-_MOST_OLD:]
        self._num_old = len(kept)
        self._stamps[:end] = [self._stamps[k] for k in kept]
        self._poses[:end] = [self._poses[k] for k in kept]

    def _is_rest(self, i: int, j: int) -> bool:
        apart = np.abs(self._poses[i] - self._poses[j])
        return bool(apart[:3, 3].max() < _REST_M and apart[:3, :3].max() < _REST_RAD)

    def clear(self) -> None:
        """Forget all but what came behind the newest pose, and so after it (time went back)."""
        self._stamps.clear()
        self._poses.clear()
        self._num_old = 0
        self._newest_ns = self._heard_ns = -(1 << 62)
        waiting, self._behind = self._behind, []
        for odometry in waiting:
            self.push(odometry)

    def has_begun(self, stamp_ns: int) -> bool:
        """Return whether odometry had come by a stamp."""
        return bool(self._stamps) and stamp_ns >= self._stamps[0] - _SLACK_NS

    def is_over(self, stamp_ns: int) -> bool:
        """Return whether odometry has come, but ended before a stamp.

        One that only lags, as on a busy machine, has not: other items went on for as long as
        inputs are waited for, and none of its messages came meanwhile.
        """
        is_behind = bool(self._stamps) and stamp_ns > self._stamps[-1] + _SLACK_NS
        return is_behind and self._newest_ns - self._heard_ns > self._config.wait_s * 1e9

    def increment(self, stamp_i_ns: int, stamp_j_ns: int) -> FloatArray | None:
        """Return T_i_j of base_link between two stamps; None where they are not covered."""
        T_i, T_j = self._at(stamp_i_ns), self._at(stamp_j_ns)
        if T_i is None or T_j is None:
            return None
        return transforms.invert(T_i) @ T_j

    def motion(self, stamp_i_ns: int, stamp_j_ns: int) -> Motion | None:
        """Return the increment between two stamps with its noise; None where not covered."""
        T_i_j = self.increment(stamp_i_ns, stamp_j_ns)
        return None if T_i_j is None else Motion(T_i_j, self.covariance(T_i_j))

    def _at(self, stamp_ns: int) -> FloatArray | None:
        if len(self._stamps) < 2:
            return None
        if not self._stamps[0] - _SLACK_NS <= stamp_ns <= self._stamps[-1] + _SLACK_NS:
            return None
        k = min(max(bisect.bisect_right(self._stamps, stamp_ns), 1), len(self._stamps) - 1)
        span = self._stamps[k] - self._stamps[k - 1]
        return transforms.interpolate(
            self._poses[k - 1], self._poses[k], (stamp_ns - self._stamps[k - 1]) / span
        )

    def covariance(self, T_i_j: FloatArray) -> FloatArray:
        """Return the (6, 6) covariance [rotation, translation]; it grows with the way."""
        way = max(float(np.linalg.norm(T_i_j[:3, 3])), 0.1)
        turn = transforms.angle_rad(T_i_j)
        rotation = (
            np.deg2rad(self._config.odometry_sigma_rotation_deg) * np.sqrt(way) + 0.03 * turn
        )
        along = self._config.odometry_sigma_translation * np.sqrt(way)
        # Dead reckoning knows nothing of roll, pitch and height beyond "a road is smooth".
        sigma = np.array([3 * rotation, 3 * rotation, rotation, along, along, 1.5 * along])
        return np.diag(sigma**2)
