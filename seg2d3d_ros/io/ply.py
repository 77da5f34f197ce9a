"""Point clouds as binary little-endian PLY files of plain vertices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.types import FloatArray, PointCloud

_TYPES = {
    "float": "<f4",
    "float32": "<f4",
    "double": "<f8",
    "float64": "<f8",
    "uchar": "u1",
    "uint8": "u1",
    "char": "i1",
    "ushort": "<u2",
    "short": "<i2",
    "uint": "<u4",
    "uint32": "<u4",
    "int": "<i4",
    "int32": "<i4",
}
_NAMES = {"<f4": "float", "<f8": "double", "|u1": "uchar", "<u4": "uint", "<i4": "int"}

CLOUD_DTYPE = np.dtype(
    [(name, "<f4") for name in "xyz"]
    + [(name, "u1") for name in ("red", "green", "blue")]
    + [("label", "<u4"), ("instance", "<u4"), ("sigma_m", "<f4"), ("num_views", "<u4")]
)


def cloud_vertices(cloud: PointCloud) -> NDArray[Any]:
    """Return the points (n,) with x y z, colour, label, instance and quality."""
    vertices = np.zeros(len(cloud.points_map), dtype=CLOUD_DTYPE)
    for i, name in enumerate("xyz"):
        vertices[name] = cloud.points_map[:, i]
    for i, name in enumerate(("red", "green", "blue")):
        vertices[name] = cloud.colors_rgb[:, i]
    vertices["label"], vertices["instance"] = cloud.labels, cloud.instances
    vertices["sigma_m"], vertices["num_views"] = cloud.sigma_m, cloud.num_views
    return vertices


def positions_of(vertices: NDArray[Any]) -> FloatArray:
    """Return the positions (n, 3) of vertices."""
    return np.stack([vertices[axis].astype(np.float64) for axis in "xyz"], axis=1)


def write_ply(path: Path, vertices: NDArray[Any]) -> None:
    """Write a structured array (n,) as vertices, one property per field."""
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property {_NAMES[field[1]]} {field[0]}" for field in vertices.dtype.descr]
    with path.open("wb") as file:
        file.write("".join(f"{line}\n" for line in [*lines, "end_header"]).encode("ascii"))
        file.write(vertices.tobytes())


def read_ply(path: Path) -> NDArray[Any]:
    """Return the vertices (n,) of a binary little-endian PLY file as a structured array.

    Raises:
        ResultError: it is missing, of another format or shorter than its header says.
    """
    try:
        with path.open("rb") as file:
            dtype, num = _read_header(path, file)
            data = file.read(num * dtype.itemsize)
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error}") from error
    if len(data) < num * dtype.itemsize:
        raise ResultError(
            f"{path} is cut off: {len(data)} of {num * dtype.itemsize} bytes of points"
        )
    return np.frombuffer(data, dtype=dtype, count=num)


def _read_header(path: Path, file: Any) -> tuple[np.dtype[Any], int]:
    fields: list[tuple[str, str]] = []
    num, element = 0, ""
    if file.readline().strip() != b"ply":
        raise ResultError(f"{path} is no PLY file")
    for raw in iter(file.readline, b""):
        words = raw.decode("ascii", "replace").split()
        if words[:1] == ["format"] and words[1:2] != ["binary_little_endian"]:
            raise ResultError(f"{path} is {words[1]}; binary_little_endian is needed")
        if words[:1] == ["element"]:
            element = words[1]
            num = int(words[2]) if element == "vertex" else num
        if words[:1] == ["property"] and element == "vertex":
            if words[1] not in _TYPES:
                raise ResultError(f"{path}: properties of type {words[1]} are not understood")
            fields.append((words[2], _TYPES[words[1]]))
        if words == ["end_header"]:
            return np.dtype(fields), num
    raise ResultError(f"{path}: the header has no end")
