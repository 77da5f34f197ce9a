"""Rows of a sparse symmetric matrix by number, those not in use packed into arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.types import IntArray

Row = dict[int, float]


class PackedRows(MutableMapping[int, Row]):
    """A dict of dicts of numbers; a packed row takes about a tenth of the memory.

    Reading a packed row opens it again, so that what is read may be changed in place. Values are
    sums of whole votes: packed as float32 they are exact up to 2^24.
    """

    def __init__(self) -> None:
        """Start without rows."""
        self._open: dict[int, Row] = {}
        self._packed: dict[int, tuple[IntArray, NDArray[np.float32]]] = {}

    @property
    def num_open(self) -> int:
        """Return how many rows are not packed."""
        return len(self._open)

    def __getitem__(self, number: int) -> Row:
        """Return a row, opened; KeyError if there is none."""
        if number not in self._open:
            columns, values = self._packed.pop(number)
            self._open[number] = dict(zip(columns.tolist(), values.tolist(), strict=True))
        return self._open[number]

    def __setitem__(self, number: int, row: Row) -> None:
        """Replace a row."""
        self._packed.pop(number, None)
        self._open[number] = row

    def __delitem__(self, number: int) -> None:
        """Drop a row; KeyError if there is none."""
        if self._packed.pop(number, None) is None:
            del self._open[number]

    def __iter__(self) -> Iterator[int]:
        """Return the numbers of all rows; opening rows meanwhile does no harm."""
        return iter([*self._packed, *self._open])

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._packed) + len(self._open)

    def opened(self, numbers: Iterable[int]) -> dict[int, Row]:
        """Return the open rows, these among them, made where there are none."""
        for number in numbers:
            if number not in self._open:
                self._open[number] = self[number] if number in self._packed else {}
        return self._open

    def arrays(self, number: int) -> tuple[IntArray, NDArray[np.float32]]:
        """Return columns and values of a row, empty where there is none; it stays packed."""
        if number in self._packed:
            return self._packed[number]
        return _packed(self._open.get(number, {}))

    def peek(self, number: int) -> Row:
        """Return a copy of a row, empty where there is none, and leave it packed."""
        if number in self._open:
            return dict(self._open[number])
        columns, values = self.arrays(number)
        return dict(zip(columns.tolist(), values.tolist(), strict=True))

    def pack(self, keep: set[int]) -> None:
        """Pack all rows but those to keep open."""
        for number in [n for n in self._open if n not in keep]:
            self._packed[number] = _packed(self._open.pop(number))


def _packed(row: Row) -> tuple[IntArray, NDArray[np.float32]]:
    columns = np.fromiter(row.keys(), dtype=np.int64, count=len(row))
    return columns, np.fromiter(row.values(), dtype=np.float32, count=len(row))
