"""From clean renderings to what the camera delivers: smear, exposure, noise, black pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.simulation.options import SimulationOptions

_NUM_SMEAR = 4
_EXPOSURE_PERIOD_S = 17.0


def is_black(time_s: float, options: SimulationOptions) -> bool:
    """Return whether the cameras deliver black pictures at a time of the drive."""
    return options.black_from_s <= time_s < options.black_from_s + options.black_s


def smear_offsets_s(options: SimulationOptions) -> list[float]:
    """Return the times around the stamp to average over; none without motion blur."""
    if options.motion_blur_ms == 0:
        return []
    return [float(x) for x in np.linspace(-0.5, 0.5, _NUM_SMEAR) * options.motion_blur_ms * 1e-3]


def expose(
    rng: np.random.Generator,
    renderings: list[NDArray[np.float32]],
    time_s: float,
    options: SimulationOptions,
) -> NDArray[np.uint8]:
    """Return the picture (h, w, 3) BGR that a camera takes.

    Args:
        rng: Source of the noise.
        renderings: Clean pictures (h, w, 3) during the exposure.
        time_s: Time of the drive.
        options: What spoils the picture.
    """
    if is_black(time_s, options):
        return np.zeros(renderings[0].shape, np.uint8)
    image = np.mean(renderings, axis=0, dtype=np.float32) if len(renderings) > 1 else renderings[0]
    stops = options.exposure_stops * np.sin(2 * np.pi * time_s / _EXPOSURE_PERIOD_S)
    image = image * np.float32(2.0**stops)
    if options.image_noise > 0:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image = image + np.float32(options.image_noise) * noise
    return np.asarray(np.clip(image + np.float32(0.5), 0, 255), np.uint8)
