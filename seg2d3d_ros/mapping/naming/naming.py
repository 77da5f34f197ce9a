"""What speaks for which instance in each mask: its landmarks, and the map projected into it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from seg2d3d_ros.geometry.masks import MaskStack
from seg2d3d_ros.mapping.association.identities import Picture
from seg2d3d_ros.mapping.masks.visibility import (
    LabelledPoints,
    Shown,
    are_sure,
    hidden_by_neighbours,
    show,
)
from seg2d3d_ros.mapping.naming.agreement import Evidence
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, IntArray

_TRACKED_WEIGHT = 0.75
_ENOUGH_TRACKED = 6.0
_ENOUGH_SHOWN = 4.0
_NUM_SAMPLES = 48
# How far points hide, of the edge of a square as large as the mask, and at least.
_HIDING_REACH, _LEAST_REACH_PX = 0.35, 6.0
# How far points cover, of the same edge, and at least.
_COVER_REACH, _LEAST_COVER_PX = 0.4, 4.0


@dataclass(frozen=True)
class PictureEvidence:
    """Evidence of each mask of a picture, and the number of landmarks tracked in it."""

    votes: list[Evidence]
    num_tracked: list[int]


def weigh_picture(
    state: MapState,
    picture: Picture,
    labelled: LabelledPoints,
    instance_of: IntArray,
    building_classes: frozenset[int],
    range_m: float,
) -> list[Evidence]:
    """Say what speaks for which instance in each mask of a picture.

    Three shares are added up: of the mask's tracked landmarks, of its area by the nearest point of
    the map, and of the instance's points in this picture that lie in this mask. The last one keeps
    a building, whose own mask explains it, out of the masks around it.

    Args:
        state: The map.
        picture: The picture with its incidence.
        labelled: Points with instances, confirmed ones only.
        instance_of: (n,) instance of the landmarks in `picture.seen.ids`.
        building_classes: Masks of other classes get no evidence.
        range_m: Points further from the camera do not count.
    """
    masks = state.frames[picture.frame].masks[picture.camera]
    out: list[Evidence] = [Counter() for _ in masks]
    named = [k for k, mask in enumerate(masks) if mask.class_id in building_classes]
    if not named:
        return out
    stack = MaskStack([(m.bbox_px, m.runs) for m in masks])
    shown = show(state, picture.frame, picture.camera, labelled, range_m)
    inside = stack.contain(shown.uv_px)
    rows = _facing(shown, inside, stack.areas, named)
    followed, held = _followed(state, picture, instance_of, len(masks))
    shown = Shown.joined([shown.take(rows), followed])
    inside = np.concatenate([inside[:, rows], held], axis=1)
    is_there = np.bincount(np.concatenate([[0], instance_of, shown.instances])) > 0
    column, instances = np.cumsum(is_there) - 1, np.flatnonzero(is_there).tolist()
    shape, owner = (len(masks), len(instances)), column[shown.instances]
    votes = _tracked(_counted(picture.seen.mask, column[instance_of], shape))[named]
    votes += _covered(stack, named, shown.uv_px, inside, owner, len(instances))
    votes += _contained(inside[named], owner, len(instances))
    for k, row in zip(named, votes.tolist(), strict=True):
        out[k].update({i: vote for i, vote in zip(instances, row, strict=True) if vote})
    return out


def _followed(
    state: MapState, picture: Picture, instance_of: IntArray, num_masks: int
) -> tuple[Shown, np.ndarray]:
    """Return landmarks of instances, followed in masks, that are too uncertain to be projected.

    Where they are in this picture is certain. Without them, what is better known would speak for
    neighbours of an instance that is hardly known.

    Returns:
        The landmarks (n,), and which masks they lie in (num_masks, n).
    """
    frame = state.frames[picture.frame]
    rows = np.flatnonzero(instance_of > 0)
    ids = picture.seen.ids[rows]
    T_world_cam = state.T_world_cam(picture.frame, picture.camera)
    depth = (state.points(ids) - T_world_cam[:3, 3]) @ T_world_cam[:3, 2]
    unsure = ~are_sure(state.sigma(ids), depth)
    if not unsure.any():
        return Shown(np.zeros((0, 2)), np.zeros(0), rows[:0]), np.zeros((num_masks, 0), dtype=bool)
    rows, ids, depth = rows[unsure], ids[unsure], depth[unsure]
    here = np.flatnonzero(frame.camera == picture.camera)
    known = state.canonical(frame.ids[here])
    order = np.argsort(known, kind="stable")
    here, known = here[order], known[order]
    wanted = state.canonical(ids)
    at = np.searchsorted(known, wanted)
    # Adjustment has dropped some since.
    kept = np.flatnonzero(np.append(known, -1)[at] == wanted)
    rows, depth, at = rows[kept], depth[kept], here[at[kept]]
    held = picture.seen.mask[rows] == np.arange(num_masks)[:, None]
    return Shown(frame.uv_px[at].astype(np.float64), depth, instance_of[rows]), held


def _facing(shown: Shown, inside: np.ndarray, areas: IntArray, named: list[int]) -> IntArray:
    """Return the points that no other building of their mask hides, `inside` (m, n) its masks."""
    held = inside[named]
    mask = np.where(held.any(axis=0), np.array(named)[held.argmax(axis=0)], -1)
    reach = np.maximum(_LEAST_REACH_PX, _HIDING_REACH * np.sqrt(areas)[mask])
    return np.flatnonzero(~hidden_by_neighbours(shown, mask, reach))


def _tracked(num: IntArray) -> FloatArray:
    """Return shares (m, i) of the landmarks tracked in masks; a few weigh less than many.

    Args:
        num: (m, i) how many of each instance; the first is none.
    """
    num[:, 0] = 0
    total = num.sum(axis=1, keepdims=True)
    weight = _TRACKED_WEIGHT * np.minimum(total / _ENOUGH_TRACKED, 1.0)
    return np.asarray(weight * num / np.maximum(total, 1))


def _contained(inside: NDArray[np.bool_], owner: IntArray, size: int) -> FloatArray:
    """Return shares (m, size) of the points of instances that lie in masks; of a few, less.

    Args:
        inside: (m, n) which points lie in which masks.
        owner: (n,) instance of each point.
        size: How many instances there are.
    """
    mask, point = np.nonzero(inside)
    num = _counted(mask, owner[point], (len(inside), size))
    total = np.bincount(owner[inside.any(axis=0)], minlength=size)
    return np.asarray(num / np.maximum(total, 1) * np.minimum(num / _ENOUGH_SHOWN, 1.0))


def _counted(row: IntArray, column: IntArray, shape: tuple[int, int]) -> IntArray:
    """Return how often each pair of row (n,) and column (n,) is there."""
    num = np.bincount(row * shape[1] + column, minlength=shape[0] * shape[1])
    return num.reshape(shape)


def _samples(stack: MaskStack, some: list[int]) -> list[NDArray[np.int64]]:
    """Return pixels (n, 2) spread over each of some masks."""
    none = np.zeros(len(stack), dtype=np.int64)
    step = stack.areas + 1
    step[some] = np.maximum(1, stack.areas[some] // _NUM_SAMPLES)
    mask, pixels = stack.every_nth_pixel(step, none)
    ends = np.searchsorted(mask, np.arange(len(stack) + 1))
    return [pixels[ends[k] : ends[k + 1]] for k in some]


def _covered(
    stack: MaskStack,
    named: list[int],
    uv_px: FloatArray,
    inside: NDArray[np.bool_],
    owner: IntArray,
    size: int,
) -> FloatArray:
    """Return shares (k, size) of the pixels of some masks, each going to the nearest point.

    Args:
        stack: All masks, m of them.
        named: Which of them, k.
        uv_px: (n, 2) points.
        inside: (m, n) which of them lie in which mask; those in other masks alone do not count.
        owner: (n,) instance of each point.
        size: How many instances there are.
    """
    out = np.zeros((len(named), size))
    is_free = ~inside.any(axis=0)
    for row, k, pixels in zip(out, named, _samples(stack, named), strict=True):
        rows = np.flatnonzero(inside[k] | is_free)
        if len(rows):
            squared = cdist(pixels, uv_px[rows], "sqeuclidean")  # a tree takes twice the time
            nearest = squared.argmin(axis=1)
            reach_px = max(_LEAST_COVER_PX, _COVER_REACH * math.sqrt(stack.areas[k]))
            is_near = squared[np.arange(len(pixels)), nearest] < reach_px**2
            found = owner[rows[nearest[is_near]]]
            row[:] = np.bincount(found, minlength=size) / len(pixels)
    return out
