"""Stamps, arrays and transforms of messages.

Assigning a NumPy array to a message's list field copies it element by element (168 ms for a small
picture); an `array.array` of the field's type code is taken as it is (0.05 ms).
"""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import ArrayLike, DTypeLike, NDArray

_NS = 1_000_000_000


def to_time(stamp_ns: int) -> Time:
    """Return a stamp in nanoseconds as a message."""
    sec, nanosec = divmod(int(stamp_ns), _NS)
    return Time(sec=sec, nanosec=nanosec)


def from_time(stamp: Time) -> int:
    """Return a stamp message in nanoseconds."""
    return stamp.sec * _NS + stamp.nanosec


def to_array(values: ArrayLike, dtype: DTypeLike) -> array.array:
    """Return values, row-major, as the `array.array` that a message field takes at once.

    Args:
        values: numbers of any shape.
        dtype: dtype of the field; values must fit it exactly.

    Raises:
        OverflowError: an integer does not fit the field.
    """
    given = np.asarray(values)
    flat = np.ascontiguousarray(given, dtype=dtype)
    if flat.dtype != given.dtype and flat.dtype.kind in "iu" and not np.array_equal(flat, given):
        raise OverflowError(f"values up to {given.max()} do not fit a field of {flat.dtype}")
    made = array.array({"l": "q", "L": "Q"}.get(flat.dtype.char, flat.dtype.char))
    made.frombytes(flat.tobytes())
    return made


def from_array(field: Any, dtype: DTypeLike, *shape: int) -> NDArray[Any]:
    """Return a message's list field as an array of its own (`shape` as in reshape)."""
    values = np.frombuffer(field, dtype=field.typecode) if len(field) else np.zeros(0)
    return values.astype(dtype).reshape(shape or (-1,))


def to_transform(T: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upper three rows (12,), row-major, of a (4, 4) transform."""
    return np.ascontiguousarray(T[:3], dtype=np.float64).reshape(12)


def from_transform(rows: ArrayLike) -> NDArray[np.float64]:
    """Return the (4, 4) transform of its upper three rows (12,), row-major."""
    T = np.eye(4)
    T[:3] = np.asarray(rows, dtype=np.float64).reshape(3, 4)
    return T
