"""A textured corridor that pictures are ray-cast from, so that every pixel has a true depth."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Camera, Frame, Odometry, Rig

WIDTH_PX, HEIGHT_PX, FOCAL_PX = 320, 192, 190.0
PERIOD_NS = 100_000_000
START_NS = 1_700_000_000_000_000_000
# planes n . p = d of the corridor: ground, walls on both sides, a wall across each end
PLANES = (
    ((0, 0, 1), 0.0),
    ((0, 1, 0), 6.0),
    ((0, 1, 0), -5.0),
    ((1, 0, 0), 70.0),
    ((1, 0, 0), -30.0),
)


def _camera(name="c0", y=0.0, yaw_deg=0.0, zoom=1):
    """A level camera 1.6 m above ground, 80 degrees wide, turned to the left by `yaw_deg`."""
    w, h, f = zoom * WIDTH_PX, zoom * HEIGHT_PX, zoom * FOCAL_PX
    K = np.array([[f, 0, (w - 1) / 2], [0, f, (h - 1) / 2], [0, 0, 1]])
    turn = transforms.exp([0, 0, np.deg2rad(yaw_deg), 0, 0, 0])[:3, :3]
    T = transforms.rigid(turn @ transforms.R_BODY_OPTICAL, [0.4, y, 1.6])
    return Camera(name, w, h, K, T)


@dataclass
class Corridor:
    """Walls and ground with noise of several grain sizes; grains below a pixel fade out."""

    seed: int = 0
    grains_m: tuple[float, ...] = (0.15, 0.5, 1.6)
    _texture: list = field(default_factory=list)

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        for _ in self.grains_m:
            noise = rng.uniform(-1, 1, (512, 512)).astype(np.float32)
            self._texture.append(gaussian_filter(noise, 1.0, mode="wrap"))

    def hit(self, camera, T_world_base, uv_px=None):
        """Return where rays hit first, (n, 3) world, which plane (n,), and depth along z (n,)."""
        if uv_px is None:
            grid = np.meshgrid(np.arange(camera.width_px), np.arange(camera.height_px))
            uv_px = np.stack(grid, axis=-1).reshape(-1, 2)
        T = T_world_base @ camera.T_base_cam
        xy = (uv_px - camera.K[:2, 2]) / camera.K[[0, 1], [0, 1]]
        rays = np.c_[xy, np.ones(len(xy))] @ T[:3, :3].T
        best, plane = np.full(len(rays), np.inf), np.zeros(len(rays), dtype=int)
        for k, (normal, d) in enumerate(PLANES):
            along = rays @ np.array(normal, dtype=float)
            far = np.abs(along) > 1e-9
            depth = np.full(len(rays), np.inf)
            depth[far] = (d - T[:3, 3] @ normal) / along[far]
            nearer = (depth > 0) & (depth < best)
            best[nearer], plane[nearer] = depth[nearer], k
        return T[:3, 3] + rays * best[:, None], plane, best

    def render(self, camera, T_world_base):
        """Return the grey picture (h, w) uint8 of a camera."""
        points, plane, depth = self.hit(camera, T_world_base)
        axes = np.array([(0, 1), (0, 2), (0, 2), (1, 2), (1, 2)])[plane]
        at = np.take_along_axis(points, axes, axis=1) + plane[:, None] * 37.1
        value = np.zeros(len(points), dtype=np.float32)
        # what a pixel covers grows with depth, and with how slantingly it looks at the plane
        normal = np.array([n for n, _ in PLANES], dtype=float)[plane]
        ray = points - (T_world_base @ camera.T_base_cam)[:3, 3]
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        slant = np.abs(np.einsum("ni,ni->n", ray, normal))
        pixel_m = depth / camera.K[0, 0] / np.maximum(slant, 0.05)
        for grain, texture in zip(self.grains_m, self._texture, strict=True):
            uv = np.mod(at / grain * 2.0, 512).astype(np.float32).reshape(camera.height_px, -1, 2)
            sample = cv2.remap(texture, uv, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
            value += sample.ravel() * np.clip(2.0 - 2.0 * pixel_m / grain, 0.0, 1.0)
        gray = np.clip(128 + 160 * value, 0, 255).astype(np.uint8)
        return gray.reshape(camera.height_px, camera.width_px)


@dataclass
class Drive:
    """Poses with the items a rig makes of them."""

    rig: Rig
    T_world_base: list
    stamps_ns: list
    images: list

    def frames(self):
        """Return the pictures in stamp order."""
        return [
            Frame(camera.name, stamp, image)
            for stamp, row in zip(self.stamps_ns, self.images, strict=True)
            for camera, image in zip(self.rig.cameras, row, strict=True)
        ]

    def odometry(self):
        """Return perfect odometry at the stamps of the pictures."""
        pairs = zip(self.stamps_ns, self.T_world_base, strict=True)
        return [Odometry(stamp, T) for stamp, T in pairs]

    def items(self):
        """Return pictures and odometry in stamp order."""
        items = self.frames() + (self.odometry() if self.rig.has_odometry else [])
        return sorted(items, key=lambda i: (i.stamp_ns, isinstance(i, Frame)))


def _drive(rig, poses, corridor):
    images = [[corridor.render(c, T) for c in rig.cameras] for T in poses]
    stamps = [START_NS + k * PERIOD_NS for k in range(len(poses))]
    return Drive(rig, list(poses), stamps, images)


def _poses(num, step_m=0.4, turn_rad=0.0):
    step = transforms.exp([0, 0, turn_rad, step_m, 0, 0])
    poses = [transforms.rigid(np.eye(3), [0.0, 0.5, 0.0])]
    for _ in range(num - 1):
        poses.append(poses[-1] @ step)
    return poses


@pytest.fixture(scope="session")
def corridor():
    return Corridor()


@pytest.fixture(scope="session")
def make_camera():
    return _camera


@pytest.fixture(scope="session")
def make_drive(corridor):
    """Render a drive of a rig past poses."""
    return lambda rig, poses: _drive(rig, poses, corridor)


@pytest.fixture(scope="session")
def make_poses():
    return _poses


@pytest.fixture(scope="session")
def stereo_drive(make_drive):
    """Forty moments of a stereo pair without odometry, 15.6 m straight on with a slight bend."""
    rig = Rig((_camera("left", 0.3), _camera("right", -0.3)))
    return make_drive(rig, _poses(40, turn_rad=0.002))


@pytest.fixture(scope="session")
def odometry_drive(make_drive):
    """Forty moments of one camera with perfect odometry."""
    return make_drive(Rig((_camera(),), has_odometry=True), _poses(40, turn_rad=0.002))
