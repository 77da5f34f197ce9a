"""Fill facades: where masks show a building and its planes are known, rays meet them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial import cKDTree

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import masks as pixel_masks
from seg2d3d_ros.mapping.facades import find_facades, meet
from seg2d3d_ros.mapping.fusion import FusedPoints, PlacedSamples
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import MaskAssignment

_COLUMNS = 80
_MAX_RANGE_M = 50.0
# Coarser than what was measured, so that it gives way wherever something was.
_LEAST_SIGMA_M = 0.12

Names = Mapping[tuple[int, int], list[MaskAssignment]]


class FacadeFiller:
    """The facades of every instance, and samples on them wherever a mask of it shows them.

    A window that mirrors, a blank wall or the upper floors seen from far away carry no depth; but
    the mask says that they belong to the building, and the building has few planes. Masks of
    unknown class are left alone: trees and hedges have none.
    """

    def __init__(self, state: MapState, measured: FusedPoints, reach_m: float) -> None:
        """Find the facades in points that were measured; they go on for `reach_m` beyond them."""
        self._state = state
        self._measured = measured
        self._tree = cKDTree(measured.points)
        self._facades = {}
        for i in np.unique(measured.instances[measured.instances > 0]).tolist():
            rows = measured.instances == i
            points, edge_m = measured.points[rows], measured.edge_m[rows]
            self._facades[i] = find_facades(points, edge_m, reach_m, seed=i)
        self._lattice = [_lattice(c.width_px, c.height_px) for c in state.cameras]
        self._rays = [
            np.c_[models.normalize(c, uv), np.ones(len(uv))]
            for c, uv in zip(state.cameras, self._lattice, strict=True)
        ]

    def fill(self, keyframes: Sequence[int], names: Names) -> PlacedSamples:
        """Return samples on the facades that the masks of keyframes show.

        Args:
            keyframes: Positions in the map.
            names: What the masks of each picture are called, by (frame, camera).
        """
        parts = [
            self._fill_mask(k, c, row, named)
            for k in keyframes
            for c, masks in sorted(self._state.frames[k].masks.items())
            for row, named in enumerate(names.get((k, c), []))
            if masks[row].class_id and self._facades.get(named.instance)
        ]
        if not parts:
            return _nothing()
        fields = vars(parts[0])
        return PlacedSamples(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in fields})

    def _fill_mask(self, k: int, c: int, row: int, named: MaskAssignment) -> PlacedSamples:
        frame, camera = self._state.frames[k], self._state.cameras[c]
        mask, facades = frame.masks[c][row], self._facades[named.instance]
        inside = pixel_masks.contains(mask.bbox_px, mask.runs, self._lattice[c])
        T_world_cam = frame.T_world_base @ camera.T_base_cam
        center, rays = T_world_cam[:3, 3], self._rays[c][inside] @ T_world_cam[:3, :3].T
        depth, which = meet(facades, center, rays)
        met = depth < _MAX_RANGE_M
        points = center + rays[met] * depth[met, None]
        sigma = np.maximum([f.sigma_m for f in facades], _LEAST_SIGMA_M)
        num = len(points)
        return PlacedSamples(
            points=points,
            sigma_m=sigma[which[met]],
            keyframe=np.full(num, k),
            instance=np.full(num, named.instance),
            class_id=np.full(num, named.label // 1000),
            colors_rgb=self._colors(points),
        )

    def _colors(self, points: np.ndarray) -> np.ndarray:
        """Return the colours (n, 3) of the measured points nearest to points (n, 3)."""
        return self._measured.colors_rgb[self._tree.query(points)[1]]


def _lattice(width_px: int, height_px: int) -> np.ndarray:
    step = max(1, width_px // _COLUMNS)
    u, v = np.arange(step // 2, width_px, step), np.arange(step // 2, height_px, step)
    return np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2).astype(np.float64)


def _nothing() -> PlacedSamples:
    none = np.zeros(0, dtype=np.int64)
    return PlacedSamples(
        np.zeros((0, 3)), np.zeros(0), none, none, none, np.zeros((0, 3), dtype=np.uint8)
    )
