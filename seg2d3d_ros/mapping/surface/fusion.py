"""Fuse measured depths: voxels as large as the samples are uncertain, kept where keyframes agree.

A voxel is named by one integer: its level (each doubles the edge) and its three coordinates. All
that is summed can be added up chunk by chunk, so that a long drive is fused a part at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from seg2d3d_ros.mapping.columns import Columns
from seg2d3d_ros.types import FloatArray, IntArray

NUM_LEVELS = 4
FIRST_ID = 1 << 62
_BITS = 19
_RANGE = 1 << _BITS
# A sample may scatter over half the edge of its voxel.
_SIGMA_PER_EDGE = 0.5
# Samples of one keyframe err together; and a voxel is no better known than its neighbours tell.
_LEAST_SIGMA_M = 0.02

Table: TypeAlias = dict[str, np.ndarray]


@dataclass(frozen=True)
class PlacedSamples:
    """Depth samples in the world, n of them.

    Attributes:
        points: (n, 3) metres.
        sigma_m: (n,) standard deviation along the ray.
        keyframe: (n,) which measured it; a keyframe belongs to one chunk only.
        instance: (n,) of the mask, 0 none.
        class_id: (n,) of the mask.
        colors_rgb: (n, 3).
        toward: (n, 3) unit, to the camera.
    """

    points: FloatArray
    sigma_m: FloatArray
    keyframe: IntArray
    instance: IntArray
    class_id: IntArray
    colors_rgb: np.ndarray
    toward: FloatArray


@dataclass(frozen=True)
class FusedPoints(Columns):
    """One point per voxel on which keyframes agree, or that masks show, m of them, by id.

    Attributes:
        ids: (m,) of the voxel, above all landmarks.
        points: (m, 3) metres.
        edge_m: (m,) edge of the voxel.
        sigma_m: (m,).
        num_views: (m,) keyframes that measured it or a neighbour in the voxel twice as large.
        instances: (m,) most voted for, 0 none.
        classes: (m,) most voted for.
        colors_rgb: (m, 3) uint8.
        toward: (m, 3) mean direction to those who measured it.
    """

    ids: IntArray
    points: FloatArray
    edge_m: FloatArray
    sigma_m: FloatArray
    num_views: IntArray
    instances: IntArray
    classes: IntArray
    colors_rgb: np.ndarray
    toward: FloatArray


@dataclass(frozen=True)
class Chunk:
    """Sums over samples: by voxel, by the voxel twice as large, by voxel and its name."""

    voxels: Table
    parents: Table
    votes: Table
    edge_m: float


def sum_up(samples: PlacedSamples, edge_m: float) -> Chunk:
    """Sort samples into voxels and sum them up.

    Args:
        samples: Those of whole keyframes.
        edge_m: Edge of the smallest voxel, metres; samples too uncertain for the largest are left.
    """
    least = _SIGMA_PER_EDGE * edge_m
    usable = samples.sigma_m <= least * 2 ** (NUM_LEVELS - 1)
    sigma = samples.sigma_m[usable]
    level = np.ceil(np.log2(np.maximum(sigma / least, 1.0))).astype(np.int64)
    points, keyframe = samples.points[usable], samples.keyframe[usable]
    cell = np.floor(points / (edge_m * 2.0**level)[:, None]).astype(np.int64)
    key, parent = _pack(level, cell), _pack(level, cell >> 1)
    weight = 1.0 / np.maximum(sigma, _LEAST_SIGMA_M) ** 2
    voxels = {
        "key": key,
        "parent": parent,
        "num": np.ones(len(key)),
        "weight": weight,
        "points": weight[:, None] * points,
        "colors": samples.colors_rgb[usable].astype(np.float64),
        "toward": samples.toward[usable],
    }
    seen = _grouped({"key": parent, "keyframe": keyframe}, ("key", "keyframe"))
    name = (samples.instance[usable] << 16) + samples.class_id[usable]
    return Chunk(
        _grouped(voxels, ("key", "parent")),
        _grouped({"key": seen["key"], "num": np.ones(len(seen["key"]))}, ("key",)),
        _grouped({"key": key, "name": name, "num": np.ones(len(key))}, ("key", "name")),
        edge_m,
    )


def add_up(chunks: list[Chunk]) -> Chunk:
    """Return the sums over all chunks; at least one is needed."""
    return Chunk(
        _grouped(_stacked([c.voxels for c in chunks]), ("key", "parent")),
        _grouped(_stacked([c.parents for c in chunks]), ("key",)),
        _grouped(_stacked([c.votes for c in chunks]), ("key", "name")),
        chunks[0].edge_m,
    )


def by_id(parts: Sequence[FusedPoints]) -> FusedPoints:
    """Return points that share no voxel, by id; at least one part is needed."""
    every = FusedPoints.joined(parts)
    return every.take(np.argsort(every.ids))


def fuse(total: Chunk, min_views: int) -> FusedPoints:
    """Return a point for each voxel in whose surroundings enough keyframes measured something.

    Of voxels of several sizes at one place the smallest are kept.
    """
    voxels = total.voxels
    views = total.parents["num"][np.searchsorted(total.parents["key"], voxels["parent"])]
    kept = np.flatnonzero(views >= min_views)
    kept = kept[_is_finest(voxels["key"][kept])]
    key, weight = voxels["key"][kept], voxels["weight"][kept]
    name = _winners(total.votes, key)
    num = voxels["num"][kept]
    return FusedPoints(
        ids=FIRST_ID + key,
        points=voxels["points"][kept] / weight[:, None],
        edge_m=total.edge_m * 2.0 ** (key >> 3 * _BITS),
        sigma_m=np.sqrt(num / weight / np.minimum(num, views[kept])),
        num_views=views[kept].astype(np.int64),
        instances=name >> 16,
        classes=name & 0xFFFF,
        colors_rgb=np.round(voxels["colors"][kept] / num[:, None]).astype(np.uint8),
        toward=voxels["toward"][kept] / num[:, None],
    )


def name_voxels(points: FloatArray, edge_m: float) -> IntArray:
    """Return ids (n,) for points (n, 3) that nobody measured: of their voxels of this edge."""
    cell = np.floor(points / edge_m).astype(np.int64)
    return FIRST_ID + _pack(np.full(len(points), NUM_LEVELS), cell)


def _pack(level: IntArray, cell: IntArray) -> IntArray:
    x, y, z = ((cell + _RANGE // 2) & (_RANGE - 1)).T
    return ((((level << _BITS) + z) << _BITS) + y << _BITS) + x


def unpack(key: IntArray) -> tuple[IntArray, IntArray]:
    """Return the level (n,) and the coordinates (n, 3) that keys (n,) are made of."""
    cell = np.stack([key >> k * _BITS for k in range(3)], axis=1) & (_RANGE - 1)
    return key >> 3 * _BITS, cell - _RANGE // 2


def _is_finest(key: IntArray) -> np.ndarray:
    """Return for which voxels (n,), by ascending key, no smaller one lies inside."""
    level, cell = unpack(key)
    finest = np.ones(len(key), dtype=bool)
    for coarse in range(1, NUM_LEVELS):
        rows = np.flatnonzero(level == coarse)
        for fine in range(coarse):
            inner = level == fine
            around = _pack(np.full(int(inner.sum()), coarse), cell[inner] >> (coarse - fine))
            finest[rows] &= ~np.isin(key[rows], around)
    return finest


def _winners(votes: Table, key: IntArray) -> IntArray:
    """Return the name (n,) with most votes of each voxel; one that is an instance goes before."""
    is_instance = votes["name"] >> 16 > 0
    order = np.lexsort((votes["name"], -votes["num"], ~is_instance, votes["key"]))
    sorted_key = votes["key"][order]
    return votes["name"][order[np.searchsorted(sorted_key, key)]]


def _stacked(tables: list[Table]) -> Table:
    return {n: np.concatenate([t[n] for t in tables]) for n in tables[0]}


def _grouped(table: Table, names: tuple[str, ...]) -> Table:
    """Sum all other columns over the rows that agree in the named ones, and sort by these."""
    order = np.lexsort([table[n] for n in reversed(names)])
    first = np.zeros(len(order), dtype=bool)
    for n in names:
        column = table[n][order]
        first[1:] |= column[1:] != column[:-1]
    first[:1] = True
    start = np.flatnonzero(first)
    out = {n: table[n][order][start] for n in names}
    for n in table.keys() - set(names):
        rows = table[n][order]
        out[n] = np.add.reduceat(rows, start, axis=0) if len(start) else rows
    return out
