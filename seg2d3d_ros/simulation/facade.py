"""Facades: windows and doors on a wall, every house different, many alike."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.simulation.texture import Colour, Image, Rng, Wall, choose_wall, noise, to_image


@dataclass(frozen=True)
class WindowStyle:
    """A kind of window; a street has few, so that facades look alike.

    Attributes:
        width_m: Width of the opening.
        height_m: Height of the opening.
        spacing_m: Wanted distance between window axes.
        panes: Columns and rows of panes.
        frame: Colour of the frame.
        has_shutters: Shutters left and right.
        has_surround: A stone or painted border.
    """

    width_m: float
    height_m: float
    spacing_m: float
    panes: tuple[int, int]
    frame: tuple[float, float, float]
    has_shutters: bool
    has_surround: bool


def draw_window_style(rng: Rng) -> WindowStyle:
    """Draw a kind of window."""
    frames = [(235.0, 235.0, 235.0), (60.0, 70.0, 80.0), (40.0, 60.0, 95.0), (90.0, 110.0, 70.0)]
    return WindowStyle(
        width_m=rng.uniform(0.9, 1.7),
        height_m=rng.uniform(1.2, 1.8),
        spacing_m=rng.uniform(2.0, 3.2),
        panes=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        frame=frames[rng.integers(len(frames))],
        has_shutters=bool(rng.random() < 0.25),
        has_surround=bool(rng.random() < 0.6),
    )


class _Canvas:
    """Rectangles in metres from the lower left corner of a facade."""

    def __init__(self, values: NDArray[np.float64], px_per_m: float) -> None:
        self.values = values
        self.px_per_m = px_per_m

    def cut(self, x: float, y: float, w: float, h: float) -> NDArray[np.float64]:
        """Return the view of a rectangle with its lower left corner at x, y."""
        rows, columns = self.values.shape[:2]
        left, right = (int(np.clip(round(v * self.px_per_m), 0, columns)) for v in (x, x + w))
        top, bottom = (int(np.clip(rows - round(v * self.px_per_m), 0, rows)) for v in (y + h, y))
        return self.values[top:bottom, left:right]

    def fill(self, x: float, y: float, w: float, h: float, colour: Colour | float) -> None:
        """Paint a rectangle."""
        self.cut(x, y, w, h)[:] = colour

    def shade(self, x: float, y: float, w: float, h: float, factor: float) -> None:
        """Darken or brighten a rectangle."""
        self.cut(x, y, w, h)[:] *= factor


def paint_facade(
    rng: Rng, size_m: tuple[float, float], look: str, window: WindowStyle, px_per_m: float
) -> tuple[Image, Wall, Colour]:
    """Paint the front of a house.

    Args:
        rng: Source of all choices.
        size_m: Width and height.
        look: Style of the walls (`mixed`, `brick`, `plaster`, `lowtexture`).
        window: Kind of window.
        px_per_m: Resolution.

    Returns:
        The picture, and material and colour of the wall for the other sides.
    """
    wall, colour = choose_wall(rng, look)
    width, height = size_m
    shape = (round(height * px_per_m), round(width * px_per_m))
    canvas = _Canvas(wall(rng, shape, px_per_m, colour), px_per_m)
    num_storeys = max(1, int((height - 0.4) / rng.uniform(2.7, 3.4)))
    storey = (height - 0.4) / num_storeys
    trim = np.clip(colour * rng.choice([0.6, 1.3]) + rng.normal(0, 12, 3), 20, 245)
    is_plain = look == "lowtexture"
    if not is_plain:
        _bands(rng, canvas, size_m, (storey, num_storeys), trim)
    columns = np.linspace(0.3, width - 0.3, max(1, int((width - 0.8) / window.spacing_m)) + 1)
    axes = (columns[:-1] + columns[1:]) / 2
    door = float(axes[rng.integers(len(axes))])
    is_shop = bool(rng.random() < 0.2) and num_storeys > 1 and not is_plain
    for floor in range(1 if is_shop else 0, num_storeys):
        for x in axes:
            if (floor > 0 or x != door) and rng.random() < 0.96:
                _window(rng, canvas, (float(x), floor * storey + 0.9), window, trim)
    if is_shop:
        _shop(rng, canvas, width, storey)
    _door(rng, canvas, door, storey, trim)
    if not is_plain:
        _clutter(rng, canvas, size_m)
    return to_image(canvas.values), wall, colour


def _bands(
    rng: Rng, canvas: _Canvas, size_m: tuple[float, float], floors: tuple[float, int], trim: Colour
) -> None:
    """Add base, cornice, bands between floors and quoins; floors are (height, number)."""
    width, height = size_m
    storey, num_storeys = floors
    base = float(rng.uniform(0.3, 0.9))
    canvas.shade(0, 0, width, base, float(rng.uniform(0.55, 0.8)))
    canvas.fill(0, height - 0.25, width, 0.2, trim)
    canvas.shade(0, height - 0.35, width, 0.1, 0.6)
    if rng.random() < 0.5:
        for floor in range(1, num_storeys):
            canvas.fill(0, floor * storey + 0.1, width, 0.15, trim)
            canvas.shade(0, floor * storey + 0.05, width, 0.05, 0.6)
    if rng.random() < 0.35:
        for y in np.arange(base, height - 0.4, 0.6):
            canvas.fill(0, y, 0.35, 0.3, trim)
            canvas.fill(width - 0.35, y, 0.35, 0.3, trim)


def _window(
    rng: Rng, canvas: _Canvas, place: tuple[float, float], style: WindowStyle, trim: Colour
) -> None:
    w, h = style.width_m, style.height_m
    x, y = place[0] - w / 2, place[1]
    if style.has_surround:
        canvas.fill(x - 0.12, y - 0.1, w + 0.24, h + 0.25, trim)
    canvas.fill(x - 0.15, y - 0.12, w + 0.3, 0.1, np.minimum(trim * 1.15, 250))
    canvas.shade(x - 0.15, y - 0.2, w + 0.3, 0.08, 0.6)
    if style.has_shutters:
        shutter = np.array(style.frame) * 0.6
        for left in (x - w / 2 - 0.02, x + w + 0.02):
            canvas.fill(left, y, w / 2, h, shutter)
            for slat in np.arange(0.1, h, 0.12):
                canvas.shade(left + 0.05, y + slat, w / 2 - 0.1, 0.04, 0.6)
    canvas.fill(x, y, w, h, np.array(style.frame))
    _glass(rng, canvas, (x, y, w, h), style.panes)
    canvas.shade(x, y + h - 0.1, w, 0.1, 0.6)


def _glass(
    rng: Rng, canvas: _Canvas, box: tuple[float, float, float, float], panes: tuple[int, int]
) -> None:
    x, y, w, h = box
    columns, rows = panes
    bar = 0.06
    tone = np.array([95.0, 85, 75]) * rng.uniform(0.45, 1.3)
    curtain = rng.random()
    for i in range(columns):
        for j in range(rows):
            pane = canvas.cut(
                x + bar + i * (w - bar) / columns, y + bar + j * (h - bar) / rows,
                (w - bar) / columns - bar, (h - bar) / rows - bar,
            )  # fmt: skip
            if pane.size == 0:
                continue
            fall = np.linspace(1.25, 0.75, pane.shape[0])[:, None, None]
            pane[:] = tone * fall * (1.0 + 0.12 * _reflection(rng, pane.shape[:2]))
            if curtain < 0.35 and i in (0, columns - 1):
                pane[:] = 0.4 * pane + 0.6 * np.array([190.0, 200, 205])
            elif curtain > 0.85 and j >= rows - 1:
                pane[:] = 0.3 * pane + 0.7 * np.array([165.0, 180, 190])


def _reflection(rng: Rng, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return soft blotches (h, w, 1) of unit variance."""
    coarse = rng.standard_normal((6, 6), dtype=np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)[..., None]


def _door(rng: Rng, canvas: _Canvas, x: float, storey: float, trim: Colour) -> None:
    w, h = float(rng.uniform(0.95, 1.3)), min(float(rng.uniform(2.1, 2.5)), storey - 0.2)
    colour = rng.uniform(30, 150, 3)
    canvas.fill(x - w / 2 - 0.15, 0, w + 0.3, h + 0.15, trim)
    canvas.fill(x - w / 2, 0.1, w, h - 0.1, colour)
    for k in range(3):
        canvas.shade(x - w / 2 + 0.12, 0.25 + k * h / 3.2, w - 0.24, h / 3.2 - 0.15, 0.7)
    canvas.fill(x + w / 2 - 0.18, 1.0, 0.07, 0.12, np.array([180.0, 210, 220]))
    canvas.fill(x - w / 2 - 0.3, 0, w + 0.6, 0.12, np.array([150.0, 155, 160]))


def _muted(rng: Rng) -> Colour:
    """Draw a colour that is not garish."""
    return float(rng.uniform(40, 190)) * rng.normal(1.0, 0.15, 3)


def _shop(rng: Rng, canvas: _Canvas, width: float, storey: float) -> None:
    colour = rng.uniform(40, 220, 3)
    canvas.fill(0.2, storey - 0.75, width - 0.4, 0.6, colour)
    x = 0.6
    while x < width - 1.0:
        w = float(rng.uniform(0.25, 0.5))
        canvas.fill(x, storey - 0.65, w * 0.7, float(rng.uniform(0.25, 0.42)), 255 - colour)
        x += w
    canvas.fill(0.2, 0.3, width - 0.4, storey - 1.15, np.array([45.0, 45, 45]))
    for left in np.arange(0.3, width - 1.0, 1.6):
        pane = canvas.cut(left, 0.5, 1.5, storey - 1.4)
        pane[:] = 0.7 * _muted(rng) * (1.0 + 0.2 * _reflection(rng, pane.shape[:2]))
        for _ in range(5):
            x, y = left + float(rng.uniform(0.1, 1.1)), 0.5 + float(rng.uniform(0, storey - 2.0))
            w, h = (float(v) for v in rng.uniform(0.1, [0.35, 0.5]))
            canvas.fill(x, y, w, h, _muted(rng))


def _clutter(rng: Rng, canvas: _Canvas, size_m: tuple[float, float]) -> None:
    """Add what tells one house from its twin: a drain pipe, a plate, a lamp, ivy, paint."""
    width, height = size_m
    if rng.random() < 0.6:
        x = float(rng.choice([0.1, width - 0.25]))
        canvas.fill(x, 0, 0.12, height, np.array([110.0, 115, 115]) * rng.uniform(0.5, 1.3))
        canvas.shade(x + 0.12, 0, 0.05, height, 0.7)
    for _ in range(int(rng.integers(1, 5))):
        w, h = rng.uniform(0.15, 0.6, 2)
        x, y = float(rng.uniform(0.3, max(0.4, width - 1))), float(rng.uniform(0.6, 2.6))
        canvas.fill(x, y, float(w), float(h), rng.uniform(20, 240, 3))
    if rng.random() < 0.15:
        _scribble(rng, canvas, width)
    if rng.random() < 0.08:
        _ivy(rng, canvas)


def _scribble(rng: Rng, canvas: _Canvas, width: float) -> None:
    rows = canvas.values.shape[0]
    steps = np.cumsum(rng.normal(0, [0.8, 0.4], (5, 2)), axis=0)
    points = steps + [float(rng.uniform(0, width)), float(rng.uniform(0.6, 1.5))]
    corners = np.rint(points * canvas.px_per_m * [1, -1] + [0, rows]).astype(np.int32)
    cv2.polylines(canvas.values, [corners], False, rng.uniform(0, 200, 3).tolist(), 3)


def _ivy(rng: Rng, canvas: _Canvas) -> None:
    rows, columns = canvas.values.shape[:2]
    x = np.linspace(-1, 1, columns)[None] - rng.uniform(-1, 1)
    y = np.linspace(1, 0, rows)[:, None] / rng.uniform(0.4, 0.9)
    ivy = (np.abs(x) * 2.5 + y**2 + 0.3 * noise(rng, (rows, columns), 1.0)) < 0.9
    shades = rng.uniform(0.5, 1.4, (int(ivy.sum()), 1))
    canvas.values[ivy] = np.array([35.0, 90, 60]) * shades
