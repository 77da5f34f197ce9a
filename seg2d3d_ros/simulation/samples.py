"""Points on the facades that the pictures of a drive have seen, evenly spaced."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.simulation.render import Rays, Rendering
from seg2d3d_ros.simulation.scene import Scene
from seg2d3d_ros.types import FloatArray

SPACING_M = 0.2
_STRIDE_PX = 4


class FacadeSamples:
    """A lattice of points on the surfaces of buildings; those that some picture saw are kept."""

    def __init__(self, scene: Scene, building_of: NDArray[np.int64]) -> None:
        """Lay the lattice."""
        self._building_of = building_of
        num_surfaces = int(scene.surface.max()) + 1
        self._first = np.full(num_surfaces, -1, np.int64)
        self._rows, self._columns = np.ones((2, num_surfaces), np.int64)
        self._frame = np.zeros((num_surfaces, 4, 3))
        self._building = np.zeros(num_surfaces, np.int64)
        size = 0
        for surface in np.unique(scene.surface[building_of[scene.object_id] > 0]):
            triangles = np.flatnonzero(scene.surface == surface)
            k = triangles[0]
            u, v = scene.u_axis[k], scene.v_axis[k]
            corners = scene.triangles[triangles].reshape(-1, 3)
            per_m = np.linalg.norm(u[:3]), np.linalg.norm(v[:3])
            right, down = u[:3] / per_m[0], v[:3] / per_m[1]
            x, y = (corners @ a[:3] + a[3] for a in (u, v))
            width, height = x.max() / per_m[0], y.max() / per_m[1]
            corner = corners[0] - right * x[0] / per_m[0] - down * y[0] / per_m[1]
            self._first[surface] = size
            self._rows[surface] = max(1, int(np.ceil(height / SPACING_M - 1e-9)))
            self._columns[surface] = max(1, int(np.ceil(width / SPACING_M - 1e-9)))
            self._frame[surface] = [corner, right, down, [width, height, 0.0]]
            self._building[surface] = building_of[scene.object_id[k]]
            size += self._rows[surface] * self._columns[surface]
        self._seen = np.zeros(size, bool)

    def see(self, rendering: Rendering, rays: Rays, T_street_cam: FloatArray) -> None:
        """Mark what a picture shows."""
        picked = np.zeros(rendering.surface.shape, bool)
        picked[::_STRIDE_PX, ::_STRIDE_PX] = True
        picked &= self._building_of[rendering.object_id] > 0
        surface = rendering.surface[picked]
        directions = rays.directions[picked.ravel()].astype(float)
        points = transforms.apply(T_street_cam, directions * rendering.depth_m[picked][:, None])
        corner, right, down = (self._frame[surface, k] for k in range(3))
        column = self._cell(np.einsum("ij,ij->i", points - corner, right), self._columns[surface])
        row = self._cell(np.einsum("ij,ij->i", points - corner, down), self._rows[surface])
        self._seen[self._first[surface] + row * self._columns[surface] + column] = True

    @staticmethod
    def _cell(distance: FloatArray, limit: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.clip((distance / SPACING_M).astype(np.int64), 0, limit - 1)

    def points(self) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return points (n, 3) of the street's frame that were seen, and their buildings (n,)."""
        found, owners = [np.zeros((0, 3))], [np.zeros(0, np.int64)]
        for surface in np.flatnonzero(self._first >= 0):
            first, columns = self._first[surface], self._columns[surface]
            seen = np.flatnonzero(self._seen[first : first + self._rows[surface] * columns])
            corner, right, down, size = self._frame[surface]
            x = np.minimum((seen % columns + 0.5) * SPACING_M, size[0])
            y = np.minimum((seen // columns + 0.5) * SPACING_M, size[1])
            found.append(corner + x[:, None] * right + y[:, None] * down)
            owners.append(np.full(len(seen), self._building[surface]))
        return np.concatenate(found), np.concatenate(owners)
