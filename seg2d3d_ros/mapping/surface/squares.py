"""Sums over depth samples by square of the ground, in the store until they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from seg2d3d_ros.mapping.archive import BlockStore
from seg2d3d_ros.mapping.surface.fusion import Chunk, Table, add_up, unpack
from seg2d3d_ros.types import IntArray

# A square is 256 of the smallest voxels wide (51 m of 0.2 m), and holds whole ones of every size.
_SQUARE_BITS = 8
# More than there are in a row.
_NUM_SQUARES = 1 << 20
_TABLES = ("voxels", "parents", "votes")


class SquareSums:
    """Sums of any number of chunks; in memory lies only what the square in hand needs.

    No voxel lies in two squares, and none twice as large does: what `fuse` makes of the squares
    one after another is what it would make of everything at once.
    """

    def __init__(self, store: BlockStore) -> None:
        """Start without sums; in the store they stay until the `with` block ends."""
        self._store = store
        self._chunks_in: dict[int, list[str]] = {}
        self._num_chunks = 0
        self._edge_m = 0.0

    def __enter__(self) -> SquareSums:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take out of the store what was put into it."""
        for names in self._chunks_in.values():
            for name in names:
                self._store.drop(name)

    def add(self, chunk: Chunk) -> None:
        """Take sums in, all of one edge."""
        squares = {n: _squares(getattr(chunk, n), n == "parents") for n in _TABLES}
        for square in np.unique(squares["voxels"]).tolist():
            name = f"sums/{square}/{self._num_chunks:06d}"
            arrays: Table = {}
            for n in _TABLES:
                rows = np.flatnonzero(squares[n] == square)
                arrays |= {f"{n} {k}": column[rows] for k, column in getattr(chunk, n).items()}
            self._store.put(name, arrays)
            self._chunks_in.setdefault(square, []).append(name)
        self._num_chunks += 1
        self._edge_m = chunk.edge_m

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the sums of each square, in the order in which chunks first reached into them."""
        for names in self._chunks_in.values():
            yield add_up([self._read(name) for name in names])

    def _read(self, name: str) -> Chunk:
        tables: dict[str, Table] = {n: {} for n in _TABLES}
        for key, column in self._store.get(name).items():
            n, k = key.split()
            tables[n][k] = column
        return Chunk(**tables, edge_m=self._edge_m)


def _squares(table: Table, is_doubled: bool) -> IntArray:
    """Return the square of each row of a table (n,), as one number: by x, then by y."""
    level, cell = unpack(table["key"])
    x, y, _ = (cell << (level + is_doubled)[:, None] >> _SQUARE_BITS).T
    return x * _NUM_SQUARES + y + _NUM_SQUARES // 2
