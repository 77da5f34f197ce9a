"""Textures and paints that all houses, trees and cars of a street share."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.simulation import texture
from seg2d3d_ros.simulation.scene import Paint
from seg2d3d_ros.simulation.texture import Image, Rng

_PLAIN_BGR = {
    "glass": (70, 62, 55),
    "tyre": (28, 28, 28),
    "light": (225, 235, 235),
    "tail": (40, 40, 190),
    "metal": (95, 100, 100),
    "line": (225, 228, 228),
    "iron": (60, 62, 64),
}


class Palette:
    """Collects textures and names paints.

    Attributes:
        textures: (h, w, 3) uint8 BGR each, with True where it repeats.
        paints: Common paints by name.
    """

    def __init__(self, rng: Rng, px_per_m: float) -> None:
        """Make the common paints; facades look good at 40 pixels per metre."""
        self.textures: list[tuple[Image, bool]] = []
        self.paints: dict[str, Paint] = {}
        sizes = (repeating_px(n * px_per_m / 40.0) for n in (1024, 512, 256, 128))
        fine, middle, small, tiny = sizes
        bodywork = texture.grain(rng, tiny, np.full(3, 225.0), 0.02)
        for name, image, size_m in (
            ("asphalt", texture.asphalt(rng, fine), 16.0),
            ("paving", texture.paving(rng, middle, 8), 4.0),
            ("grass", texture.grass(rng, middle), 7.0),
            ("bark", texture.bark(rng, tiny), 1.0),
            ("clouds", texture.clouds(rng, middle), 3000.0),
            ("tiles", texture.tiles(rng, middle, 16), 4.0),
            ("leaves", texture.leaves(rng, small), 1.6),
            ("car", texture.to_image(bodywork), 2.0),
        ):
            self.paints[name] = Paint(self.add(image, True), (size_m, size_m))
        plain = self.add(np.full((8, 8, 3), 255, np.uint8), True)
        for name, (blue, green, red) in _PLAIN_BGR.items():
            self.paints[name] = Paint(plain, (1.0, 1.0), (blue / 255, green / 255, red / 255))

    def add(self, image: Image, repeats: bool) -> int:
        """Add a texture and return its index."""
        self.textures.append((image, repeats))
        return len(self.textures) - 1

    def tinted(self, name: str, factors: tuple[float, float, float]) -> Paint:
        """Return a common paint in another colour."""
        paint = self.paints[name]
        return Paint(paint.texture, paint.size_m, factors, paint.is_lit)


def repeating_px(side_px: float) -> tuple[int, int]:
    """Return the size of a square texture near a wanted one: a power of two, to repeat."""
    side = 2 ** max(5, round(float(np.log2(side_px))))
    return side, side
