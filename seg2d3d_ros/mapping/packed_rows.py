"""Rows of a sparse matrix by number, end to end in one pool of columns and values."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from seg2d3d_ros.mapping.reserve import enlarged
from seg2d3d_ros.types import IntArray

_MIN_GAPS = 1 << 16
_MAX_GAP_SHARE = 0.5


class PackedRows:
    """A square matrix that grows, of which some rows at a time are read and written.

    A row that is written goes to the end of the pool and leaves a gap where it was; the pool is
    packed when gaps take half as much as rows. So reading and writing cost what the rows hold,
    whatever else there is. Values are sums of whole votes: float32 holds them exactly up to 2^24.
    """

    def __init__(self) -> None:
        """Start without rows."""
        self._start = np.zeros(0, dtype=np.int64)
        self._size = np.zeros(0, dtype=np.int64)
        self._columns = np.zeros(0, dtype=np.int32)
        self._values = np.zeros(0, dtype=np.float32)
        self._end = 0
        self._num_entries = 0
        self._num_rows = 0

    def __len__(self) -> int:
        """Return the number of rows, which is that of the columns."""
        return self._num_rows

    @property
    def num_entries(self) -> int:
        """Return how many values there are."""
        return self._num_entries

    @property
    def num_held(self) -> int:
        """Return for how many values memory is taken, gaps and reserve included."""
        return len(self._values)

    def grow(self, num_rows: int) -> None:
        """Have at least so many rows; new ones are empty."""
        self._start, self._size = (enlarged(a, num_rows) for a in (self._start, self._size))
        self._num_rows = max(self._num_rows, num_rows)

    def take(self, numbers: IntArray) -> sparse.csr_array:
        """Return some rows (n, len); a negative number is an empty row."""
        size = np.where(numbers >= 0, self._size[numbers], 0) if len(self) else 0 * numbers
        bounds = np.concatenate([[0], np.cumsum(size)])
        at = _ranges(self._start[numbers] if len(self) else size, size, bounds)
        parts = (self._values[at], self._columns[at], bounds)
        return sparse.csr_array(parts, shape=(len(numbers), len(self)))

    def put(self, numbers: IntArray, rows: sparse.csr_array) -> None:
        """Replace some rows (n, len), each named once."""
        end = self._end + rows.nnz
        if end > len(self._values):
            self._columns, self._values = (enlarged(a, end) for a in (self._columns, self._values))
        self._columns[self._end : end] = rows.indices
        self._values[self._end : end] = rows.data
        self._num_entries += rows.nnz - int(self._size[numbers].sum())
        self._start[numbers] = self._end + rows.indptr[:-1]
        self._size[numbers] = np.diff(rows.indptr)
        self._end = end
        if end - self._num_entries > max(_MIN_GAPS, _MAX_GAP_SHARE * self._num_entries):
            self._pack()

    def _pack(self) -> None:
        """Close the gaps."""
        bounds = np.concatenate([[0], np.cumsum(self._size)])
        at = _ranges(self._start, self._size, bounds)
        self._columns, self._values = self._columns[at], self._values[at]
        self._start, self._end = bounds[:-1], int(bounds[-1])


def _ranges(start: IntArray, size: IntArray, bounds: IntArray) -> IntArray:
    """Return start .. start + size - 1 of each range (n,), one after another."""
    return np.repeat(start - bounds[:-1], size) + np.arange(bounds[-1])
