"""What sensor_msgs_py.point_cloud2 does, stated so that the original passes too."""

import array

import numpy as np
import pytest

point_cloud2 = pytest.importorskip("sensor_msgs_py.point_cloud2", reason="needs `source env.bash`")
sensor_msgs = pytest.importorskip("sensor_msgs.msg", reason="needs `source env.bash`")
std_msgs = pytest.importorskip("std_msgs.msg", reason="needs `source env.bash`")

PointField = sensor_msgs.PointField
HEADER = std_msgs.Header(frame_id="map")
XYZ = np.array(
    [[0.0, 0.5, 1.0], [1.0, np.nan, 2.0], [2.0, 2.5, 3.0], [3.0, 3.5, 4.0]], dtype=np.float32
)


def field(name, offset, datatype=PointField.FLOAT32, count=1):
    return PointField(name=name, offset=offset, datatype=datatype, count=count)


# x y z rgb label instance, as this package publishes them, with a gap before `instance`.
MIXED_FIELDS = [
    field("x", 0),
    field("y", 4),
    field("label", 8, PointField.UINT16),
    field("instance", 12, PointField.UINT32),
]
MIXED_DTYPE = np.dtype(
    {
        "names": ["x", "y", "label", "instance"],
        "formats": ["<f4", "<f4", "<u2", "<u4"],
        "offsets": [0, 4, 8, 12],
    }
)


def mixed_points():
    return np.array([(0.5, 1.5, 11, 70000), (2.5, 3.5, 26, 3)], dtype=MIXED_DTYPE)


# --- create ---------------------------------------------------------------------------------


def test_create_cloud_xyz32_layout_is_three_packed_floats():
    cloud = point_cloud2.create_cloud_xyz32(HEADER, XYZ)
    assert [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields] == [
        ("x", 0, PointField.FLOAT32, 1),
        ("y", 4, PointField.FLOAT32, 1),
        ("z", 8, PointField.FLOAT32, 1),
    ]
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, 4, 12, 48)
    assert not cloud.is_dense and not cloud.is_bigendian
    assert cloud.header == HEADER
    assert isinstance(cloud.data, array.array)
    assert cloud.data.tobytes() == XYZ.tobytes()


def test_create_cloud_lists_and_arrays_make_the_same_message():
    assert point_cloud2.create_cloud_xyz32(
        HEADER, XYZ[[0, 2]].tolist()
    ) == point_cloud2.create_cloud_xyz32(HEADER, XYZ[[0, 2]])


def test_create_cloud_structured_points_keep_offsets_and_gaps():
    points = mixed_points()
    cloud = point_cloud2.create_cloud(HEADER, MIXED_FIELDS, points)
    assert cloud.point_step == 16
    assert cloud.data.tobytes() == points.tobytes()
    assert np.frombuffer(cloud.data, "<u4")[3] == 70000


def test_create_cloud_point_step_pads_the_end_of_points():
    cloud = point_cloud2.create_cloud(HEADER, MIXED_FIELDS, [(1, 2, 3, 4)], point_step=32)
    assert cloud.point_step == 32 and len(cloud.data) == 32
    assert point_cloud2.read_points(cloud)["instance"] == [4]


def test_create_cloud_structured_points_of_other_layout_raise():
    with pytest.raises(AssertionError):
        point_cloud2.create_cloud(HEADER, MIXED_FIELDS, mixed_points(), point_step=32)
    with pytest.raises(AssertionError):
        point_cloud2.create_cloud(HEADER, MIXED_FIELDS[::-1], mixed_points())


def test_create_cloud_plain_array_of_mixed_fields_raises():
    with pytest.raises(AssertionError, match="same datatype"):
        point_cloud2.create_cloud(HEADER, MIXED_FIELDS, np.zeros((2, 4)))


def test_create_cloud_plain_array_is_cast_to_the_fields():
    cloud = point_cloud2.create_cloud_xyz32(HEADER, XYZ.astype(np.float64))
    assert cloud.data.tobytes() == XYZ.tobytes()


def test_create_cloud_organized_first_axis_is_width():
    cloud = point_cloud2.create_cloud_xyz32(HEADER, np.zeros((5, 3, 3), np.float32))
    assert (cloud.width, cloud.height, cloud.row_step) == (5, 3, 60)
    with pytest.raises(AssertionError, match="Too many dimensions"):
        point_cloud2.create_cloud_xyz32(HEADER, np.zeros((2, 2, 2, 3), np.float32))


# --- dtype ----------------------------------------------------------------------------------


def test_dtype_from_fields_offsets_and_size_are_the_fields():
    dtype = point_cloud2.dtype_from_fields(MIXED_FIELDS)
    assert dtype == MIXED_DTYPE
    assert point_cloud2.dtype_from_fields(MIXED_FIELDS, point_step=40).itemsize == 40


def test_dtype_from_fields_counts_become_numbered_fields():
    dtype = point_cloud2.dtype_from_fields([field("f", 4, count=3)])
    assert dtype.names == ("f_0", "f_1", "f_2")
    assert [dtype.fields[name][1] for name in dtype.names] == [4, 8, 12]


def test_dtype_from_fields_nameless_field_is_named_by_position():
    dtype = point_cloud2.dtype_from_fields([field("x", 0), field("", 4)])
    assert dtype.names == ("x", "unnamed_field_1")


@pytest.mark.parametrize(
    "fields", [[field("x", 0, count=0)], [field("x", 0), field("x", 4)]], ids=["none", "twice"]
)
def test_dtype_from_fields_bad_fields_raise(fields):
    with pytest.raises(AssertionError):
        point_cloud2.dtype_from_fields(fields)


@pytest.mark.parametrize(
    ("datatype", "expected"),
    [
        (PointField.INT8, "i1"),
        (PointField.UINT8, "u1"),
        (PointField.INT16, "i2"),
        (PointField.UINT16, "u2"),
        (PointField.INT32, "i4"),
        (PointField.UINT32, "u4"),
        (PointField.FLOAT32, "f4"),
        (PointField.FLOAT64, "f8"),
    ],
)
def test_dtype_from_fields_every_datatype_has_its_numpy_type(datatype, expected):
    assert point_cloud2.dtype_from_fields([field("a", 0, datatype)])["a"] == np.dtype(expected)


# --- read -----------------------------------------------------------------------------------


def test_read_points_gives_back_what_was_written():
    points = point_cloud2.read_points(point_cloud2.create_cloud_xyz32(HEADER, XYZ))
    assert points.shape == (4,) and points.dtype.names == ("x", "y", "z")
    np.testing.assert_array_equal(points["y"], XYZ[:, 1])


def test_read_points_field_names_choose_and_keep_their_order():
    cloud = point_cloud2.create_cloud(HEADER, MIXED_FIELDS, mixed_points())
    points = point_cloud2.read_points(cloud, field_names=["instance", "x"])
    assert points.dtype.names == ("instance", "x")
    assert points.tolist() == [(70000, 0.5), (3, 2.5)]
    with pytest.raises(AssertionError):
        point_cloud2.read_points(cloud, field_names=["nothing"])


def test_read_points_skip_nans_looks_at_the_chosen_fields_of_clouds_not_dense():
    cloud = point_cloud2.create_cloud_xyz32(HEADER, XYZ)
    assert len(point_cloud2.read_points(cloud, skip_nans=True)) == 3
    assert len(point_cloud2.read_points(cloud, ["x", "z"], skip_nans=True)) == 4
    cloud.is_dense = True
    assert len(point_cloud2.read_points(cloud, skip_nans=True)) == 4


@pytest.mark.parametrize("uvs", [[3, 0], np.array([3, 0]), iter([3, 0])])
def test_read_points_uvs_choose_points_in_their_order(uvs):
    cloud = point_cloud2.create_cloud_xyz32(HEADER, XYZ)
    assert point_cloud2.read_points(cloud, uvs=uvs)["x"].tolist() == [3.0, 0.0]


def test_read_points_organized_cloud_is_flat_unless_asked():
    points = np.arange(18, dtype=np.float32).reshape(3, 2, 3)
    cloud = point_cloud2.create_cloud_xyz32(HEADER, points)
    assert point_cloud2.read_points(cloud).shape == (6,)
    organized = point_cloud2.read_points(cloud, reshape_organized_cloud=True)
    assert organized.shape == (3, 2)
    np.testing.assert_array_equal(organized["x"], points[:, :, 0])


def test_read_points_shares_the_memory_of_the_message():
    cloud = point_cloud2.create_cloud_xyz32(HEADER, XYZ)
    cloud.data[0:4] = array.array("B", np.float32(9.0).tobytes())
    points = point_cloud2.read_points(cloud)
    assert points["x"][0] == 9.0
    points["x"][0] = 5.0
    assert np.frombuffer(cloud.data, "<f4")[0] == 5.0


def test_read_points_big_endian_values_are_read_in_native_order():
    cloud = point_cloud2.create_cloud_xyz32(HEADER, XYZ)
    cloud.data = array.array("B", XYZ.astype(">f4").tobytes())
    cloud.is_bigendian = True
    points = point_cloud2.read_points(cloud)
    np.testing.assert_array_equal(points["z"], XYZ[:, 2])


def test_read_points_numpy_is_a_plain_array_of_the_chosen_fields():
    cloud = point_cloud2.create_cloud_xyz32(HEADER, XYZ)
    plain = point_cloud2.read_points_numpy(cloud, field_names=["x", "z"])
    assert plain.dtype == np.float32
    np.testing.assert_array_equal(plain, XYZ[:, [0, 2]])


def test_read_points_numpy_mixed_types_raise_unless_left_out():
    cloud = point_cloud2.create_cloud(HEADER, MIXED_FIELDS, mixed_points())
    with pytest.raises(AssertionError, match="same datatype"):
        point_cloud2.read_points_numpy(cloud)
    plain = point_cloud2.read_points_numpy(cloud, field_names=["x", "y"])
    np.testing.assert_array_equal(plain, [[0.5, 1.5], [2.5, 3.5]])


def test_read_points_list_gives_named_tuples():
    cloud = point_cloud2.create_cloud(HEADER, MIXED_FIELDS, mixed_points())
    points = point_cloud2.read_points_list(cloud)
    assert points[0].instance == 70000 and points[1].label == 26
    assert points[0]._fields == ("x", "y", "label", "instance")


@pytest.mark.parametrize("read", ["read_points", "read_points_list"])
def test_read_what_is_no_cloud_raises(read):
    with pytest.raises(AssertionError):
        getattr(point_cloud2, read)("cloud")
