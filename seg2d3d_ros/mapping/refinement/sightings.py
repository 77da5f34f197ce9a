"""Where keyframes saw which landmarks, gathered from the archive a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import FloatArray, IntArray

MOST_AT_ONCE = 400
_BATCH = 200
_SPAN = 100


@dataclass(frozen=True)
class Observed:
    """Observations of keyframes: position of the keyframe, camera, landmark, ideal pixel."""

    keyframes: list[int]
    frame: IntArray
    camera: IntArray
    ids: IntArray
    uv_ideal_px: FloatArray


def observed(
    state: MapState, keyframes: Sequence[int] | None = None, wanted: np.ndarray | None = None
) -> Observed:
    """Gather what keyframes saw.

    Args:
        state: The map.
        keyframes: Positions in `state.frames`; all keyframes without them.
        wanted: (n,) bool by landmark id; all landmarks without it.
    """
    keyframes = state.keyframes if keyframes is None else list(keyframes)
    empty = np.zeros(0, dtype=np.int64)
    if not keyframes:
        return Observed(keyframes, empty, empty, empty, np.zeros((0, 2)))
    frame, camera, ids, uv = [], [], [], []
    for position, k in enumerate(keyframes):
        seen = state.frames[k].held.seen
        known = state.canonical(seen.ids)
        rows = np.ones(len(known), dtype=bool) if wanted is None else wanted[known]
        ideal = np.zeros((int(rows.sum()), 2))
        by = seen.camera[rows]
        for c in np.unique(by):
            ideal[by == c] = models.ideal_pixels(state.cameras[c], seen.uv_px[rows][by == c])
        frame.append(np.full(len(ideal), position))
        camera.append(by)
        ids.append(known[rows])
        uv.append(ideal)
    return Observed(keyframes, *(np.concatenate(a) for a in (frame, camera, ids, uv)))


def seen_twice(ids: IntArray, keep: np.ndarray) -> tuple[IntArray, IntArray, IntArray]:
    """Return what is seen twice or more where it counts: that, and of its rows what and where.

    Args:
        ids: (n,) landmark of each observation.
        keep: (n,) bool, the observations that count.

    Returns:
        Landmarks (p,), and of their observations (m,): position among these, and row.
    """
    rows = np.flatnonzero(keep)
    unique, index, count = np.unique(ids[rows], return_inverse=True, return_counts=True)
    often = count >= 2
    some = often[index]
    return unique[often], (np.cumsum(often) - 1)[index[some]], rows[some]


def track_batches(state: MapState) -> Iterator[Observed]:
    """Yield all observations of all landmarks, each landmark in one batch.

    Short maps are one batch. Otherwise a batch holds the landmarks that a stretch of keyframes was
    the first to see; it reads that stretch, some keyframes after it, and those that came back.
    """
    keyframes = state.keyframes
    if len(keyframes) <= MOST_AT_ONCE:
        yield observed(state, keyframes)
        return
    first, back = _spans(state, keyframes)
    for low in range(0, len(keyframes), _BATCH):
        wanted = (first >= low) & (first < low + _BATCH)
        near = range(low, min(low + _BATCH + _SPAN, len(keyframes)))
        later = np.unique(back[wanted[back[:, 0]], 1])
        places = sorted({*near, *later.tolist()})
        yield observed(state, [keyframes[i] for i in places], wanted)


def _spans(state: MapState, keyframes: list[int]) -> tuple[IntArray, IntArray]:
    """Return which keyframe saw each landmark first (n,), and who saw it long after (m, 2)."""
    first = np.full(state.num_ids, -1, dtype=np.int64)
    back = [np.zeros((0, 2), dtype=np.int64)]
    for position, k in enumerate(keyframes):
        ids = state.canonical(state.frames[k].held.seen.ids)
        new = ids[first[ids] < 0]
        first[new] = position
        old = ids[first[ids] < position - _SPAN]
        if len(old):
            back.append(np.stack([old, np.full(len(old), position)], axis=1))
    return first, np.concatenate(back)
