"""What is kept of a vehicle that stands for minutes: a picture now and then."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.clusters.window import LocalFrame
from seg2d3d_ros.config import ClustersConfig
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import FloatArray

_ALL_KEPT = 1200
_KEPT_EVERY = 100
_MOVED = 1.0 / 6.0


class Rest:
    """Counts moments since the vehicle moved, by a sixth of what makes a keyframe."""

    def __init__(self, config: ClustersConfig) -> None:
        """Use the configured distances."""
        self._most_m = _MOVED * config.keyframe_distance_m
        self._most_rad = _MOVED * np.deg2rad(config.keyframe_rotation_deg)
        self._T_local_rest: FloatArray | None = None
        self._num = 0

    def is_superfluous(self, frame: LocalFrame) -> bool:
        """Take the newest frame; return whether nothing is lost if it is forgotten.

        The first 1200 moments of a rest (two minutes at 10 Hz) are all kept, of the others one in
        a hundred, and what became a keyframe since the scene changed.
        """
        T_rest = self._T_local_rest
        if T_rest is None or self._is_moved(transforms.invert(T_rest) @ frame.T_local_base):
            self._T_local_rest, self._num = frame.T_local_base.copy(), 0
        self._num += 1
        is_kept = self._num <= _ALL_KEPT or self._num % _KEPT_EVERY == 0
        return not (is_kept or frame.is_keyframe)

    def _is_moved(self, T_rest_base: FloatArray) -> bool:
        far = float(np.linalg.norm(T_rest_base[:3, 3]))
        return far > self._most_m or bool(transforms.angle_rad(T_rest_base) > self._most_rad)
