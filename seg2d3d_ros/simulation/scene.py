"""Textured planar surfaces: what the world is made of and what the renderer sees."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import FloatArray

Corner: TypeAlias = tuple[float, float, float]

_SUN = np.array([0.45, -0.55, 0.70]) / np.linalg.norm([0.45, -0.55, 0.70])
_AMBIENT, _DIRECT = 0.68, 0.42


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
        self._parts: list[Scene] = []
        self._num_surfaces = 0

    def quads(
        self,
        corners: ArrayLike,
        paint: Paint,
        object_id: int,
        tints: NDArray[np.float64] | None = None,
    ) -> None:
        """Add rectangles.

        Args:
            corners: (n, 4, 3) counter-clockwise from the lower left, seen from outside.
            paint: Of all of them.
            object_id: What they belong to.
            tints: (n, 3) further multipliers of (blue, green, red).
        """
        a, b, c, d = np.moveaxis(np.asarray(corners, dtype=float), 1, 0)
        triangles = np.stack([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)], axis=1)
        self._add(triangles, (a, b, d), (paint, tints), object_id)

    def quad(self, corners: ArrayLike, paint: Paint, object_id: int) -> None:
        """Add a rectangle: corners (4, 3) as in `quads`."""
        self.quads(np.asarray(corners, dtype=float)[None], paint, object_id)

    def triangle(self, corners: ArrayLike, paint: Paint, object_id: int) -> None:
        """Add a triangle: corners (3, 3), counter-clockwise from outside, the first two level."""
        a, b, c = np.asarray(corners, dtype=float)[:, None]
        along = (b - a) / np.linalg.norm(b - a)
        upper_left = c - along * _dot(c - a, along)[:, None]
        triangles = np.stack([a, b, c], axis=1)[:, None]
        self._add(triangles, (a, b, upper_left), (paint, None), object_id)

    def box(self, low: Corner, high: Corner, T: FloatArray, paint: Paint, object_id: int) -> None:
        """Add four walls and a lid between two corners (3,), placed by a transform (4, 4)."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        ring = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        faces = [
            [(*a, z0), (*b, z0), (*b, z1), (*a, z1)]
            for a, b in zip(ring, ring[1:] + ring[:1], strict=True)
        ]
        faces.append([(x, y, z1) for x, y in ring])
        self.quads(transforms.apply(T, np.array(faces)), paint, object_id)

    def _add(
        self,
        triangles: FloatArray,
        frame: tuple[FloatArray, FloatArray, FloatArray],
        look: tuple[Paint, FloatArray | None],
        object_id: int,
    ) -> None:
        """Add n surfaces of m triangles (n, m, 3, 3) from lower left, lower right, upper left."""
        (lower_left, lower_right, upper_left), (paint, tints) = frame, look
        n, m = triangles.shape[:2]
        right, down = lower_right - lower_left, lower_left - upper_left
        normal = np.cross(right, -down)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        axes = []
        for k, edge in enumerate((right, down)):
            length = np.linalg.norm(edge, axis=1, keepdims=True)
            repeats = 1.0 if paint.size_m is None else length / paint.size_m[k]
            axis = edge / length**2 * repeats
            axes.append(np.column_stack([axis, -_dot(axis, upper_left)]))
        light = _AMBIENT + _DIRECT * np.maximum(0.0, normal @ _SUN) if paint.is_lit else np.ones(n)
        gain = np.array(paint.tint) * light[:, None] * (1.0 if tints is None else tints)
        part = Scene(
            triangles=triangles.reshape(-1, 3, 3),
            plane=np.repeat(np.column_stack([normal, -_dot(normal, lower_left)]), m, axis=0),
            u_axis=np.repeat(axes[0], m, axis=0),
            v_axis=np.repeat(axes[1], m, axis=0),
            texture=np.full(n * m, paint.texture),
            gain=np.repeat(gain.astype(np.float32), m, axis=0),
            object_id=np.full(n * m, object_id),
            surface=self._num_surfaces + np.repeat(np.arange(n), m),
        )
        self._parts.append(part)
        self._num_surfaces += n

    def build(self) -> Scene:
        """Return the scene."""
        names = [f.name for f in fields(Scene)]
        return Scene(**{k: np.concatenate([getattr(p, k) for p in self._parts]) for k in names})


def _dot(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.einsum("ij,ij->i", a, b)
