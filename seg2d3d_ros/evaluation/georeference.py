"""From the ENU frame of one origin into that of another."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.geometry.transforms import invert, rigid
from seg2d3d_ros.types import FloatArray, Origin


def between_origins(origin_a: Origin, origin_b: Origin) -> FloatArray:
    """Return T_a_b (4, 4) between the ENU frames of two origins on the WGS84 ellipsoid."""
    return np.asarray(invert(_ecef_from_enu(origin_a)) @ _ecef_from_enu(origin_b))


def _ecef_from_enu(origin: Origin) -> FloatArray:
    import pyproj

    to_ecef = pyproj.Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    center = to_ecef.transform(origin.lon_deg, origin.lat_deg, origin.alt_m)
    lat, lon = np.radians([origin.lat_deg, origin.lon_deg])
    east = [-np.sin(lon), np.cos(lon), 0.0]
    north = [-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)]
    up = [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]
    return rigid(np.array([east, north, up]).T, center)
