"""Messages of sensors into the items that stages take: one law for recordings and the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from seg2d3d_ros.errors import CalibrationError
from seg2d3d_ros.io import pictures
from seg2d3d_ros.io.dead_reckoning import DeadReckoning, is_usable
from seg2d3d_ros.io.rosbag_rig import RigSetup
from seg2d3d_ros.types import Fix, FloatArray, Item, LabelImage, Odometry


class MessageReader:
    """Makes items of the messages of one pass over a recording, or of the graph."""

    def __init__(self, setup: RigSetup, base_frame: str) -> None:
        """Take the rig with its fixed links, and the name of base_link among them."""
        self._setup, self._base_frame = setup, base_frame
        self._wheels: DeadReckoning | None = None

    @property
    def num_integrated(self) -> int:
        """Return how often odometry without poses was integrated from its twists."""
        return self._wheels.num_integrated if self._wheels is not None else 0

    def item(self, kind: str, camera: str, stamp_ns: int, message: Any) -> Item | str:
        """Return the item of a message, or the reason why there is none.

        Args:
            kind: `frame`, `labels`, `odometry` or `fix`.
            camera: Name of the camera; empty for odometry and fixes.
            stamp_ns: Stamp of the message.
            message: As rosbags or rclpy brought it. A picture that cannot be used is Dropped.
        """
        if kind == "frame":
            rig = self._setup.rig
            model = rig.cameras[rig.index(camera)]
            return pictures.to_frame(pictures.decode(message), model, stamp_ns)
        if kind == "labels":
            labels, reason = pictures.decode_labels(message)
            return reason if labels is None else LabelImage(camera, stamp_ns, labels)
        if kind == "odometry":
            return self._odometry(message, stamp_ns)
        antenna_base = self._setup.antenna_base(self._base_frame, message.header.frame_id)
        return _fix(message, antenna_base, stamp_ns)

    def _odometry(self, message: Any, stamp_ns: int) -> Odometry | str:
        if self._wheels is None:
            if not is_usable(message):
                return "not_finite"
            try:
                frame_id = message.child_frame_id
                self._wheels = DeadReckoning(self._setup.child_base(self._base_frame, frame_id))
            except CalibrationError:
                return "no_transform"
        return self._wheels.item(message, stamp_ns)


def _fix(message: Any, antenna_base: FloatArray, stamp_ns: int) -> Fix | str:
    """Return a sensor_msgs/NavSatFix, or the reason why it cannot be used."""
    if message.status.status < 0:
        return "no_fix"
    lat, lon, alt = float(message.latitude), float(message.longitude), float(message.altitude)
    if not np.isfinite([lat, lon, alt]).all() or abs(lat) > 90 or abs(lon) > 360:
        return "not_finite"
    covariance = np.asarray(message.position_covariance, dtype=float).reshape(3, 3)
    is_known = (
        message.position_covariance_type > 0
        and np.isfinite(covariance).all()
        and (np.diag(covariance) > 0).all()
    )
    return Fix(stamp_ns, lat, lon, alt, covariance if is_known else None, antenna_base)
