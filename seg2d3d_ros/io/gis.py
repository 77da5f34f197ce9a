"""Exports of a result for GIS: footprints as GeoJSON or KML, points as LAS or LAZ."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.geometry.geodesy import enu_to_geodetic
from seg2d3d_ros.io.palette import instance_color_rgb
from seg2d3d_ros.io.result import Result
from seg2d3d_ros.types import FloatArray, Origin

_BUILDING_ASPRS = 6  # ASPRS LAS 1.4, table 17
_UNCLASSIFIED_ASPRS = 1
_KML = "http://www.opengis.net/kml/2.2"


def footprint_collection(result: Result) -> dict[str, Any]:
    """Return the instances as a GeoJSON FeatureCollection (RFC 7946), a polygon each.

    Coordinates are longitude, latitude (WGS84) and ellipsoidal height of the ground. A map without
    georeference gives metres of the map and `"crs": null`, which means that no reference can be
    assumed (GeoJSON 2008, section 3).
    """
    origin = result.origin
    features = []
    for record in result.instances:
        ring = _ring(record)
        if len(ring):
            place = _lon_lat_alt(ring, origin)
            geometry = {"type": "Polygon", "coordinates": [_rounded(place, origin)]}
            features.append(
                {
                    "type": "Feature",
                    "id": record["id"],
                    "geometry": geometry,
                    "properties": _attributes(record),
                }
            )
    collection: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    return collection if origin is not None else {**collection, "crs": None}


def write_geojson(result: Result, path: Path) -> str:
    """Write footprints with attributes; return a sentence about them."""
    collection = footprint_collection(result)
    path.write_text(json.dumps(collection, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    reference = "in metres of the map (no georeference)" if "crs" in collection else "in WGS84"
    return f"{len(collection['features'])} footprints {reference}"


def write_kml(result: Result, path: Path) -> str:
    """Write footprints as buildings of their height; return a sentence about them.

    Raises:
        ResultError: the map is not georeferenced, which KML cannot express.
    """
    if result.origin is None:
        raise ResultError("KML needs a georeferenced map: without GNSS export GeoJSON instead")
    ElementTree.register_namespace("", _KML)
    root = ElementTree.Element(f"{{{_KML}}}kml")
    document = ElementTree.SubElement(root, f"{{{_KML}}}Document")
    features = footprint_collection(result)["features"]
    for feature in features:
        _placemark(document, feature)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    return f"{len(features)} buildings in WGS84"


def write_las(result: Result, path: Path) -> str:
    """Write the points as LAS 1.4 (LAZ by the suffix), with class and instance; return a sentence.

    A georeferenced map is written in its UTM zone (ellipsoidal heights), any other in metres of
    the map without a reference system.
    """
    import laspy
    import pyproj

    origin, points = result.origin, result.points
    xyz = np.column_stack([points["x"], points["y"], points["z"]]).astype(np.float64)
    header = laspy.LasHeader(version="1.4", point_format=7)
    header.add_extra_dim(laspy.ExtraBytesParams("class_id", np.uint16, "Cityscapes, 0 unknown"))
    header.add_extra_dim(laspy.ExtraBytesParams("instance", np.uint32, "instance id, 0 none"))
    reference = "metres of the map (no georeference)"
    if origin is not None:
        crs = pyproj.CRS.from_epsg(_utm_epsg(origin))
        lat, lon, alt = enu_to_geodetic(xyz, origin).T
        east, north = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)
        xyz, reference = np.column_stack([east, north, alt]), crs.name
        header.add_crs(crs)
    header.scales = np.full(3, 0.001)
    header.offsets = np.floor(xyz.min(axis=0)) if len(xyz) else np.zeros(3)
    las = laspy.LasData(header)
    las.xyz = xyz
    for channel in ("red", "green", "blue"):
        setattr(las, channel, points[channel].astype(np.uint16) * 257)
    is_building = points["instance"] > 0
    las.classification = np.where(is_building, _BUILDING_ASPRS, _UNCLASSIFIED_ASPRS)
    las.class_id, las.instance = points["label"].astype(np.uint16), points["instance"]
    las.write(path)
    return f"{len(points)} points in {reference}"


WRITERS: dict[str, Callable[[Result, Path], str]] = {
    ".geojson": write_geojson,
    ".json": write_geojson,
    ".kml": write_kml,
    ".las": write_las,
    ".laz": write_las,
}


def export(result: Result, path: Path) -> str:
    """Write a result in the format of the path's suffix; return a sentence about what was written.

    Raises:
        ResultError: the suffix is of no format we write, or the file cannot be written; one that
            was there before is then as it was.
    """
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        known = ", ".join(sorted(WRITERS))
        raise ResultError(
            f"'{path.name}' has the suffix '{path.suffix}'; one of {known} is needed"
        )
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        told = write(result, partial)
        partial.replace(path)
    except OSError as error:
        raise ResultError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return told


def _ring(record: dict[str, Any]) -> FloatArray:
    """Return the outline on the ground (n, 3), closed, counter-clockwise; empty without one."""
    corners = np.array(record["footprint_map"], dtype=np.float64).reshape(-1, 2)
    if len(corners) < 3 or not np.isfinite(corners).all():
        return np.zeros((0, 3))
    ground = record["box"]["center_map"][2] - record["box"]["size_m"][2] / 2.0
    closed = np.vstack([corners, corners[:1]])
    return np.column_stack([closed, np.full(len(closed), ground)])


def _lon_lat_alt(points_map: FloatArray, origin: Origin | None) -> FloatArray:
    if origin is None:
        return points_map
    return enu_to_geodetic(points_map, origin)[:, [1, 0, 2]]


def _rounded(place: FloatArray, origin: Origin | None) -> list[list[float]]:
    """Return coordinates to a millimetre: nine decimals of a degree."""
    digits = 3 if origin is None else 9
    return [[round(x, digits), round(y, digits), round(z, 3)] for x, y, z in place.tolist()]


def _attributes(record: dict[str, Any]) -> dict[str, Any]:
    length, width, height = record["box"]["size_m"]
    names = ("class_id", "class_name", "score", "state", "num_points", "num_views")
    return {
        "instance_id": record["id"],
        **{name: record[name] for name in names},
        "height_m": height,
        "length_m": length,
        "width_m": width,
        "yaw_rad": record["box"]["yaw_rad"],
        "sigma_m": record["sigma_m"],
        "footprint_sigma_m": record["footprint_sigma_m"],
        "first_seen": _time(record["first_stamp_ns"]),
        "last_seen": _time(record["last_stamp_ns"]),
    }


def _time(stamp_ns: int) -> str:
    return datetime.fromtimestamp(stamp_ns / 1e9, UTC).isoformat(timespec="milliseconds")


def _utm_epsg(origin: Origin) -> int:
    zone = int((origin.lon_deg + 180.0) // 6.0) % 60 + 1
    return (32600 if origin.lat_deg >= 0.0 else 32700) + zone


def _placemark(document: ElementTree.Element, feature: dict[str, Any]) -> None:
    """Add a building that stands on the ground and is as high as its box."""
    about = feature["properties"]

    def add(parent: ElementTree.Element, name: str, text: object = None) -> ElementTree.Element:
        made = ElementTree.SubElement(parent, f"{{{_KML}}}{name}")
        made.text = None if text is None else str(text)
        return made

    mark = add(document, "Placemark")
    add(mark, "name", about["instance_id"])
    red, green, blue = instance_color_rgb(about["instance_id"])
    add(add(add(mark, "Style"), "PolyStyle"), "color", f"b0{blue:02x}{green:02x}{red:02x}")
    data = add(mark, "ExtendedData")
    for name, value in about.items():
        entry = add(data, "Data")
        entry.set("name", name)
        add(entry, "value", value)
    polygon = add(mark, "Polygon")
    add(polygon, "extrude", 1)
    add(polygon, "altitudeMode", "relativeToGround")
    ring = add(add(polygon, "outerBoundaryIs"), "LinearRing")
    corners = feature["geometry"]["coordinates"][0]
    text = " ".join(f"{lon},{lat},{about['height_m']}" for lon, lat, _ in corners)
    add(ring, "coordinates", text)
