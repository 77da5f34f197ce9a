"""Textured planar surfaces: what the world is made of and what the renderer sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seg2d3d_ros.types import FloatArray

Corner: TypeAlias = tuple[float, float, float]

_SUN = np.array([0.45, -0.55, 0.70]) / np.linalg.norm([0.45, -0.55, 0.70])


@dataclass(frozen=True)
class Paint:
    """How a surface looks.

    Attributes:
        texture: Index of the texture.
        size_m: Extent of one repeat of the texture; None stretches it over the surface.
        tint: Multiplier of (blue, green, red).
        is_lit: False for surfaces that shine by themselves (sky).
    """

    texture: int
    size_m: tuple[float, float] | None = None
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    is_lit: bool = True


@dataclass(frozen=True)
class Scene:
    """Surfaces as triangles, n of them, in the frame of the scene.

    Attributes:
        triangles: (n, 3, 3) corners, metres.
        plane: (n, 4) unit normal and offset: normal @ p + offset = 0.
        u_axis: (n, 4) texture coordinate u = u_axis[:3] @ p + u_axis[3], 1 = one repeat.
        v_axis: (n, 4) the same for v, which points down.
        texture: (n,) index of the texture.
        gain: (n, 3) multiplier of the colour, shading included.
        object_id: (n,) what it belongs to.
        surface: (n,) the same for coplanar triangles of one quad: where it changes is an edge.
    """

    triangles: FloatArray
    plane: FloatArray
    u_axis: FloatArray
    v_axis: FloatArray
    texture: NDArray[np.int64]
    gain: NDArray[np.float32]
    object_id: NDArray[np.int64]
    surface: NDArray[np.int64]


class SceneBuilder:
    """Collects surfaces."""

    def __init__(self) -> None:
        """Start without any."""
        self._triangles: list[NDArray] = []
        self._rows: list[tuple] = []
        self._num_surfaces = 0

    def quad(self, corners: ArrayLike, paint: Paint, object_id: int) -> None:
        """Add a rectangle: corners (4, 3) counter-clockwise from the lower left, from outside."""
        a, b, c, d = np.asarray(corners, dtype=float)
        self._add([(a, b, c), (a, c, d)], (a, b, d), paint, object_id)

    def triangle(self, corners: ArrayLike, paint: Paint, object_id: int) -> None:
        """Add a triangle: corners (3, 3), counter-clockwise from outside, the first two level."""
        a, b, c = np.asarray(corners, dtype=float)
        along = (b - a) / np.linalg.norm(b - a)
        upper_left = c - along * ((c - a) @ along)
        self._add([(a, b, c)], (a, b, upper_left), paint, object_id)

    def box(self, low: Corner, high: Corner, T: FloatArray, paint: Paint, object_id: int) -> None:
        """Add four walls and a lid between two corners (3,), placed by a transform (4, 4)."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        ring = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True):
            wall = [(ax, ay, z0), (bx, by, z0), (bx, by, z1), (ax, ay, z1)]
            self.quad(np.asarray(wall) @ T[:3, :3].T + T[:3, 3], paint, object_id)
        lid = np.array([(x, y, z1) for x, y in ring])
        self.quad(lid @ T[:3, :3].T + T[:3, 3], paint, object_id)

    def _add(self, triangles: list, frame: tuple, paint: Paint, object_id: int) -> None:
        lower_left, lower_right, upper_left = frame
        right, down = lower_right - lower_left, lower_left - upper_left
        normal = np.cross(right, -down)
        normal = normal / np.linalg.norm(normal)
        axes = []
        for k, edge in enumerate((right, down)):
            length = float(np.linalg.norm(edge))
            repeats = 1.0 if paint.size_m is None else length / paint.size_m[k]
            axis = edge / length**2 * repeats
            axes.append(np.append(axis, -axis @ upper_left))
        light = 0.68 + 0.42 * max(0.0, float(normal @ _SUN)) if paint.is_lit else 1.0
        gain = np.array(paint.tint) * light
        plane = np.append(normal, -normal @ lower_left)
        for triangle in triangles:
            self._triangles.append(np.array(triangle))
            self._rows.append((plane, *axes, paint.texture, gain, object_id, self._num_surfaces))
        self._num_surfaces += 1

    def build(self) -> Scene:
        """Return the scene."""
        plane, u, v, texture, gain, object_id, surface = zip(*self._rows, strict=True)
        return Scene(
            np.array(self._triangles),
            np.array(plane),
            np.array(u),
            np.array(v),
            np.array(texture),
            np.array(gain, np.float32),
            np.array(object_id),
            np.array(surface),
        )
