"""Fill facades: of all that their planes could hold, what the masks of many pictures show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from scipy.spatial import cKDTree

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.masks import MaskStack
from seg2d3d_ros.mapping import forks
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.mapping.surface.boxes import SurfaceCells
from seg2d3d_ros.mapping.surface.facades import CELL_M, Facade, among_like
from seg2d3d_ros.mapping.surface.fusion import FusedPoints, name_voxels
from seg2d3d_ros.mapping.surface.gables import is_gable
from seg2d3d_ros.mapping.tracks import Names
from seg2d3d_ros.types import FloatArray, IntArray, MaskAssignment

_COLUMNS = 80
_PICTURES_AT_A_TIME, _WORTH_A_FORK = 128, 32
_SPACING_M = 3.0
_MAX_RANGE_M = 80.0
_MIN_COSINE = 0.1
_NEAR_M = 5.0
# What must speak for a cell, of all that speaks about it.
_MIN_SHARE = 0.8
_DEPTH_SLACK_M = 0.75
_DEPTH_SLACK_RATIO = 0.03
# Coarser than what was measured.
_LEAST_SIGMA_M = 0.12
# Ground and sky hide nothing: road, sidewalk, parking, rail track, terrain, sky.
_BEHIND_ALL = (7, 8, 9, 10, 22, 23)
_NOBODY = -1
# Walls that end at another one stand across it.
_ACROSS = 0.3


class FacadeFiller:
    """The planes of every building in cells, and what pictures say for and against each cell.

    A window that mirrors, a blank wall or the upper floors seen from far away carry no depth; but
    the masks say what belongs to the building, and the building has few planes. A cell of a plane
    is part of it if it lies in masks of the building wherever it can be seen. Seen through, that
    is in front of a surface that was measured, or on the ground, in the sky or in the mask of
    another, it is not. Masks of unknown class say nothing: trees and hedges have no planes. Where
    a wall turns out to stand that was only guessed, those across it end.
    """

    def __init__(
        self, state: MapState, measured: FusedPoints, facades: Mapping[int, Sequence[Facade]]
    ) -> None:
        """Take the planes in.

        Args:
            state: The map.
            measured: Points fused from depths.
            facades: Planes by instance.
        """
        self._state, self._measured = state, measured
        flat = [(i, f) for i in sorted(facades) for f in facades[i]]
        self._facades = [f for _, f in flat]
        self._owners = np.array([i for i, _ in flat], dtype=np.int64)
        self._normals = np.array([f.normal for _, f in flat]).reshape(-1, 3)
        self._sigma_m = np.array([f.sigma_m for _, f in flat])
        centers = [f.centers().astype(np.float32) for _, f in flat]
        self._centers = np.concatenate([np.zeros((0, 3), np.float32), *centers])
        self._plane = np.repeat(np.arange(len(flat), dtype=np.int32), [len(c) for c in centers])
        none = np.zeros(0, dtype=bool)
        self._is_measured = np.concatenate([none, *(f.measured[f.cells] for _, f in flat)])
        self._is_dense = np.concatenate([none, *(f.dense[f.cells] for _, f in flat)])
        self._for, self._against = np.zeros((2, len(self._plane)), np.float32)
        self._spans = np.cumsum([0, *(len(c) for c in centers)])
        self._last = np.full(3, np.inf)
        self._lattices = [_lattice(c.width_px, c.height_px) for c in state.cameras]

    def look(self, keyframes: Sequence[int], names: Names) -> None:
        """Hear what the pictures of keyframes, 3 m or more apart, say about the cells.

        Args:
            keyframes: Positions in the map.
            names: What the masks of each picture are called, by (frame, camera).
        """
        pictures = []
        for k in keyframes:
            frame = self._state.frames[k]
            position = frame.T_world_base[:3, 3]
            if np.linalg.norm(position - self._last) >= _SPACING_M:
                self._last = position
                pictures += [(k, c, names.get((k, c), [])) for c in sorted(frame.masks)]
        for low in range(0, len(pictures), _PICTURES_AT_A_TIME):
            some = pictures[low : low + _PICTURES_AT_A_TIME]
            for rows, votes_for, against in forks.in_order(self._look, some, _WORTH_A_FORK):
                self._for[rows] += votes_for
                self._against[rows] += against

    def cells(self) -> SurfaceCells:
        """Return the cells that are part of a building: measured or shown, and no strays."""
        rows = np.flatnonzero(self._is_part())
        plane = self._plane[rows]
        return SurfaceCells(
            self._centers[rows].astype(np.float64),
            self._normals[plane],
            self._sigma_m[plane],
            self._owners[plane],
        )

    def filled(self) -> FusedPoints:
        """Return a point for each cell that is part of a building and was not measured."""
        rows = np.flatnonzero(self._is_part() & ~self._is_measured)
        ids, first = np.unique(name_voxels(self._centers[rows], CELL_M / 2), return_index=True)
        points = self._centers[rows[first]].astype(np.float64)
        plane, num = self._plane[rows[first]], len(first)
        _, nearest = cKDTree(self._measured.points).query(points)
        return FusedPoints(
            ids=ids,
            points=points,
            edge_m=np.full(num, CELL_M),
            sigma_m=np.maximum(self._sigma_m[plane], _LEAST_SIGMA_M),
            num_views=np.ones(num, dtype=np.int64),
            instances=self._owners[plane],
            classes=self._measured.classes[nearest],
            colors_rgb=self._measured.colors_rgb[nearest],
            toward=self._normals[plane],
        )

    def _is_part(self) -> np.ndarray:
        total = self._for + self._against
        kept = np.where(total > 0.0, self._for >= _MIN_SHARE * total, self._is_dense)
        out = np.zeros(len(kept), dtype=bool)
        gables = []
        for k, facade in enumerate(self._facades):
            rows = slice(*self._spans[k : k + 2])
            laid = np.zeros(facade.cells.shape, dtype=bool)
            laid[facade.cells] = kept[rows]
            laid = among_like(laid)
            if facade.is_guess:
                if not is_gable(laid, num_told=int((total[rows] > 0.0).sum())):
                    continue
                gables.append(k)
            out[rows] = laid[facade.cells]
        for k in gables:
            self._end_at(k, out)
        return out

    def _end_at(self, gable: int, is_part: np.ndarray) -> None:
        """Take away what of a building lies in front of its gable, on walls that end there."""
        normal, offset_m = self._normals[gable], self._facades[gable].offset_m
        ends = (self._owners == self._owners[gable]) & (np.abs(self._normals @ normal) < _ACROSS)
        for k in np.flatnonzero(ends).tolist():
            rows = slice(*self._spans[k : k + 2])
            is_beyond = self._centers[rows] @ normal - offset_m > CELL_M
            is_part[rows] &= ~is_beyond | self._is_dense[rows]

    def _look(
        self, picture: tuple[int, int, list[MaskAssignment]]
    ) -> tuple[IntArray, FloatArray, FloatArray]:
        """Let a picture speak; what it sees from nearby and from the front counts more.

        Returns:
            Cells (n,), and its votes for and against them.
        """
        k, c, named = picture
        camera = self._state.cameras[c]
        T_world_cam = self._state.T_world_cam(k, c)
        rows = self._rows_of({a.instance for a in named})
        toward = T_world_cam[:3, 3] - self._centers[rows]
        distance = np.linalg.norm(toward, axis=1)
        cosine = np.einsum("ni,ni->n", toward, self._normals[self._plane[rows]]) / np.maximum(
            distance, 1e-9
        )
        faced = np.flatnonzero((cosine > _MIN_COSINE) & (distance < _MAX_RANGE_M))
        p_cam = transforms.apply(transforms.invert(T_world_cam), self._centers[rows[faced]])
        uv, inside = models.project(camera, p_cam)
        seen = faced[inside]
        if not len(seen):
            return np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0)
        rows, distance = rows[seen], distance[seen]
        weight = cosine[seen] / np.maximum(distance, _NEAR_M)
        shown = self._owners_of(k, c, named)
        step = _step(camera.width_px)
        at = np.floor((uv[inside, ::-1] + 0.5) / step).astype(np.int64)
        pixel = tuple(np.minimum(at, np.array(shown.shape) - 1).T)
        owner, known = shown[pixel], self._is_dense[rows]
        depth = _nearest(shown.shape, pixel, np.where(known, distance, np.inf))
        slack = _DEPTH_SLACK_M + _DEPTH_SLACK_RATIO * distance
        is_free = distance <= depth + slack
        is_through = ~known & (distance < depth - slack) & np.isfinite(depth)
        is_own = owner == self._owners[self._plane[rows]]
        is_against = is_free & (is_through | (~is_own & (owner != 0)))
        return rows, weight * (is_free & is_own & ~is_through), weight * is_against

    def _rows_of(self, instances: set[int]) -> IntArray:
        """Return the cells of some buildings."""
        planes = np.flatnonzero(np.isin(self._owners, [i for i in instances if i > 0]))
        spans = [np.arange(*self._spans[[p, p + 1]]) for p in planes]
        return np.concatenate([np.zeros(0, dtype=np.int64), *spans])

    def _owners_of(self, k: int, c: int, named: list[MaskAssignment]) -> IntArray:
        """Return whose the pixels of the lattice (h, w) are: -1 of nobody, 0 unknown."""
        lattice, shape = self._lattices[c]
        masks = self._state.frames[k].masks[c]
        stack = MaskStack([(m.bbox_px, m.runs) for m in masks])
        inside = stack.contain(lattice)
        owner = np.zeros(len(lattice), dtype=np.int64)
        for j in np.argsort(-stack.areas, kind="stable").tolist():
            class_id = masks[j].class_id
            instance = named[j].instance if class_id else 0
            owner[inside[j]] = _NOBODY if class_id in _BEHIND_ALL else instance
        return owner.reshape(shape)


def _nearest(
    shape: tuple[int, int], pixel: tuple[IntArray, ...], distance: FloatArray
) -> FloatArray:
    """Return how far the nearest thing is at each of n pixels, or beside it."""
    field = np.full(shape, np.inf)
    np.minimum.at(field, pixel, distance)
    around: FloatArray = cv2.erode(field, np.ones((3, 3), np.uint8))[pixel]
    return around


def _step(width_px: int) -> int:
    return max(1, width_px // _COLUMNS)


def _lattice(width_px: int, height_px: int) -> tuple[FloatArray, tuple[int, int]]:
    """Return the middle pixels (n, 2) of squares of the picture, row by row, and their number."""
    step = _step(width_px)
    u, v = np.arange(step // 2, width_px, step), np.arange(step // 2, height_px, step)
    pixels = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2).astype(np.float64)
    return pixels, (len(v), len(u))
