"""Conversions between sensor_msgs/PointCloud2 and NumPy arrays."""

import sys
from collections import namedtuple
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured, unstructured_to_structured
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

_DATATYPES: dict[int, np.dtype] = {
    PointField.INT8: np.dtype(np.int8),
    PointField.UINT8: np.dtype(np.uint8),
    PointField.INT16: np.dtype(np.int16),
    PointField.UINT16: np.dtype(np.uint16),
    PointField.INT32: np.dtype(np.int32),
    PointField.UINT32: np.dtype(np.uint32),
    PointField.FLOAT32: np.dtype(np.float32),
    PointField.FLOAT64: np.dtype(np.float64),
}

DUMMY_FIELD_PREFIX = "unnamed_field"


def read_points(
    cloud: PointCloud2,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable[int] | None = None,
    reshape_organized_cloud: bool = False,
) -> np.ndarray:
    """Read points as a structured array.

    Args:
        cloud: The message.
        field_names: Fields to read, in this order; all where None.
        skip_nans: Whether points with a NaN in one of these fields are left out; does nothing
            where the cloud says `is_dense`.
        uvs: Indices of the points to read (after NaNs were left out).
        reshape_organized_cloud: Whether a cloud of more than one row comes as (width, height).

    Returns:
        (n,) structured array in native byte order. It shares the message's memory unless bytes
        were swapped or points chosen.
    """
    assert isinstance(cloud, PointCloud2), "Cloud is not a sensor_msgs.msg.PointCloud2"
    points: np.ndarray = np.ndarray(
        shape=(cloud.width * cloud.height,),
        dtype=dtype_from_fields(cloud.fields, point_step=cloud.point_step),
        buffer=cloud.data,
    )
    names = points.dtype.names or ()
    if field_names is not None:
        assert all(name in names for name in field_names), (
            "Requests field is not in the fields of the PointCloud!"
        )
        points = points[list(field_names)]
    if bool(cloud.is_bigendian) != (sys.byteorder == "big"):
        points = points.byteswap()
    if skip_nans and not cloud.is_dense:
        points = points[~_any_nan(points)]
    if uvs is not None:
        points = points[uvs if isinstance(uvs, np.ndarray) else np.fromiter(uvs, int)]
    if reshape_organized_cloud and cloud.height > 1:
        points = points.reshape(cloud.width, cloud.height)
    return points


def read_points_numpy(
    cloud: PointCloud2,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable[int] | None = None,
    reshape_organized_cloud: bool = False,
) -> np.ndarray:
    """Read fields of one type as a plain array; the arguments are those of read_points.

    Returns:
        (n, number of fields) array.
    """
    wanted = [f for f in cloud.fields[1:] if field_names is None or f.name in field_names]
    assert all(cloud.fields[0].datatype == field.datatype for field in wanted), (
        "All fields need to have the same datatype. Use `read_points()` otherwise."
    )
    points = read_points(cloud, field_names, skip_nans, uvs, reshape_organized_cloud)
    return structured_to_unstructured(points)


def read_points_list(
    cloud: PointCloud2,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable[int] | None = None,
) -> list[Any]:
    """Read points as a list of named tuples; the arguments are those of read_points."""
    assert isinstance(cloud, PointCloud2), "cloud is not a sensor_msgs.msg.PointCloud2"
    if field_names is None:
        field_names = [field.name for field in cloud.fields]
    point_type = namedtuple("Point", field_names)  # type: ignore[misc]
    return [point_type._make(p) for p in read_points(cloud, field_names, skip_nans, uvs)]


def dtype_from_fields(fields: Iterable[PointField], point_step: int | None = None) -> np.dtype:
    """Make the structured type that a cloud's fields describe.

    Args:
        fields: The fields. One without name is called `unnamed_field_<position>`; one with a
            count above 1 becomes `<name>_0`, `<name>_1`, ….
        point_step: Bytes per point; just enough for the fields where None.

    Returns:
        The type, every field at its offset.
    """
    names: list[str] = []
    formats: list[str] = []
    offsets: list[int] = []
    for position, field in enumerate(fields):
        datatype = _DATATYPES[field.datatype]
        name = field.name or f"{DUMMY_FIELD_PREFIX}_{position}"
        assert field.count > 0, "Can't process fields with count = 0."
        for element in range(field.count):
            subname = f"{name}_{element}" if field.count > 1 else name
            assert subname not in names, "Duplicate field names are not allowed!"
            names.append(subname)
            formats.append(datatype.str)
            offsets.append(field.offset + element * datatype.itemsize)
    layout: dict[str, Any] = {"names": names, "formats": formats, "offsets": offsets}
    if point_step is not None:
        layout["itemsize"] = point_step
    return np.dtype(layout)  # type: ignore[call-overload]


def create_cloud(
    header: Header,
    fields: Sequence[PointField],
    points: Iterable[Any],
    point_step: int | None = None,
) -> PointCloud2:
    """Make a cloud.

    Args:
        header: Its header.
        fields: Its fields.
        points: A structured array of exactly these fields; or a plain array (…, number of fields)
            where they are all of one type; or any iterable of points. With one more dimension
            the cloud is organized: (width, height).
        point_step: Bytes per point; just enough for the fields where None.

    Returns:
        The message, `is_dense` False, in native byte order.
    """
    dtype = dtype_from_fields(fields, point_step)
    if not isinstance(points, np.ndarray):
        array = np.array([tuple(point) for point in points], dtype=dtype)
    elif points.dtype.names is None:
        assert all(fields[0].datatype == field.datatype for field in fields[1:]), (
            "All fields need to have the same datatype. Pass a structured NumPy array with "
            "multiple dtypes otherwise."
        )
        array = unstructured_to_structured(points, dtype=dtype)
    else:
        assert points.dtype == dtype, (
            "PointFields and structured NumPy array dtype do not match for all fields! Check "
            "their field order, names and types."
        )
        array = points
    assert array.ndim <= 2, (
        "Too many dimensions for organized cloud! Points can only be organized in max. two "
        "dimensional space"
    )
    width, height = array.shape[0], array.shape[1] if array.ndim == 2 else 1
    cloud = PointCloud2(
        header=header,
        height=height,
        width=width,
        is_dense=False,
        is_bigendian=sys.byteorder == "big",
        fields=fields,
        point_step=array.dtype.itemsize,
        row_step=array.dtype.itemsize * width,
    )
    # The message's own array.array takes the bytes at once; given to the constructor, every
    # single one would be checked.
    cloud.data.frombytes(array.tobytes())
    return cloud


def create_cloud_xyz32(header: Header, points: Iterable[Any]) -> PointCloud2:
    """Make a cloud of float32 fields x, y, z; the arguments are those of create_cloud."""
    fields = [
        PointField(name=name, offset=4 * position, datatype=PointField.FLOAT32, count=1)
        for position, name in enumerate("xyz")
    ]
    return create_cloud(header, fields, points)


def _any_nan(points: np.ndarray) -> np.ndarray:
    """Mark the points (n,) with a NaN in any field."""
    marked = np.zeros(len(points), dtype=bool)
    for name in points.dtype.names or ():
        marked |= np.isnan(points[name])
    return marked
