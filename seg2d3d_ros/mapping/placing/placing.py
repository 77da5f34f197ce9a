"""Where the map lies in the world: clusters on it, its metres, and ENU once GNSS tells it."""

from __future__ import annotations

import logging

import numpy as np

from seg2d3d_ros.geometry.bundle import PositionPrior
from seg2d3d_ros.mapping.placing.alignment import align, unit_of
from seg2d3d_ros.mapping.placing.georeference import GeoReference
from seg2d3d_ros.mapping.refinement.sensor_check import SensorCheck
from seg2d3d_ros.mapping.state import MapIncrement, MapState
from seg2d3d_ros.types import Cluster, FloatArray, Origin

_LOG = logging.getLogger(__name__)


class Placing:
    """Puts clusters where they belong; the world is the first one's frame until GNSS places it.

    Attributes:
        T_world_local: (4, 4) of the newest cluster.
        is_placed: Whether the world is ENU.
        worst_residual_m: Largest residual of aligning clusters so far; None without any.
    """

    def __init__(self, state: MapState, georeference: GeoReference) -> None:
        """Start with the first local frame as the world, beside the map that is placed."""
        self._state, self._georeference = state, georeference
        self.T_world_local: FloatArray = np.eye(4)
        self.is_placed = False
        self.worst_residual_m: float | None = None
        self._scale = "metric"

    @property
    def scale(self) -> str:
        """Return `metric`, or `unknown` where nothing tells the map its metres."""
        return "metric" if self.is_placed else self._scale

    @property
    def origin(self) -> Origin | None:
        """Return the origin of ENU, once the map lies in it."""
        return self._georeference.origin if self.is_placed else None

    def add(self, cluster: Cluster) -> tuple[MapIncrement, bool]:
        """Hold a cluster against the map, and add it there.

        Returns:
            What it added, and whether the whole map took its metres: odometry began with it.
        """
        brings_metres = False
        # The map's scale is that of its first session.
        if cluster.session == 0 or not self._state.frames:
            brings_metres = cluster.scale == "metric" and self._scale == "unknown"
            self._scale = cluster.scale
        T, residual = align(self._state, cluster, self.T_world_local, brings_metres)
        self.T_world_local = T
        if residual is not None:
            self.worst_residual_m = max(self.worst_residual_m or 0.0, residual)
        takes_metres = brings_metres and not self.is_placed  # else GNSS has told them
        if takes_metres:
            self._stretch(1.0 / float(np.cbrt(np.linalg.det(T[:3, :3]))))
        increment = self._state.add(cluster, self.T_world_local)
        if self._scale == "unknown" and self._state.unit == 1.0:
            self._state.unit = unit_of(cluster)
        return increment, takes_metres

    def follow(self, motion: FloatArray) -> None:
        """Follow the newest frame, which closing loops moved (4, 4)."""
        self.T_world_local = motion @ self.T_world_local

    def take_scale_of_ground(self, sensors: SensorCheck) -> None:
        """Give a map that nothing else tells its metres those of the camera's height."""
        if self.scale != "unknown":
            return
        scale = sensors.find_scale(self._state)
        if scale is not None:
            self._stretch(scale)
            self._scale = "metric"

    def place_again(self) -> None:
        """Fit a placed map to all fixes: the first few, which placed it, may have been bad."""
        found = self._georeference.fit(self._state, False) if self.is_placed else None
        if found is not None:
            self._carry(*found)

    def place(self) -> bool:
        """Carry the map into ENU once the fixes tell where it lies; return whether it moved."""
        if self.is_placed or self._georeference.origin is None:
            return False
        found = self._georeference.fit(self._state, self._scale == "unknown")
        if found is None:
            return False
        S, _ = found
        self._carry(*found)
        self._state.unit = 1.0
        self.is_placed = True
        _LOG.info("map placed by GNSS: heading %.1f deg", np.rad2deg(np.arctan2(S[1, 0], S[0, 0])))
        return True

    def positions(self) -> tuple[PositionPrior, ...]:
        """Return GNSS as factors of keyframes, once the map lies in its frame."""
        return self._georeference.factors(self._state) if self.is_placed else ()

    def _stretch(self, scale: float) -> None:
        """Give the map its metres, so many to what counted as one."""
        self._carry(np.diag([scale, scale, scale, 1.0]), scale)
        self._state.unit = 1.0

    def _carry(self, S: FloatArray, scale: float) -> None:
        self._state.transform(S, scale)
        self.T_world_local = S @ self.T_world_local
