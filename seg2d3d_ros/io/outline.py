"""What is drawn of an instance on the ground: what is known of it, and no more."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.types import FloatArray, Instance

#: Outlines whose corners are less certain than this, metres, are rough.
ROUGH_M = 2.0
_MOST_M = 100.0
_NUM_CORNERS = 32


def is_rough(instance: Instance) -> bool:
    """Return whether it is known roughly only where an instance ends."""
    return not instance.footprint_sigma_m <= ROUGH_M


def is_bare(instance: Instance) -> bool:
    """Return whether nothing but masks tells roughly where an instance is.

    How far these are away is a guess, and so is how wide what they show is.
    """
    return is_rough(instance) and instance.num_points == 0


def outline(instance: Instance) -> FloatArray:
    """Return a polygon (n, 2) in the map, metres: footprint, or the box where there is none.

    Of an instance that is known from masks alone it is the circle of one standard deviation
    around the middle of what they show.
    """
    if is_bare(instance):
        angle = np.linspace(0.0, 2.0 * np.pi, _NUM_CORNERS, endpoint=False)
        radius = min(instance.footprint_sigma_m, _MOST_M)
        ring = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return np.asarray(instance.centroid_map)[:2] + ring
    if len(instance.footprint_map) >= 3:
        return np.asarray(instance.footprint_map)[:, :2]
    c, s = np.cos(instance.box_yaw_rad), np.sin(instance.box_yaw_rad)
    half = instance.box_size_m[:2] / 2.0
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * half
    return np.asarray(instance.box_center_map[:2] + corners @ np.array([[c, s], [-s, c]]))
