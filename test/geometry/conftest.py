"""A rig on a street: two cameras that look forward, moving along x past points on both sides."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from seg2d3d_ros.geometry import cameras, transforms
from seg2d3d_ros.geometry.bundle import BundleProblem
from seg2d3d_ros.types import Camera

sys.path.insert(0, str(Path(__file__).parent))  # bundle_maker


def _camera(name="camera", t_base=(0.0, 0.0, 1.6), yaw_deg=0.0):
    """A 640x400 camera with 90 degrees of view, level, turned to the left by `yaw_deg`."""
    K = np.array([[320.0, 0.0, 319.5], [0.0, 324.0, 199.5], [0.0, 0.0, 1.0]])
    turn = transforms.exp([0, 0, np.deg2rad(yaw_deg), 0, 0, 0])[:3, :3]
    T = transforms.rigid(turn @ transforms.R_BODY_OPTICAL, t_base)
    return Camera(name, 640, 400, K, T)


@dataclass
class Street:
    """Truth: what a rig sees of a street; `problem` starts a bundle adjustment from the truth."""

    cameras: tuple[Camera, ...]
    T_world_base: np.ndarray
    points: np.ndarray

    def observe(self, noise_px=0.0, seed=0):
        """Return frame, camera, point (m,) and noisy pixels (m, 2) of all that is visible."""
        rng = np.random.default_rng(seed)
        rows = []
        for f, T in enumerate(self.T_world_base):
            for c, camera in enumerate(self.cameras):
                p_cam = transforms.apply(transforms.invert(T @ camera.T_base_cam), self.points)
                uv, inside = cameras.project(camera, p_cam)
                seen = np.flatnonzero(inside)
                rows.append((np.full(len(seen), f), np.full(len(seen), c), seen, uv[seen]))
        frame, camera, point, uv = (np.concatenate(r) for r in zip(*rows, strict=True))
        return frame, camera, point, uv + noise_px * rng.standard_normal(uv.shape)

    def problem(self, noise_px=0.0, seed=0, **changes):
        """Return the bundle problem whose poses and points are true; the first pose is held."""
        frame, camera, point, uv = self.observe(noise_px, seed)
        constant = np.zeros(len(self.T_world_base), dtype=bool)
        constant[0] = True
        values = {
            "cameras": self.cameras,
            "T_world_base": self.T_world_base,
            "is_constant": constant,
            "points_world": self.points,
            "frame": frame,
            "camera": camera,
            "point": point,
            "uv_ideal_px": uv,
        }
        return BundleProblem(**{**values, **changes})


@pytest.fixture
def make_camera():
    return _camera


@pytest.fixture
def stereo_street():
    """Eight poses 1 m apart on a gentle bend, two cameras 0.5 m apart, 150 points."""
    rng = np.random.default_rng(5)
    rig = (_camera("left", (0.3, 0.25, 1.6)), _camera("right", (0.3, -0.25, 1.6)))
    step = transforms.exp([0.0, 0.0, 0.03, 1.0, 0.0, 0.0])
    poses = [np.eye(4)]
    for _ in range(7):
        poses.append(poses[-1] @ step)
    points = rng.uniform((6.0, -9.0, 0.0), (30.0, 9.0, 7.0), (150, 3))
    return Street(rig, np.stack(poses), points)
