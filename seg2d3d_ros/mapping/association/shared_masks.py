"""Which instances lie in which masks: by landmarks followed, and by what should be seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from seg2d3d_ros.geometry.masks import MaskStack
from seg2d3d_ros.mapping import forks
from seg2d3d_ros.mapping.association.consensus import (
    InMasks,
    main_masks,
    mask_key,
    split_mask_key,
)
from seg2d3d_ros.mapping.association.identities import Picture
from seg2d3d_ros.mapping.masks.visibility import LabelledPoints, are_in_front, are_sure, show_rows
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import IntArray

_PICTURES_AT_A_TIME = 64
_RANGE_M, _FAR_M = 60.0, 120.0
_NONE = np.zeros(0, dtype=np.int64)


class SharedMasks:
    """Landmarks of all instances, in the masks of the pictures that vote."""

    def __init__(
        self,
        state: MapState,
        pictures: list[Picture],
        instances_of: Callable[[IntArray], IntArray],
        building_classes: frozenset[int],
    ) -> None:
        """Look up whose the landmarks are.

        Args:
            state: The map.
            pictures: All pictures with their incidences.
            instances_of: Returns the instance (n,) of landmarks (n,), 0 for none.
            building_classes: Masks of other classes say nothing.
        """
        self._state, self._pictures, self._classes = state, pictures, building_classes
        self._voting = [k for k, p in enumerate(pictures) if p.is_voting]
        self.ids = state.landmark_ids()
        self.owner = instances_of(self.ids)
        self.followed = self._followed(instances_of)
        ids, owner = self.ids[self.owner > 0], self.owner[self.owner > 0]
        self._labelled = LabelledPoints.of(state.points(ids), state.sigma(ids), owner)
        self._owner_of = np.zeros(state.num_ids, dtype=np.int64)
        self._owner_of[ids] = owner

    def _followed(self, instances_of: Callable[[IntArray], IntArray]) -> InMasks:
        """Return the masks that landmarks were followed in."""
        voting = [(k, self._pictures[k].seen) for k in self._voting]
        rows = np.concatenate([_NONE, *(mask_key(k, seen.mask) for k, seen in voting)])
        ids = np.concatenate([_NONE, *(seen.ids for _, seen in voting)])
        known, index = np.unique(ids, return_inverse=True)
        return rows, instances_of(known)[index]

    def projected(self) -> InMasks:
        """Return instances in the `main_masks` that they should be seen in, in every picture.

        So parts of one building meet that were never followed at the same time.
        """
        return _joined([near for near, _ in self._shown.values()])

    def uncertain(self) -> tuple[InMasks, InMasks]:
        """Return whom landmarks too uncertain to be projected were followed in, and who is there.

        So what is known from afar alone meets what the map knows of the same building.

        Returns:
            Instances in the `main_masks` of those landmarks, and instances in the `main_masks`
            that they should be seen in, also from afar, in the same pictures.
        """
        held = main_masks(*_joined([self._unsure(k) for k in self._voting]))
        pictures = np.unique(split_mask_key(held[0])[0])
        return held, _joined([self._shown[k][1] for k in pictures.tolist()])

    def _unsure(self, number: int) -> InMasks:
        """Return the masks that landmarks were followed in whose uncertainty would show there."""
        picture, state = self._pictures[number], self._state
        T_base_cam = state.cameras[picture.camera].T_base_cam
        T_world_cam = state.frames[picture.frame].T_world_base @ T_base_cam
        ids = state.canonical(picture.seen.ids)
        depth = (state.points(ids) - T_world_cam[:3, 3]) @ T_world_cam[:3, 2]
        unsure = ~are_sure(state.sigma(ids), depth)
        return mask_key(number, picture.seen.mask[unsure]), self._owner_of[ids[unsure]]

    @cached_property
    def _shown(self) -> dict[int, tuple[InMasks, InMasks]]:
        """Return who should be seen in masks of each picture that votes: near by, and at all."""
        found = forks.in_order(self._shown_in, self._voting, _PICTURES_AT_A_TIME)
        return dict(zip(self._voting, found, strict=True))

    def _shown_in(self, number: int) -> tuple[InMasks, InMasks]:
        picture, state, nothing = self._pictures[number], self._state, (_NONE, _NONE)
        masks = state.frames[picture.frame].masks[picture.camera]
        places = [j for j, m in enumerate(masks) if m.class_id in self._classes]
        if len(places) < 2:
            return nothing, nothing
        at, points = (picture.frame, picture.camera), self._labelled
        rows, shown = show_rows(state, *at, points, _FAR_M * state.unit)
        stack = MaskStack([(masks[j].bbox_px, masks[j].runs) for j in places])
        mask, point = stack.hits(shown.uv_px)
        offset = points.points_world[rows[point], :2] - state.T_world_cam(*at)[:2, 3]
        is_near = np.square(offset).sum(axis=1) <= (_RANGE_M * state.unit) ** 2

        def seen(some: np.ndarray) -> InMasks:
            of, which = mask[some], point[some]
            if not len(of):
                return nothing
            depths = np.split(shown.depth_m[which], np.flatnonzero(np.diff(of)) + 1)
            front = np.concatenate([are_in_front(depth) for depth in depths])
            of, which = of[front], which[front]
            return main_masks(mask_key(number, np.array(places)[of]), shown.instances[which])

        return seen(is_near), seen(np.ones(len(mask), dtype=bool))


def _joined(parts: Sequence[InMasks]) -> InMasks:
    rows, owners = zip((_NONE, _NONE), *parts, strict=True)
    return np.concatenate(rows), np.concatenate(owners)
