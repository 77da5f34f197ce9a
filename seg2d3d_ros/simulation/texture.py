"""Procedural textures: walls, facades with windows and doors, ground, leaves, cars, sky."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

Image: TypeAlias = NDArray[np.uint8]
Rng: TypeAlias = np.random.Generator
Colour: TypeAlias = NDArray[np.float64]


def noise(rng: Rng, shape: tuple[int, int], exponent: float = 1.0) -> NDArray[np.float32]:
    """Return noise (h, w) of about unit variance, its spectrum 1 / frequency^exponent.

    It is periodic where the sides are products of small primes.
    """
    h, w = (fft.next_fast_len(n, real=True) for n in shape)
    fy = np.fft.fftfreq(h).astype(np.float32)[:, None] * h
    fx = np.fft.rfftfreq(w).astype(np.float32)[None] * w
    power = fy**2 + fx**2
    power[0, 0] = 1.0
    spectrum = fft.rfft2(rng.standard_normal((h, w), dtype=np.float32))
    spectrum *= power ** np.float32(-exponent / 2)
    spectrum[0, 0] = 0.0
    out = fft.irfft2(spectrum, s=(h, w))
    return (out / out.std())[: shape[0], : shape[1]]


def grain(
    rng: Rng, shape: tuple[int, int], colour: Colour, contrast: float
) -> NDArray[np.float64]:
    """Return a surface (h, w, 3) of one colour with blotches, stains and grit."""
    value = (
        0.6 * noise(rng, shape, 1.4) + 0.6 * noise(rng, shape, 0.8) + 0.5 * noise(rng, shape, 0.2)
    )
    return colour * (1.0 + contrast * value[..., None])


def to_image(values: NDArray[np.float64]) -> Image:
    """Clip to 8 bit."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


# ------------------------------------------------------------------------------------------- walls


def brick_wall(
    rng: Rng, shape: tuple[int, int], px_per_m: float, colour: Colour
) -> NDArray[np.float64]:
    """Return bricks of 25 x 8 cm with mortar, each brick a shade of its own."""
    h, w = shape
    course, length = max(3.0, 0.085 * px_per_m), max(8.0, 0.25 * px_per_m)
    y, x = np.mgrid[0:h, 0:w].astype(float)
    line = np.floor(y / course).astype(int)
    shifted = x + (line % 2) * length / 2
    brick = np.floor(shifted / length).astype(int)
    shades = rng.normal(1.0, 0.12, size=(line.max() + 1, brick.max() + 1))
    out = colour * shades[line, brick][..., None]
    mortar = (y % course < 0.16 * course) | (shifted % length < 0.06 * length)
    out[mortar] = 0.5 * out[mortar] + 0.5 * rng.uniform(110, 190)
    return out * grain(rng, shape, np.ones(3), 0.07)


def plaster_wall(
    rng: Rng, shape: tuple[int, int], px_per_m: float, colour: Colour
) -> NDArray[np.float64]:
    """Return painted plaster with stains that run down and a darker base."""
    out = grain(rng, shape, colour, 0.06)
    streak = cv2.GaussianBlur(
        noise(rng, shape, 0.6), (0, 0), 0.05 * px_per_m, sigmaY=0.9 * px_per_m
    )
    out *= 1.0 + 0.05 * (streak / max(streak.std(), 1e-9))[..., None]
    return out


def stone_wall(
    rng: Rng, shape: tuple[int, int], px_per_m: float, colour: Colour
) -> NDArray[np.float64]:
    """Return large dressed blocks with dark joints."""
    h, w = shape
    course = max(6.0, rng.uniform(0.3, 0.5) * px_per_m)
    out = grain(rng, shape, colour, 0.08)
    for i, y in enumerate(np.arange(0.0, h, course)):
        edges = np.cumsum(rng.uniform(0.5, 1.1, 64) * px_per_m) - (i % 2) * 0.4 * px_per_m
        starts = np.concatenate([[0.0], edges[(edges > 0) & (edges < w)], [w]]).astype(int)
        for x0, x1 in zip(starts[:-1], starts[1:], strict=True):
            out[int(y) : int(y + course), x0:x1] *= rng.normal(1.0, 0.08)
            out[int(y) : int(y + course), x0 : x0 + 1] *= 0.6
        out[int(y) : int(y) + max(1, int(0.02 * px_per_m))] *= 0.6
    return out


def wood_wall(
    rng: Rng, shape: tuple[int, int], px_per_m: float, colour: Colour
) -> NDArray[np.float64]:
    """Return horizontal boards."""
    h, _ = shape
    board = max(4.0, 0.16 * px_per_m)
    line = np.floor(np.arange(h) / board).astype(int)
    shades = rng.normal(1.0, 0.06, size=line.max() + 1)[line]
    shades[(np.arange(h) % board) < 0.14 * board] *= 0.55
    return grain(rng, shape, colour, 0.06) * shades[:, None, None]


def plain_wall(
    rng: Rng, shape: tuple[int, int], px_per_m: float, colour: Colour
) -> NDArray[np.float64]:
    """Return fresh paint: hardly any texture."""
    return grain(rng, shape, colour, 0.012)


Wall: TypeAlias = Callable[[Rng, tuple[int, int], float, Colour], NDArray[np.float64]]

BRICKS = [(60, 75, 150), (70, 95, 165), (95, 125, 175), (55, 60, 110), (120, 165, 200)]
PAINTS = [
    (205, 225, 235), (165, 205, 225), (150, 190, 225), (190, 200, 185), (200, 190, 170),
    (140, 170, 215), (180, 215, 200), (120, 150, 190), (215, 215, 215), (150, 150, 150),
    (130, 175, 205), (165, 160, 205),
]  # fmt: skip
STONES = [(150, 170, 185), (130, 145, 155), (165, 185, 200)]
WOODS = [(90, 120, 150), (140, 110, 80), (110, 140, 110), (190, 200, 205)]

_WALLS: dict[str, list[tuple[Wall, list[tuple[int, int, int]]]]] = {
    "brick": [(brick_wall, BRICKS), (brick_wall, BRICKS), (stone_wall, STONES)],
    "plaster": [(plaster_wall, PAINTS), (plaster_wall, PAINTS), (stone_wall, STONES)],
    "mixed": [
        (brick_wall, BRICKS),
        (plaster_wall, PAINTS),
        (stone_wall, STONES),
        (wood_wall, WOODS),
    ],
    "lowtexture": [(plain_wall, PAINTS)],
}


def choose_wall(rng: Rng, style: str) -> tuple[Wall, Colour]:
    """Draw a material and a colour of a style."""
    walls = _WALLS[style]
    wall, colours = walls[rng.integers(len(walls))]
    colour = np.array(colours[rng.integers(len(colours))], float) * rng.uniform(0.85, 1.1)
    return wall, colour + rng.normal(0, 6, 3)


# ------------------------------------------------------------------------------------------ ground


def asphalt(rng: Rng, shape: tuple[int, int]) -> Image:
    """Return a road surface with patches and cracks; repeats."""
    out = grain(rng, shape, np.array([92.0, 92, 94]) * rng.uniform(0.8, 1.15), 0.10)
    for _ in range(6):
        x, y = rng.integers(0, shape[1]), rng.integers(0, shape[0])
        w, h = rng.integers(shape[1] // 16, shape[1] // 4, 2)
        out[y : y + h, x : x + w] *= rng.uniform(0.75, 1.2)
    crack = np.abs(noise(rng, shape, 1.3)) < 0.012
    out[crack] *= 0.55
    return to_image(out)


def paving(rng: Rng, shape: tuple[int, int], slabs: int) -> Image:
    """Return square slabs, `slabs` along each side; repeats."""
    h, w = shape
    out = grain(rng, shape, np.array([150.0, 155, 160]) * rng.uniform(0.8, 1.1), 0.06)
    y, x = np.mgrid[0:h, 0:w]
    j, i = y * slabs // h, x * slabs // w
    out *= rng.normal(1.0, 0.07, (slabs, slabs))[j, i][..., None]
    joint = (y % (h // slabs) < max(1, h // 128)) | (x % (w // slabs) < max(1, w // 128))
    out[joint] *= 0.65
    return to_image(out)


def grass(rng: Rng, shape: tuple[int, int]) -> Image:
    """Return a lawn; repeats."""
    out = grain(rng, shape, np.array([50.0, 105, 80]) * rng.uniform(0.85, 1.15), 0.16)
    return to_image(out * (1.0 + 0.12 * rng.normal(size=shape))[..., None])


def leaves(rng: Rng, shape: tuple[int, int]) -> Image:
    """Return foliage: dark gaps and bright leaves; repeats."""
    out = np.tile(np.array([25.0, 45, 35]), (*shape, 1))
    for _ in range(900):
        center = tuple(int(v) for v in rng.integers(0, shape[0], 2))
        size = tuple(1 + int(v * shape[0] / 256) for v in rng.integers(1, 6, 2))
        colour = np.array([35.0, 110, 75]) * rng.uniform(0.5, 1.5)
        cv2.ellipse(out, center, size, float(rng.uniform(0, 180)), 0, 360, colour.tolist(), -1)
    return to_image(out)


def clouds(rng: Rng, shape: tuple[int, int]) -> Image:
    """Return a sky with clouds; repeats."""
    cover = (
        1.0 / (1.0 + np.exp(-2.0 * (noise(rng, shape, 1.8) - rng.uniform(-0.5, 1.0))))[..., None]
    )
    blue, white = np.array([225.0, 190, 160]), np.array([240.0, 240, 240])
    return to_image(blue + (white - blue) * cover)


def bark(rng: Rng, shape: tuple[int, int]) -> Image:
    """Return the bark of a trunk."""
    rows = cv2.GaussianBlur(noise(rng, shape, 0.5), (0, 0), 1.0, sigmaY=6.0)
    return to_image(np.array([55.0, 75, 95]) * (1.0 + 0.25 * rows / rows.std())[..., None])


def tiles(rng: Rng, shape: tuple[int, int], rows: int) -> Image:
    """Return roof tiles in rows; repeats. Grey, so that the tint gives the colour."""
    h, w = shape
    y, x = np.mgrid[0:h, 0:w]
    j, i = y * rows // h, (x + (y * rows // h % 2) * w // (2 * rows)) % w * rows // w
    shade = rng.normal(1.0, 0.10, (rows, rows))[j, i] * (
        0.75 + 0.35 * (y % (h // rows)) / (h // rows)
    )
    return to_image(grain(rng, shape, np.full(3, 200.0), 0.06) * shade[..., None])
