"""What the geometry of a drive says about the sensors it was made from."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.config import MappingConfig
from seg2d3d_ros.mapping.refinement.ground import measure_ground
from seg2d3d_ros.mapping.refinement.mounting_check import (
    MountError,
    as_refined,
    corrected,
    find_mount_errors,
    has_odometry,
    way_by_matches,
)
from seg2d3d_ros.mapping.refinement.odometry_clock import find_clock_offsets
from seg2d3d_ros.mapping.refinement.odometry_scale import rescale, take_odometry_scale
from seg2d3d_ros.mapping.refinement.wheel_slip import distrust, find_slips
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import RelativePose, Rig

_MOST_USUAL_BIAS = 0.06
# What the turn of a camera is misjudged by before the whole map is adjusted with it.
_SIGMA_TURNED_RAD = np.deg2rad(0.3)


class SensorCheck:
    """Finds odometry of another clock, slipping wheels, cameras that sit otherwise than stated.

    Attributes:
        counts: How many of each were found, by name.
        remarks: A sentence for each.
        has_turned_cameras: Cameras of the map were turned to where they evidently sit.
    """

    def __init__(self, config: MappingConfig) -> None:
        """Start without findings."""
        self._config = config
        self.counts: dict[str, float] = {}
        self.remarks: tuple[str, ...] = ()
        self.has_turned_cameras = False
        self._errors: tuple[MountError, ...] = ()
        self._stated: Rig | None = None
        self._as_stamped: dict[tuple[int, int], RelativePose] = {}

    def check(self, state: MapState) -> None:
        """Look at the whole drive; shifts odometry, unweighs slips, turns cameras that are wrong.

        Cameras stay as they are stated without `refine_extrinsics`.
        """
        self.remarks = self._shift_odometry(state)
        errors = find_mount_errors(state)
        self._errors, self._stated = errors, state.rig
        self.has_turned_cameras, state.sigma_mount_rad = False, ()
        # A map that a turned camera has bent tells nothing of single increments.
        slips = () if errors else find_slips(state)
        distrust(state, slips)
        self.counts["odometry_slips"] = float(len(slips))
        self.counts["mounting_errors"] = float(len(errors))
        first_ns = state.frames[0].stamp_ns if state.frames else 0
        self.remarks += tuple(s.describe(first_ns) for s in slips)
        if state.rig is not None and errors and self._config.refine_extrinsics:
            state.rig = corrected(state.rig, errors)
            loose = {c for e in errors for c in (*e.cameras, *e.against)}
            state.sigma_mount_rad = tuple(
                float(_SIGMA_TURNED_RAD * (c in loose)) for c in range(len(state.cameras))
            )
            # Cameras that overlap took lengths from the turn between them: metres that are
            # off by a tenth are too far for the adjustment to find back to.
            if has_odometry(state):
                take_odometry_scale(state)
            else:
                rescale(state, way_by_matches(state))
            self.has_turned_cameras = True

    def _shift_odometry(self, state: MapState) -> tuple[str, ...]:
        """Give odometry the time of the pictures; return what there is to say."""
        state.odometry.update(self._as_stamped)
        offsets = find_clock_offsets(state)
        for offset in offsets:
            for key, shifted in offset.increments.items():
                self._as_stamped[key] = state.odometry.pop(key)
                if shifted is not None:
                    state.odometry[key] = shifted
        self.counts["odometry_clock_offsets"] = float(len(offsets))
        return tuple(offset.describe() for offset in offsets)

    def find_scale(self, state: MapState) -> float | None:
        """Return metres per unit of the map from the camera's height, if that is to be used.

        Returns:
            The scale; None without `camera_height_m` or where no road was seen.
        """
        if self._config.camera_height_m <= 0.0:
            return None
        ground = measure_ground(state)
        if ground is None:
            self.remarks += ("camera_height_m is given, but too little road was seen to use it",)
            return None
        self.counts["ground_landmarks"] = float(ground.num_points)
        self.remarks += (
            f"scale from the camera's height of {self._config.camera_height_m:.2f} m above the "
            f"road ({ground.num_points} landmarks on it, scatter {100 * ground.scatter:.0f} %)",
        )
        return self._config.camera_height_m / ground.height

    def compare(self, state: MapState, odometry_scale: float) -> None:
        """Report cameras that were found turned, and odometry whose metres are not the map's.

        Args:
            state: The refined map.
            odometry_scale: Metres of the map per metre the odometry tells.
        """
        if state.rig is None:
            return
        errors, done = self._errors, "not corrected"
        if self._stated is not None and self.has_turned_cameras:
            errors, done = as_refined(errors, self._stated, state.rig), "corrected"
        self.remarks += tuple(f"{e.describe(state.rig)}; {done}" for e in errors)
        if not has_odometry(state):
            if self.has_turned_cameras:
                self.remarks += (
                    "no odometry: the map's metres, where it has any, rest on matches between "
                    "cameras that were turned, and may be wrong",
                )
            return
        if abs(odometry_scale - 1.0) <= _MOST_USUAL_BIAS:
            return
        told = 100.0 * (1.0 / odometry_scale - 1.0)
        said = f"odometry tells {abs(told):.0f} % {'more' if told > 0 else 'less'} way than "
        if self.has_turned_cameras:
            # What was matched while they were taken for right is wrong, sooner than wheels.
            take_odometry_scale(state)
            said += "the cameras that were turned; the map has the odometry's metres"
        else:
            said += (
                "cameras and GNSS: check its wheel radius, or the cameras' baseline and mounting"
            )
        self.remarks += (said,)
