"""What GIS programs get: checked with shapely, pyproj and laspy as readers."""

import json
from xml.etree import ElementTree

import laspy
import numpy as np
import pyproj
import pytest
from full_disk import no_room_beyond
from map_maker import make_map, make_report
from shapely.geometry import shape

from seg2d3d_ros.cli.main import main
from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.geometry.geodesy import enu_to_geodetic
from seg2d3d_ros.io.gis import export
from seg2d3d_ros.io.result import read_result, write_result


@pytest.fixture(scope="module", params=[True, False], ids=["georeferenced", "local"])
def written(request, tmp_path_factory):
    full = make_map(georeferenced=request.param)
    folder = tmp_path_factory.mktemp("gis") / "result"
    write_result(folder, full, make_report())
    return folder, full, request.param


def test_geojson_footprints_lie_where_the_instances_are(written, tmp_path):
    folder, full, is_placed = written
    assert main(["export", str(folder), "--out", str(tmp_path / "a.geojson")]) == 0
    found = json.loads((tmp_path / "a.geojson").read_text())
    assert [f["id"] for f in found["features"]] == [i.id for i in full.instances]
    assert ("crs" in found) == (not is_placed)
    for feature, instance in zip(found["features"], full.instances, strict=True):
        polygon = shape(feature["geometry"])
        assert polygon.is_valid and polygon.exterior.is_ccw
        center = instance.box_center_map[None]
        at = enu_to_geodetic(center, full.origin)[0, [1, 0]] if is_placed else center[0, :2]
        np.testing.assert_allclose(
            np.array(polygon.centroid.xy).ravel(), at, atol=2e-8 + 1e-3 * (not is_placed)
        )
        about = feature["properties"]
        assert about["height_m"] == pytest.approx(instance.box_size_m[2], abs=1e-5)
        assert about["instance_id"] == instance.id
        assert about["first_seen"].startswith("2023-11-14T22:13:2")
    if is_placed:
        # area on the ellipsoid equals that of the footprint
        lon, lat = np.array(found["features"][0]["geometry"]["coordinates"][0])[:, :2].T
        area, _ = pyproj.Geod(ellps="WGS84").polygon_area_perimeter(lon, lat)
        assert abs(area) == pytest.approx(60.0, rel=1e-3)


def test_kml_holds_a_building_per_instance_or_says_what_is_missing(written, tmp_path):
    folder, full, is_placed = written
    result = read_result(folder)
    if not is_placed:
        with pytest.raises(ResultError, match="georeferenced"):
            export(result, tmp_path / "a.kml")
        return
    export(result, tmp_path / "a.kml")
    root = ElementTree.parse(tmp_path / "a.kml").getroot()
    space = {"k": "http://www.opengis.net/kml/2.2"}
    names = [e.text for e in root.iterfind(".//k:Placemark/k:name", space)]
    assert names == [str(i.id) for i in full.instances]
    ring = root.find(".//k:coordinates", space).text.split()
    assert len(ring) == 5 and ring[0] == ring[-1]


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_las_points_carry_instances_in_utm_or_in_the_map(written, tmp_path, suffix):
    folder, full, is_placed = written
    result = read_result(folder)
    export(result, tmp_path / f"a{suffix}")
    las = laspy.read(tmp_path / f"a{suffix}")
    assert np.array_equal(las.instance, result.points["instance"])
    assert set(np.unique(las.classification)) == {1, 6}
    assert np.array_equal(las.classification == 6, result.points["instance"] > 0)
    for channel in ("red", "green", "blue"):  # 255 of PLY is 65535 of LAS
        assert np.array_equal(las[channel] // 257, result.points[channel])
        assert np.array_equal(las[channel] % 257, np.zeros(len(las)))
    expected = full.cloud.points_map
    if is_placed:
        crs = las.header.parse_crs()
        assert crs.to_epsg() == 32632
        lat, lon, alt = enu_to_geodetic(expected, full.origin).T
        expected = np.column_stack(
            [*pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat), alt]
        )
    else:
        assert las.header.parse_crs() is None
    # millimetres of LAS beside those of the float32 in points.ply
    np.testing.assert_allclose(las.xyz, expected, atol=2e-3)


@pytest.mark.parametrize("suffix", ["geojson", "kml", "las", "laz"])
def test_export_that_cannot_be_written_whole_leaves_what_was_there(written, tmp_path, suffix):
    folder, _, is_placed = written
    result, path = read_result(folder), tmp_path / f"a.{suffix}"
    path.write_text("before")
    told = "cannot be written" if is_placed or suffix != "kml" else "needs a georeferenced map"
    with no_room_beyond(300), pytest.raises(ResultError, match=told):
        export(result, path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_export_of_an_unknown_suffix_names_the_known_ones(written, tmp_path, capsys):
    assert main(["export", str(written[0]), "--out", str(tmp_path / "a.shp")]) == 1
    assert ".geojson, .json, .kml, .las, .laz" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
