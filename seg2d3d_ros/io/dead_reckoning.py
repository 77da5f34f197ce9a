"""nav_msgs/Odometry as the motion of base_link: by its poses, or by twists where it has none."""

from __future__ import annotations

from typing import Any

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import FloatArray, Odometry


class DeadReckoning:
    """Makes the messages of one odometry topic into poses; one object per pass over the topic.

    Some drivers fill in the twist only and leave every pose as it was made: zero, or at least its
    quaternion. Taken at its word that would be a vehicle at rest, or none. So until a pose is
    anything else, twists are integrated.
    """

    def __init__(self, T_child_base: FloatArray) -> None:
        """Take where base_link (4, 4) stands in the frame whose motion is told."""
        self._T_child_base = T_child_base
        self._T_odom_child = np.eye(4)
        self._has_poses = False
        self._last: tuple[int, FloatArray] | None = None
        self.num_integrated = 0

    def item(self, message: Any, stamp_ns: int) -> Odometry | str:
        """Return a message as the pose of base_link, or the reason why it cannot be used."""
        self._has_poses = self._has_poses or not _is_unfilled(message.pose.pose)
        if self._has_poses:
            return odometry_item(message, self._T_child_base, stamp_ns)
        angular, linear = message.twist.twist.angular, message.twist.twist.linear
        twist = np.array([angular.x, angular.y, angular.z, linear.x, linear.y, linear.z])
        if not np.isfinite(twist).all():
            return "not_finite"
        self._advance(stamp_ns, twist)
        covariance = _twist_covariance(message, self._T_child_base)
        return Odometry(stamp_ns, self._T_odom_child @ self._T_child_base, covariance)

    def _advance(self, stamp_ns: int, twist: FloatArray) -> None:
        """Go on by the mean of two twists [w, v], turning half before the step and half after."""
        before, self._last = self._last, (stamp_ns, twist)
        if before is None or stamp_ns <= before[0] or not (twist.any() or before[1].any()):
            return
        step = (stamp_ns - before[0]) * 1e-9 * (before[1] + twist) / 2
        R_half = transforms.exp([*(step[:3] / 2), 0, 0, 0])
        self._T_odom_child = self._T_odom_child @ R_half @ transforms.exp([0, 0, 0, *step[3:]])
        self._T_odom_child = self._T_odom_child @ R_half
        self.num_integrated += 1


def is_usable(message: Any) -> bool:
    """Return whether a message by itself tells a pose, or a twist in its place."""
    return isinstance(DeadReckoning(np.eye(4)).item(message, 0), Odometry)


def _is_unfilled(pose: Any) -> bool:
    p, q = pose.position, pose.orientation
    return not any((q.x, q.y, q.z)) and (q.w == 0 or (q.w == 1 and not any((p.x, p.y, p.z))))


def odometry_item(message: Any, T_child_base: FloatArray, stamp_ns: int) -> Odometry | str:
    """Return the pose of nav_msgs/Odometry as one of base_link, or why it cannot be used.

    T_odom_base = T_odom_child @ T_child_base. A twist covariance that is not positive is left out.
    """
    p, q = message.pose.pose.position, message.pose.pose.orientation
    quat, position = np.array([q.x, q.y, q.z, q.w]), np.array([p.x, p.y, p.z])
    if not np.isfinite([*quat, *position]).all() or np.linalg.norm(quat) < 1e-6:
        return "not_finite"
    T_odom_base = transforms.from_quaternion(quat, position) @ T_child_base
    return Odometry(stamp_ns, T_odom_base, _twist_covariance(message, T_child_base))


def _twist_covariance(message: Any, T_child_base: FloatArray) -> FloatArray | None:
    """Return J C Jᵀ, v_base = R (v_child + w_child x r), w_base = R w_child, R = R_base_child."""
    covariance = np.asarray(message.twist.covariance, dtype=float).reshape(6, 6)
    if not np.isfinite(covariance).all() or not (np.diag(covariance) > 0).all():
        return None
    R = T_child_base[:3, :3].T
    x, y, z = T_child_base[:3, 3]
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    J = np.block([[R, -R @ skew], [np.zeros((3, 3)), R]])
    return np.asarray(J @ covariance @ J.T)
