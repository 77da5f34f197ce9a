"""What stands and drives between camera and facade: trees, hedges, lamp posts, cars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.simulation.scene import Corner, Paint, SceneBuilder
from seg2d3d_ros.types import FloatArray

CAR_RADIUS_M = 2.8
_NUM_CLUMPS = 230


def add_tree(
    builder: SceneBuilder,
    rng: np.random.Generator,
    place: FloatArray,
    paints: tuple[Paint, Paint],
    object_id: int,
) -> None:
    """Add a trunk of six sides and a crown of leaf clumps with gaps.

    Args:
        builder: Takes the surfaces.
        rng: Source of the shape.
        place: (3,) foot of the trunk.
        paints: Of the bark and of the leaves.
        object_id: What the surfaces belong to.
    """
    bark, foliage = paints
    height, crown = float(rng.uniform(5.0, 9.0)), float(rng.uniform(1.4, 2.4))
    trunk, radius = height - crown * 1.2, float(rng.uniform(0.10, 0.2))
    angles = np.linspace(0, 2 * np.pi, 7)
    ring = np.column_stack([np.cos(angles), np.sin(angles)]) * radius
    sides = [
        [(*a, 0.0), (*b, 0.0), (*(b * 0.6), trunk), (*(a * 0.6), trunk)]
        for a, b in zip(ring[:-1], ring[1:], strict=True)
    ]
    builder.quads(np.asarray(sides) + place, bark, object_id)
    direction = rng.normal(size=(_NUM_CLUMPS, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    reach = rng.uniform(0.45, 1.0, (_NUM_CLUMPS, 1)) * [crown, crown, crown * 1.15]
    center = place + [0.0, 0.0, height - crown] + direction * reach
    # two orthogonal axes of random direction and length span each clump
    first, second = rng.normal(size=(2, _NUM_CLUMPS, 3))
    second = np.cross(first, second)
    size = rng.uniform(0.25, 0.5, (_NUM_CLUMPS, 1))
    first, second = (v / np.linalg.norm(v, axis=1, keepdims=True) * size for v in (first, second))
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    corners = np.stack([center + x * first + y * second for x, y in signs], axis=1)
    shade = 0.78 + 0.22 * direction[:, 2] + rng.normal(0, 0.1, _NUM_CLUMPS)
    tints = np.repeat(np.clip(shade, 0.35, 1.3)[:, None], 3, axis=1)
    builder.quads(corners, replace(foliage, is_lit=False), object_id, tints)


def add_lamp(builder: SceneBuilder, T: FloatArray, metal: Paint, object_id: int) -> None:
    """Add a lamp post whose arm reaches over the road (-y of its frame)."""
    builder.box((-0.06, -0.06, 0.0), (0.06, 0.06, 5.5), T, metal, object_id)
    builder.box((-0.04, -1.3, 5.42), (0.04, 0.06, 5.5), T, metal, object_id)
    builder.box((-0.12, -1.7, 5.36), (0.12, -1.2, 5.52), T, metal, object_id)


def add_car(
    builder: SceneBuilder,
    rng: np.random.Generator,
    T: FloatArray,
    paints: dict[str, Paint],
    object_id: int,
) -> None:
    """Add a car or a van, 4 to 5 m long, heading along x, its centre above the origin."""
    is_van = rng.random() < 0.2
    length, half = float(rng.uniform(3.9, 4.7)), float(rng.uniform(0.84, 0.92))
    colour = rng.uniform(0.12, 1.1) * (
        1.0 + (0.35 * rng.normal(size=3) if rng.random() < 0.5 else 0)
    )
    blue, green, red = np.clip(colour * np.ones(3), 0.08, 1.1).tolist()
    body = replace(paints["car"], tint=(blue, green, red))
    belt = 1.0 if is_van else 0.85
    roof = 1.95 if is_van else float(rng.uniform(1.4, 1.55))
    front, rear = length / 2, -length / 2

    def box(low: Corner, high: Corner, paint: Paint) -> None:
        builder.box(low, high, T, paint, object_id)

    box((rear, -half, 0.28), (front, half, belt), body)
    wind = (front - 0.5, front - 0.9) if is_van else (front - 1.1, front - 1.8)
    back = (rear + 0.02, rear + 0.1) if is_van else (rear + 0.25, rear + 0.8)
    _cabin(builder, T, (wind, back, half, belt, roof), (paints["glass"], body), object_id)
    tyre, light, tail = paints["tyre"], paints["light"], paints["tail"]
    for x in (front - 0.85, rear + 0.8):
        box((x - 0.31, -half - 0.02, 0.0), (x + 0.31, half + 0.02, 0.60), tyre)
    for y in (-half + 0.1, half - 0.45):
        box((front - 0.05, y, 0.58), (front + 0.02, y + 0.35, 0.75), light)
        box((rear - 0.02, y, 0.58), (rear + 0.05, y + 0.35, 0.75), tail)
    box((front, -0.26, 0.36), (front + 0.03, 0.26, 0.48), light)
    box((rear - 0.03, -0.26, 0.5), (rear, 0.26, 0.62), light)


def _cabin(
    builder: SceneBuilder, T: FloatArray, shape: tuple, paints: tuple[Paint, Paint], object_id: int
) -> None:
    """Add a cabin: windows on all four sides, those in front and behind slanted, and a roof."""
    (low_front, top_front), (low_rear, top_rear), half, belt, roof = shape
    glass, body = paints
    inner = half - 0.14
    low = [(low_front, -half), (low_front, half), (low_rear, half), (low_rear, -half)]
    top = [(top_front, -inner), (top_front, inner), (top_rear, inner), (top_rear, -inner)]
    sides = [
        [(*low[a], belt), (*low[b], belt), (*top[b], roof), (*top[a], roof)]
        for a, b in ((0, 1), (2, 3), (3, 0), (1, 2))
    ]
    lid = [(*top[k], roof) for k in (3, 0, 1, 2)]
    builder.quads(transforms.apply(T, np.array(sides)), glass, object_id)
    builder.quad(transforms.apply(T, np.array(lid)), body, object_id)
