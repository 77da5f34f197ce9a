"""Which of the many observations of a map its refinement rests on."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.mapping.refinement.sightings import Observed
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, IntArray

LANDMARKS_PER_PICTURE = 300
_NEAREST = 20
_NEAREST_OF_LOOSE = 60
_ENOUGH_VIEWS = 4
_MOST_VIEWS = 9


def thinned(state: MapState, seen: Observed, per_picture: int = LANDMARKS_PER_PICTURE) -> Observed:
    """Keep some landmarks of each picture, the nearest across cameras, and views spread in time.

    Cameras that overlap tell the scale by disparity. What is wrong with their calibration is the
    same few tenths of a pixel for all points, and half a percent of scale only for near ones: so
    of the matches across cameras only the nearest are kept. The other landmarks are chosen evenly,
    whatever their distance and however long they were tracked. The errors along a track are alike,
    so many landmarks in a few views each say more than few landmarks in all of theirs.

    Args:
        state: The map.
        seen: What its keyframes saw.
        per_picture: Landmarks chosen in each picture.
    """
    near = near_matches(state, seen, per_picture)
    _, index, count = np.unique(near.ids, return_inverse=True, return_counts=True)
    is_across = np.bincount(index, weights=_together(near), minlength=len(count)) > 0
    often = np.minimum(count, _ENOUGH_VIEWS) + 2 * _ENOUGH_VIEWS * is_across
    shuffled = (near.ids * 2654435761) % (1 << 32)
    rank = rank_in_picture(near.frame, near.camera, -often[index], shuffled)
    return _spread_views(_rows(near, np.isin(near.ids, np.unique(near.ids[rank < per_picture]))))


def near_matches(state: MapState, seen: Observed, per_picture: int) -> Observed:
    """Leave out matches across cameras but the nearest 20, a third of `per_picture` at most.

    The nearest 60 where cameras may still sit otherwise: near ones alone take a turn for metres.
    """
    nearest = _NEAREST_OF_LOOSE if any(state.sigma_mount_rad) else _NEAREST
    is_match = np.flatnonzero(_is_match(seen))
    matched = _rows(seen, is_match)
    rank = rank_in_picture(matched.frame, matched.camera, _distance_m(state, matched), matched.ids)
    keep = np.ones(len(seen.ids), dtype=bool)
    keep[is_match] = rank < min(nearest, per_picture // 3)
    return _rows(seen, keep)


def _spread_views(seen: Observed) -> Observed:
    """Keep the first and last moment of each landmark and about nine others, evenly."""
    unique, index = np.unique(seen.ids, return_inverse=True)
    order = np.lexsort((seen.frame, index))
    is_new = np.diff(index[order], prepend=-1) != 0
    moment = np.cumsum(is_new | (np.diff(seen.frame[order], prepend=-1) != 0))
    at = np.empty(len(order), dtype=np.int64)
    at[order] = moment - moment[is_new][index[order]] if len(order) else moment
    last = np.zeros(len(unique), dtype=np.int64)
    np.maximum.at(last, index, at)
    step = -(-(last[index] + 1) // _MOST_VIEWS)
    return _rows(seen, (at % step == seen.ids % step) | (at == 0) | (at == last[index]))


def num_across(seen: Observed) -> int:
    """Return how many observations tell of one landmark by two cameras: both of each match.

    Two cameras make a match at one moment, or at any where they fire in turn.
    """
    return 2 * int(_is_match(seen).sum()) if fire_in_turn(seen) else int(_together(seen).sum())


def fire_in_turn(seen: Observed) -> bool:
    """Return whether cameras take turns from keyframe to keyframe, and never see at one moment.

    Drives with one camera each, of which one was laid onto the other, do not count.
    """
    num_cameras = int(seen.camera.max(initial=0)) + 1
    num_rows = np.bincount(
        seen.frame * num_cameras + seen.camera, minlength=len(seen.keyframes) * num_cameras
    )
    saw = num_rows.reshape(-1, num_cameras) > 0
    who = saw[saw.any(axis=1)].argmax(axis=1)
    takes_turns = 2 * np.count_nonzero(np.diff(who)) >= len(who) > 1
    return bool(takes_turns and saw.sum(axis=1).max() < 2)


def _together(seen: Observed) -> np.ndarray:
    """Return which observations (n,) another camera made at the same moment too.

    Where cameras fire in turn no moment is the same for two: then at any.
    """
    if fire_in_turn(seen):
        ids, num = np.unique(np.unique(seen.ids * 64 + seen.camera) // 64, return_counts=True)
        return np.isin(seen.ids, ids[num > 1])
    moment = seen.ids * max(len(seen.keyframes), 1) + seen.frame
    _, at, count = np.unique(moment, return_inverse=True, return_counts=True)
    return np.asarray(count[at] > 1)


def _is_match(seen: Observed) -> np.ndarray:
    """Return which observations (n,) were matched across, by a camera that does not track them."""
    unique, index = np.unique(seen.ids, return_inverse=True)
    num_cameras = int(seen.camera.max(initial=0)) + 1
    count = np.bincount(index * num_cameras + seen.camera, minlength=len(unique) * num_cameras)
    home = count.reshape(-1, num_cameras).argmax(axis=1)
    return np.asarray(_together(seen) & (home[index] != seen.camera))


def _distance_m(state: MapState, seen: Observed) -> FloatArray:
    """Return how far landmarks lie from the vehicle; infinite where they have no position."""
    places = np.array([state.frames[k].T_world_base[:3, 3] for k in seen.keyframes])
    offset = state.points(seen.ids) - places.reshape(-1, 3)[seen.frame]
    return np.nan_to_num(np.linalg.norm(offset, axis=1), nan=np.inf)


def rank_in_picture(
    frame: IntArray, camera: IntArray, first: np.ndarray, then: IntArray
) -> IntArray:
    """Return the place of each row (n,) among those of its picture, from 0, by two columns."""
    picture = frame * 64 + camera
    order = np.lexsort((then, first, picture))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(picture[order], picture[order])
    return rank


def _rows(seen: Observed, rows: np.ndarray) -> Observed:
    return Observed(
        seen.keyframes, seen.frame[rows], seen.camera[rows], seen.ids[rows], seen.uv_ideal_px[rows]
    )
