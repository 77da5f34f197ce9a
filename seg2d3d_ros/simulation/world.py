"""The street, the vehicle that drives along it and what its cameras see at any time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from seg2d3d_ros.errors import ConfigError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.simulation import route, sensors
from seg2d3d_ros.simulation.options import SimulationOptions
from seg2d3d_ros.simulation.render import Renderer, Rendering, camera_rays
from seg2d3d_ros.simulation.rig import build_rig
from seg2d3d_ros.simulation.street import build_street
from seg2d3d_ros.simulation.truth import Place
from seg2d3d_ros.types import FloatArray, Rig

_EPOCH_NS = 1_700_000_000_123_456_789
_EPOCH_STEP_NS = 10_000 * 10**9
_LEAD_M = 14.0
_PREFIX = "camera_"


@dataclass(frozen=True)
class Shot:
    """One picture to be taken.

    Attributes:
        camera: Position of the camera in the rig.
        index: Number of the picture among those of its camera, lost ones included.
        time_s: Seconds since the start.
        is_lost: It never reaches the bag.
    """

    camera: int
    index: int
    time_s: float
    is_lost: bool


class World:
    """A street and a vehicle with its cameras, made from options."""

    def __init__(self, options: SimulationOptions) -> None:
        """Build everything but the pictures.

        Raises:
            ConfigError: the options contradict each other.
        """
        self._options = options
        self.rig = build_rig(options)
        _check_stopped(options.stop_camera, self.rig)
        line, path = route.plan(options)
        self.drive = route.Drive(path, options)
        self.street = build_street(options, line)
        self.start_ns = _EPOCH_NS + options.seed * _EPOCH_STEP_NS
        self.place = self._place()
        self.rays = [camera_rays(camera) for camera in self.rig.cameras]
        self._renderer = Renderer(self.street.scene, self.street.movers, self.street.atlas)

    def stamp_ns(self, time_s: float) -> int:
        """Return the stamp of a time of the drive."""
        return self.start_ns + round(time_s * 1e9)

    def T_street_cam(self, camera: int, time_s: float) -> FloatArray:
        """Return the true pose (4, 4) of a camera of the rig."""
        return self.drive.pose(time_s) @ self.rig.cameras[camera].T_base_cam

    def render(self, camera: int, time_s: float) -> Rendering:
        """Render what a camera of the rig sees at a time, without noise."""
        return self._renderer.render(
            self.rig.cameras[camera],
            self.rays[camera],
            self.T_street_cam(camera, time_s),
            self._T_street_movers(time_s),
        )

    def shots(self) -> list[Shot]:
        """Return all pictures in the order of their stamps; the very first is never lost."""
        options = self._options
        rng = np.random.default_rng([options.seed, 52])
        found = []
        for index in range(int(self.drive.duration_s * options.rate_hz)):
            for camera in range(len(self.rig.cameras)):
                time_s = index / options.rate_hz + camera * options.camera_offset_ms * 1e-3
                is_lost = bool(rng.random() < options.dropped) and index > 0
                if not self._is_off(self.rig.cameras[camera].name, time_s):
                    found.append(Shot(camera, index, time_s, is_lost))
        return sorted(found, key=lambda shot: (shot.time_s, shot.camera))

    def _is_off(self, camera: str, time_s: float) -> bool:
        options = self._options
        if camera.removeprefix(_PREFIX) != options.stop_camera.removeprefix(_PREFIX):
            return False
        since = time_s - self.drive.duration_s / 2
        return since > 0 and (options.stop_s == 0 or since < options.stop_s)

    def _place(self) -> Place:
        T_street_start = self.drive.pose(0.0)
        if not self._options.gnss:
            return Place(transforms.invert(T_street_start), None)
        heading = np.random.default_rng([self._options.seed, 51]).uniform(-np.pi, np.pi)
        R = Rotation.from_euler("z", heading).as_matrix()
        T_map_street = transforms.rigid(R, -R @ T_street_start[:3, 3])
        return Place(T_map_street, sensors.draw_origin(self._options.seed))

    def _T_street_movers(self, time_s: float) -> list[FloatArray]:
        """Return where the moving cars are: the first drives ahead, the others come towards us."""
        poses = []
        num = len(self.street.movers)
        turn = np.diag([-1.0, -1.0, 1.0, 1.0])
        other_lane = transforms.rigid(np.eye(3), [0.0, 2 * route.LANE_M, 0.0])
        for k in range(num):
            if k == 0:
                ahead = _LEAD_M + 3.0 * np.sin(0.3 * time_s)
                poses.append(self._beyond(self.drive.distance_m(time_s) + ahead))
                continue
            speed = self._options.speed_mps * (0.7 + 0.15 * (k % 3))
            place = self.drive.length_m * k / num + 40.0 - speed * time_s
            poses.append(self._beyond(place % (self.drive.length_m + 60.0)) @ other_lane @ turn)
        return poses

    def _beyond(self, place_m: float) -> FloatArray:
        """Return the level pose at a distance, straight on after the end of the path."""
        T = self.drive.pose_at(min(place_m, self.drive.length_m), is_level=True)
        ahead = max(0.0, place_m - self.drive.length_m)
        return T @ transforms.rigid(np.eye(3), [ahead, 0.0, 0.0])


def _check_stopped(name: str, rig: Rig) -> None:
    names = [camera.name.removeprefix(_PREFIX) for camera in rig.cameras]
    if name and name.removeprefix(_PREFIX) not in names:
        raise ConfigError(f"stop_camera is '{name}'; the cameras are {', '.join(names)}")
