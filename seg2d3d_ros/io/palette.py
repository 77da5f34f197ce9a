"""Colours of instances: by id alone, so that a building looks the same in every picture."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = 0.6180339887498949
_SHADES = ((0.85, 0.85), (0.65, 0.70), (0.95, 0.65), (0.55, 0.92))


def instance_color_rgb(instance: int) -> tuple[int, int, int]:
    """Return the colour 0..255 of an instance: next ids are far apart in hue, 0 is grey."""
    if instance <= 0:
        return 150, 150, 150
    saturation, value = _SHADES[instance % len(_SHADES)]
    rgb = colorsys.hsv_to_rgb((instance * _GOLDEN) % 1.0, saturation, value)
    return round(rgb[0] * 255), round(rgb[1] * 255), round(rgb[2] * 255)


def instance_colors_rgb(instances: ArrayLike) -> NDArray[np.uint8]:
    """Return colours (n, 3) uint8 of instance ids (n,)."""
    ids, inverse = np.unique(np.asarray(instances, dtype=np.int64), return_inverse=True)
    table = np.array([instance_color_rgb(int(i)) for i in ids], dtype=np.uint8).reshape(-1, 3)
    return table[inverse]
