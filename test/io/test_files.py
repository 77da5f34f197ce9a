"""The small formats: TUM, PLY, geodesy, colours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.geometry import geodesy
from seg2d3d_ros.io import palette, ply, tum
from seg2d3d_ros.types import Origin


@given(st.integers(min_value=-(2**62), max_value=2**62))
def test_stamp_text_round_trip_is_exact(stamp_ns):
    assert tum.parse_stamp(tum.format_stamp(stamp_ns)) == stamp_ns


def test_pose_columns_have_no_negative_zero_and_positive_w():
    T = np.eye(4)[None].copy()
    T[0, :3, 3] = -0.0, -1e-12, 5.0
    T[0, :3, :3] = [[-1, 0, 0], [0, -1, 0], [0, 0, 1]]
    columns = tum.pose_columns(T)
    assert not np.signbit(columns[0, :2]).any()
    assert abs(columns[0, 5]) == 1.0 and columns[0, 6] >= 0


def test_read_tum_skips_comments_and_names_the_bad_line(tmp_path):
    path = tmp_path / "t.tum"
    path.write_text("# stamp x y z\n1.5 1 2 3 0 0 0 1\n\n2.5 1 2 oops 0 0 0 1\n")
    with pytest.raises(ResultError, match="line 2"):
        tum.read_tum(path)
    path.write_text("# stamp x y z\n1.5 1 2 3 0 0 0 1\n")
    stamps, T = tum.read_tum(path)
    assert stamps.tolist() == [1_500_000_000] and T[0, :3, 3].tolist() == [1, 2, 3]


def test_ply_of_other_writers_is_read_by_its_header(tmp_path):
    path = tmp_path / "p.ply"
    dtype = np.dtype([("x", "<f8"), ("y", "<f8"), ("z", "<f8"), ("instance", "<i4")])
    values = np.array([(1.5, 2.5, 3.5, 7)], dtype)
    head = (
        "ply\nformat binary_little_endian 1.0\ncomment by another\nelement vertex 1\n"
        "property double x\nproperty double y\nproperty double z\nproperty int32 instance\n"
        "end_header\n"
    )
    path.write_bytes(head.encode() + values.tobytes())
    assert ply.read_ply(path)[0].item() == (1.5, 2.5, 3.5, 7)


def test_ply_written_is_read_back_by_field(tmp_path):
    values = np.zeros(3, dtype=ply.CLOUD_DTYPE)
    values["x"], values["instance"] = [1, 2, 3], [0, 4_000_000_000, 5]
    ply.write_ply(tmp_path / "p.ply", values)
    np.testing.assert_array_equal(ply.read_ply(tmp_path / "p.ply"), values)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"ply\nformat ascii 1.0\nend_header\n", "binary_little_endian"),
        (b"ply\nformat binary_little_endian 1.0\n", "no end"),
        (
            b"ply\nformat binary_little_endian 1.0\nelement vertex 9\nproperty float x\n"
            b"end_header\n1234",
            "cut off",
        ),
        (
            b"ply\nformat binary_little_endian 1.0\nelement vertex 1\n"
            b"property list uchar int i\nend_header\n",
            "list",
        ),
    ],
)
def test_ply_that_cannot_be_read_is_a_named_error(tmp_path, content, said):
    (tmp_path / "p.ply").write_bytes(content)
    with pytest.raises(ResultError, match=said):
        ply.read_ply(tmp_path / "p.ply")


def test_geodesy_of_the_origin_is_the_origin_and_comes_back():
    origin = Origin(49.0093, 8.4371, 114.5)
    np.testing.assert_allclose(
        geodesy.enu_to_geodetic(np.zeros((1, 3)), origin)[0], [49.0093, 8.4371, 114.5], atol=1e-9
    )
    enu = np.array([[1000.0, -2000.0, 30.0], [0.5, 0.5, -1.0]])
    there = geodesy.enu_to_geodetic(enu, origin)
    np.testing.assert_allclose(geodesy.geodetic_to_enu(there, origin), enu, atol=1e-6)


def test_geodesy_agrees_with_the_geodesic_north_and_east():
    import pyproj

    origin = Origin(49.0, 8.0, 0.0)
    there = geodesy.enu_to_geodetic(np.array([[0.0, 100.0, 0.0], [100.0, 0.0, 0.0]]), origin)
    geod = pyproj.Geod(ellps="WGS84")
    for (lat, lon, _), azimuth in zip(there, (0.0, 90.0), strict=True):
        found, _, distance = geod.inv(8.0, 49.0, lon, lat)
        assert found == pytest.approx(azimuth, abs=1e-3)
        assert distance == pytest.approx(100.0, abs=1e-3)  # the tangent plane leaves by d²/2R


def test_colours_of_near_ids_differ_and_are_stable():
    colors = np.array([palette.instance_color_rgb(i) for i in range(1, 31)], dtype=int)
    gaps = np.abs(colors[:, None] - colors[None]).sum(axis=2) + 1000 * np.eye(30, dtype=int)
    for k in range(1, 4):  # neighbours in a street have neighbouring ids
        assert np.diagonal(gaps, k).min() > 90
    assert gaps.min() > 15
    np.testing.assert_array_equal(
        palette.instance_colors_rgb([0, 2, 2]),
        [palette.instance_color_rgb(i) for i in (0, 2, 2)],
    )
