"""Cameras of the simulated vehicle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.simulation.options import PRESETS, SimulationOptions
from seg2d3d_ros.types import Camera, Distortion, FloatArray, Rig

ANTENNA_BASE = np.array([-0.4, 0.1, 1.75])
_COEFFICIENTS = {
    "none": [],
    "plumb_bob": [-0.18, 0.04, 0.0005, -0.0003, -0.002],
    "rational_polynomial": [0.35, 0.06, 0.0003, -0.0002, 0.002, 0.62, 0.14, 0.012],
    "equidistant": [0.02, -0.006, 0.003, -0.0008],
}


def build_rig(options: SimulationOptions) -> Rig:
    """Return the true cameras, named `camera_<name>`, sorted by name."""
    names = PRESETS.get(options.cameras) or options.cameras.split(",")
    found = [_camera(name, options) for name in sorted(names)]
    has_labels = frozenset(c.name for c in found) if options.labels else frozenset()
    return Rig(tuple(found), "tf", options.odometry, has_labels)


def published_rig(rig: Rig, options: SimulationOptions) -> Rig:
    """Return the rig as the recording claims it to be: the first camera's yaw may be wrong."""
    if options.extrinsics_error_deg == 0.0:
        return rig
    first = rig.cameras[0]
    error = Rotation.from_euler("z", options.extrinsics_error_deg, degrees=True).as_matrix()
    T = transforms.rigid(error @ first.T_base_cam[:3, :3], first.T_base_cam[:3, 3])
    return replace(rig, cameras=(replace(first, T_base_cam=T), *rig.cameras[1:]))


def _camera(name: str, options: SimulationOptions) -> Camera:
    w, h = options.width_px, options.height_px
    half = np.deg2rad(options.fov_deg) / 2
    focal = w / 2 / (half if options.distortion == "equidistant" else np.tan(half))
    K = np.array(
        [
            [focal, 0, (w - 1) / 2 + 0.006 * w],
            [0, 1.002 * focal, (h - 1) / 2 - 0.007 * h],
            [0, 0, 1],
        ]
    )
    return Camera(
        name=f"camera_{name}",
        width_px=w,
        height_px=h,
        K=K,
        T_base_cam=_mount(name, options),
        distortion=Distortion(options.distortion),
        D=np.array(_COEFFICIENTS[options.distortion]),
    )


def _mount(name: str, options: SimulationOptions) -> FloatArray:
    half = options.baseline_m / 2
    yaw = 0.0 if options.cameras == "stereo" else options.yaw_deg
    side = half if options.cameras == "stereo" else 0.4
    x, y, yaw_deg = {
        "front": (1.6, 0.0, 0.0),
        "front_left": (1.5, side, yaw),
        "front_right": (1.5, -side, -yaw),
        "left": (0.3, 0.6, 90.0),
        "right": (0.3, -0.6, -90.0),
        "rear": (-1.2, 0.0, 180.0),
    }[name]
    R = Rotation.from_euler("z", yaw_deg, degrees=True).as_matrix() @ transforms.R_BODY_OPTICAL
    return transforms.rigid(R, [x, y, options.mount_height_m])
