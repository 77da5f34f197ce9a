"""What lies near, without asking everything there is."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.types import FloatArray

_TILE_M = 50.0


class TileIndex:
    """Numbered things by the square tiles of the ground that they reach into."""

    def __init__(self) -> None:
        """Start empty."""
        self._by_tile: dict[tuple[int, int], set[int]] = {}
        self._tiles_of: dict[int, set[tuple[int, int]]] = {}

    def put(self, number: int, points_world: FloatArray) -> None:
        """Say where a thing is now: at these points (n, 3); nowhere without any."""
        tiles = _tiles(points_world[:, :2])
        before = self._tiles_of.pop(number, set())
        for tile in before - tiles:
            self._by_tile[tile].discard(number)
            if not self._by_tile[tile]:
                del self._by_tile[tile]
        for tile in tiles - before:
            self._by_tile.setdefault(tile, set()).add(number)
        if tiles:
            self._tiles_of[number] = tiles

    def near(self, centers_world: FloatArray, range_m: float) -> list[int]:
        """Return, sorted, all things within a range of any centre (n, 3), and some beyond it."""
        reach = int(np.ceil(range_m / _TILE_M))
        found: set[int] = set()
        wanted = {
            (x + i, y + j)
            for x, y in _tiles(centers_world[:, :2])
            for i in range(-reach, reach + 1)
            for j in range(-reach, reach + 1)
        }
        for tile in wanted:
            found |= self._by_tile.get(tile, set())
        return sorted(found)


def _tiles(xy: FloatArray) -> set[tuple[int, int]]:
    index = np.unique(np.floor(xy / _TILE_M).astype(np.int64), axis=0)
    return {(x, y) for x, y in index.tolist()}
