"""Pictures of the scene by casting one ray per pixel, four where surfaces meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.errors import ConfigError
from seg2d3d_ros.geometry import cameras, transforms
from seg2d3d_ros.simulation.atlas import Atlas
from seg2d3d_ros.simulation.scene import Scene
from seg2d3d_ros.types import Camera, Distortion, FloatArray

_SUBPIXELS = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))
_FAR_M = 250.0
_NEWTON_STEPS, _NEWTON_PX = 40, 1e-6
# A lens spreads a point over a little more than a pixel; sharper textures alias by 0.1 px.
_LENS_BLUR = 1.5
_BACKGROUND_BGR = (232.0, 215, 200)


@dataclass(frozen=True)
class Rays:
    """Viewing directions of a camera, n = width * height pixels in row-major order, optical frame.

    Attributes:
        directions: (n, 3) float32 with z = 1.
        per_column: (n, 3) float32 change of the direction from one column to the next.
        per_row: (n, 3) float32 the same for rows.
        units: (n, 3) float32 directions of length 1.
    """

    directions: NDArray[np.float32]
    per_column: NDArray[np.float32]
    per_row: NDArray[np.float32]
    units: NDArray[np.float32]


def camera_rays(camera: Camera) -> Rays:
    """Return the rays of all pixel centres, distortion included.

    Raises:
        ConfigError: the distortion folds within the picture.
    """
    u, v = np.meshgrid(np.arange(camera.width_px), np.arange(camera.height_px))
    xy = _undistort(camera, np.column_stack([u.ravel(), v.ravel()]).astype(float))
    grid = np.concatenate([xy, np.ones((len(xy), 1))], axis=1).reshape(*u.shape, 3)
    per_row, per_column = np.gradient(grid, axis=(0, 1))
    directions, columns, rows = (
        np.ascontiguousarray(a.reshape(-1, 3), np.float32) for a in (grid, per_column, per_row)
    )
    units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return Rays(directions, columns, rows, units)


def _undistort(camera: Camera, uv_px: FloatArray) -> FloatArray:
    """Invert the distortion by Newton's method: pixels (n, 2) to ideal coordinates (n, 2)."""
    xy = (uv_px - camera.K[:2, 2]) / [camera.K[0, 0], camera.K[1, 1]]
    if camera.distortion == Distortion.NONE:
        return xy
    h = 1e-6
    for _ in range(_NEWTON_STEPS):
        error = uv_px - cameras.distort(camera, xy)
        if np.abs(error).max() < _NEWTON_PX:
            return xy
        jacobian = np.stack(
            [
                (cameras.distort(camera, xy + d) - cameras.distort(camera, xy - d)) / (2 * h)
                for d in ([h, 0.0], [0.0, h])
            ],
            axis=-1,
        )
        step = np.linalg.solve(jacobian, error[..., None])[..., 0]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        xy = xy + step * np.minimum(1.0, 0.3 / np.maximum(length, 1e-12))
    raise ConfigError(
        f"{camera.distortion} distortion cannot show the corners of {camera.name}; "
        "lower fov_deg or choose equidistant"
    )


@dataclass(frozen=True)
class Mover:
    """A rigid object that moves: surfaces in its own frame, inside a ball of a radius."""

    scene: Scene
    radius_m: float


@dataclass(frozen=True)
class Rendering:
    """A picture without noise and what is true in it.

    Attributes:
        image: (h, w, 3) float32 BGR, 0 to 255.
        object_id: (h, w) what the ray through the pixel centre hits, 0 for nothing.
        surface: (h, w) index of the surface it hits, -1 for none.
        depth_m: (h, w) float32 distance along the optical axis.
    """

    image: NDArray[np.float32]
    object_id: NDArray[np.int64]
    surface: NDArray[np.int64]
    depth_m: NDArray[np.float32]


class Renderer:
    """Renders one scene and the movers in it; single-threaded, so that it is deterministic."""

    def __init__(self, scene: Scene, movers: list[Mover], atlas: Atlas) -> None:
        """Prepare ray casting."""
        self._atlas = atlas
        self._parts = [scene, *(m.scene for m in movers)]
        self._radii = [m.radius_m for m in movers]
        self._casters = [RayCaster(part.triangles) for part in self._parts]
        self._first_row = np.cumsum([0] + [len(p.texture) for p in self._parts])
        offsets = np.cumsum([0] + [int(p.surface.max()) + 1 for p in self._parts])
        self._surface = np.concatenate(
            [p.surface + o for p, o in zip(self._parts, offsets, strict=False)]
        )
        self._surface = np.append(self._surface, -1)
        self._texture = np.append(np.concatenate([p.texture for p in self._parts]), 0)
        gains = [p.gain for p in self._parts]
        self._gain = np.concatenate([*gains, np.zeros((1, 3), np.float32)])
        self._object = np.append(np.concatenate([p.object_id for p in self._parts]), 0)

    def render(
        self, camera: Camera, rays: Rays, T_map_cam: FloatArray, T_map_movers: list[FloatArray]
    ) -> Rendering:
        """Render a picture.

        Args:
            camera: The camera, for the size of the picture.
            rays: Its rays.
            T_map_cam: (4, 4) pose of the optical frame in the frame of the scene.
            T_map_movers: Pose of every mover.
        """
        T_part_cam = [T_map_cam] + [transforms.invert(T) @ T_map_cam for T in T_map_movers]
        view = _View(self, T_part_cam)
        row, depth = view.hit(rays.directions, rays.units)
        shape = (camera.height_px, camera.width_px)
        surface = self._surface[row].reshape(shape)
        colour = view.shade(row, rays.directions, rays.per_column, rays.per_row)
        edge = np.flatnonzero(_edges(surface))
        colour[edge] = 0.0
        column, line = rays.per_column[edge], rays.per_row[edge]
        for x, y in _SUBPIXELS:
            directions = rays.directions[edge] + np.float32(x) * column + np.float32(y) * line
            hit, _ = view.hit(directions, rays.units[edge])
            colour[edge] += view.shade(hit, directions, column, line) / len(_SUBPIXELS)
        image = colour.reshape(*shape, 3)
        return Rendering(image, self._object[row].reshape(shape), surface, depth.reshape(shape))


class _View:
    """The renderer's scene as seen from one pose."""

    def __init__(self, renderer: Renderer, T_part_cam: list[FloatArray]) -> None:
        self._r = renderer
        self._T_part_cam = T_part_cam
        tables = []
        for part, T in zip(renderer._parts, T_part_cam, strict=True):
            R, t = T[:3, :3], T[:3, 3]
            axes = [a[:, :3] @ R for a in (part.plane, part.u_axis, part.v_axis)]
            at_camera = [a[:, :3] @ t + a[:, 3] for a in (part.plane, part.u_axis, part.v_axis)]
            tables.append(np.column_stack([*axes, *at_camera]).astype(np.float32))
        self._table = np.concatenate([*tables, np.zeros((1, 12), np.float32)])

    def hit(
        self, directions: NDArray, units: NDArray
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the triangle that each ray (n, 3) hits first (-1 for none), and its depth."""
        row, t = self._cast(0, directions)
        for k, radius in enumerate(self._r._radii, start=1):
            center = transforms.invert(self._T_part_cam[k])[:3, 3]
            distance = float(np.linalg.norm(center))
            if distance > _FAR_M or center[2] < -radius:
                continue
            cosine = (
                np.sqrt(max(0.0, 1.0 - (radius / distance) ** 2)) if distance > radius else -1.0
            )
            near = np.flatnonzero(
                units @ (center / max(distance, 1e-9)).astype(np.float32) > cosine
            )
            if len(near) == 0:
                continue
            hit, t_hit = self._cast(k, directions[near])
            front = t_hit < t[near]
            row[near[front]], t[near[front]] = hit[front], t_hit[front]
        return row, t

    def _cast(
        self, part: int, directions: NDArray
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        row, t = self._r._casters[part].cast(self._T_part_cam[part], directions)
        return np.where(row >= 0, row + self._r._first_row[part], -1), t

    def shade(
        self, row: NDArray, directions: NDArray, per_column: NDArray, per_row: NDArray
    ) -> NDArray[np.float32]:
        """Return colours (n, 3) of hits.

        With the plane n @ p + n0 = 0 and the camera at the origin, p = k d, k = -n0 / (n @ d): so
        u = u0 + k (U @ d) and du/dx = k (U @ d_x - (U @ d) (n @ d_x) / (n @ d)).
        """
        table = self._table[row]
        plane, n0 = table[:, :3], table[:, 9]
        facing = _dot(plane, directions)
        facing = np.where(np.abs(facing) < 1e-6, np.float32(1e-6), facing)
        k = -n0 / facing
        slope = [_dot(plane, step) / facing for step in (per_column, per_row)]
        uv = np.empty((len(row), 2), np.float32)
        footprint = np.empty_like(uv)
        for axis in range(2):
            along = table[:, 3 + 3 * axis : 6 + 3 * axis]
            u = _dot(along, directions)
            uv[:, axis] = table[:, 10 + axis] + k * u
            dx, dy = (
                _dot(along, step) - u * s
                for step, s in zip((per_column, per_row), slope, strict=True)
            )
            footprint[:, axis] = _LENS_BLUR * np.abs(k) * np.hypot(dx, dy)
        colour = self._r._atlas.sample(self._r._texture[row], uv, footprint) * self._r._gain[row]
        colour[row < 0] = _BACKGROUND_BGR
        return colour


def _dot(a: NDArray, b: NDArray) -> NDArray[np.float32]:
    return np.einsum("ij,ij->i", a, b)


def _edges(surface: NDArray[np.int64]) -> NDArray[np.bool_]:
    edge = np.zeros(surface.shape, bool)
    across = surface[:, 1:] != surface[:, :-1]
    down = surface[1:] != surface[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


class RayCaster:
    """Casts rays at triangles in one thread, so that it is deterministic."""

    def __init__(self, triangles: FloatArray) -> None:
        """Take triangles (m, 3, 3)."""
        import open3d

        core: Any = open3d.core
        self._tensor = core.Tensor
        self._scene = open3d.t.geometry.RaycastingScene(nthreads=1)
        corners = np.ascontiguousarray(triangles.reshape(-1, 3), dtype=np.float32)
        index = np.arange(len(corners), dtype=np.uint32).reshape(-1, 3)
        self._scene.add_triangles(self._tensor(corners), self._tensor(index))

    def cast(
        self, T_scene_cam: FloatArray, directions: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Cast rays from a camera.

        Args:
            T_scene_cam: (4, 4) its pose in the frame of the triangles.
            directions: (n, 3) in its optical frame.

        Returns:
            The triangle (n,) that each ray hits first, -1 for none, and how many directions (n,)
            away: the depth, where z = 1.
        """
        rays = np.empty((len(directions), 6), np.float32)
        rays[:, :3] = T_scene_cam[:3, 3]
        rays[:, 3:] = directions @ T_scene_cam[:3, :3].T.astype(np.float32)
        out = self._scene.cast_rays(self._tensor(rays), nthreads=1)
        depth = out["t_hit"].numpy()
        row = out["primitive_ids"].numpy().astype(np.int64)
        return np.where(np.isfinite(depth), row, -1), depth
