"""Between ENU frames of maps and WGS84, by pyproj."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.geometry.transforms import invert, rigid
from seg2d3d_ros.types import FloatArray, Origin


def enu_to_geodetic(points_map: FloatArray, origin: Origin) -> FloatArray:
    """Return latitude, longitude (degrees) and ellipsoidal height (n, 3) of ENU points (n, 3)."""
    import pyproj

    points = np.atleast_2d(np.asarray(points_map, dtype=np.float64))
    lon, lat, alt = _pipeline(pyproj, origin).transform(*points.T)
    return np.column_stack([lat, lon, alt])


def geodetic_to_enu(lat_lon_alt: FloatArray, origin: Origin) -> FloatArray:
    """Return ENU points (n, 3) of latitude, longitude (degrees) and ellipsoidal height (n, 3)."""
    import pyproj

    lat, lon, alt = np.atleast_2d(np.asarray(lat_lon_alt, dtype=np.float64)).T
    enu = _pipeline(pyproj, origin).transform(lon, lat, alt, direction="INVERSE")
    return np.column_stack(enu)


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


def _pipeline(pyproj, origin: Origin):  # type: ignore[no-untyped-def]
    # NumPy's floats print as np.float64(...), which PROJ would read as 0.
    lat, lon, alt = (float(x) for x in (origin.lat_deg, origin.lon_deg, origin.alt_m))
    at = f"+lon_0={lon!r} +lat_0={lat!r} +h_0={alt!r}"
    return pyproj.Transformer.from_pipeline(
        "+proj=pipeline "
        f"+step +inv +proj=topocentric +ellps=WGS84 {at} "
        "+step +inv +proj=cart +ellps=WGS84 "
        "+step +proj=unitconvert +xy_in=rad +xy_out=deg"
    )
