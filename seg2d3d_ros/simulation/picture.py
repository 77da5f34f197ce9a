"""From a clean rendering to what the camera delivers: smear, exposure, noise, black pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.simulation.options import SimulationOptions

_SMEAR_STEPS = 4


def expose(rng: np.random.Generator, render: Callable[[float], NDArray[np.float32]], t_s: float, options: SimulationOptions) -> NDArray[np.uint8]:
    """Return the picture (h, w, 3) BGR of a camera at a time.

    Args:
        rng: Source of the noise.
        render: Returns the clean picture at a time of the drive.
        t_s: The time.
        options: What spoils it.
    """
    if options.black_from_s <= t_s < options.black_from_s + options.black_s:
        return np.zeros(render(t_s).shape, np.uint8)
    image = render(t_s)
    if options.motion_blur_ms > 0:
        offsets = (np.arange(_SMEAR_STEPS) / (_SMEAR_STEPS - 1) - 0.5) * options.motion_blur_ms * 1e-3
        image = np.mean([render(t_s + offset) for offset in offsets], axis=0, dtype=np.float32)
    if options.exposure_stops > 0:
        image = image * np.float32(2.0 ** (options.exposure_stops * np.sin(2 * np.pi * t_s / 17.0)))
    if options.image_noise > 0:
        image = image + np.float32(options.image_noise) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + np.float32(0.5), 0, 255).astype(np.uint8)
