"""Between the map's ENU frame and WGS84, by pyproj."""

from __future__ import annotations

import numpy as np

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
