"""Finds keyframes that show a place which was seen before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.loops.appearance import Appearance
from seg2d3d_ros.mapping.loops.loop import CLOSED_M, Loop
from seg2d3d_ros.mapping.loops.mask_witness import MaskWitness
from seg2d3d_ros.mapping.loops.places import PlaceIndex
from seg2d3d_ros.mapping.loops.sessions import Sessions
from seg2d3d_ros.mapping.loops.verification import Sight, recognise
from seg2d3d_ros.mapping.loops.vocabulary import Vocabulary
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Cluster, IntArray

_MIN_DESCRIBED = 30
_QUERY_EVERY = 2
_CANDIDATES = 3
_NEIGHBOURS = 3
# Where a loop finds the map closed, the next places are not asked: its landmarks reach as far.
_PAUSE = 8
_SECOND_LOOK_M = 6.0


class LoopDetector:
    """Makes places of the keyframes that the clusters have left behind, and compares them.

    Attributes:
        counts: Candidates looked at and loops verified.
    """

    _closed_until = 0  # maps that were saved without it begin there

    def __init__(
        self,
        state: MapState,
        sessions: Sessions,
        seed: int = 0,
        building_classes: frozenset[int] = frozenset(),
    ) -> None:
        """Watch over a map; masks of `building_classes` show houses."""
        self._state, self._sessions = state, sessions
        self._witness = MaskWitness(state, building_classes)
        self._vocabulary = Vocabulary(seed)
        self._appearance = Appearance()
        self._places = PlaceIndex()
        self._pending: list[int] = []
        self._noted = 0
        self._is_stale = False
        self.counts: Counter[str] = Counter()

    def push(self, cluster: Cluster, frames: Sequence[int]) -> list[Loop]:
        """Take note of a cluster, and look for loops of the keyframes before it.

        Keyframes that clusters share get their final poses and descriptors only with the next
        cluster: they wait for it.

        Args:
            cluster: The newest cluster, in the map already; its landmarks bear the map's ids.
            frames: Position in the map of each of its frames.

        Returns:
            Loops that were verified.
        """
        landmarks = cluster.landmarks
        self._vocabulary.learn(self._appearance.add(landmarks.ids, landmarks.descriptors))
        pairs = zip(frames, cluster.frames, strict=True)
        new = [k for k, f in pairs if f.is_keyframe and k >= self._noted]
        self._noted = max([self._noted, *(k + 1 for k in frames)])
        ready, self._pending = self._pending, new
        if not self._vocabulary.is_ready:
            self._pending = ready + new
            return self.flush() if cluster.is_last else []
        found = [loop for k in ready for loop in self._look_around(k)]
        # What only bends the map may wait for `finish`; what joins its parts may not.
        is_apart = self._sessions.num_groups > 1
        return found + (self.flush() if cluster.is_last and is_apart else [])

    def flush(self) -> list[Loop]:
        """Look for loops of the keyframes that still wait."""
        self._vocabulary.settle()
        if not self._vocabulary.is_ready:
            return []
        ready, self._pending = self._pending, []
        return [loop for k in ready for loop in self._look_around(k)]

    def look_again(self, known: set[int]) -> list[Loop]:
        """Verify all places that the map, now that it is bent, says are the same.

        Args:
            known: Frames whose loops are known.
        """
        self._locate(len(self._places))
        found: list[Loop] = []
        for place in range(0, len(self._places), _QUERY_EVERY):
            if self._places.frame[place] not in known:
                for other in self._places.candidates(place, 1, _SECOND_LOOK_M):
                    found += self._verify(place, other, self._sight(self._places.frame[place]))
        return found

    def _look_around(self, frame: int) -> list[Loop]:
        ids = np.unique(self._state.canonical(self._state.frames[frame].held.seen.ids))
        ids = self._usable(ids)
        if len(ids) < _MIN_DESCRIBED:
            return []
        place = self._places.add(frame, ids, self._vocabulary.encode(self._appearance.of(ids)))
        self._locate(place)
        # Where sessions lie apart, few keyframes may see what joins them: all of them ask.
        is_rest = place % _QUERY_EVERY or place < self._closed_until
        if is_rest and self._sessions.num_groups == 1:
            return []
        others = self._places.candidates(place, _CANDIDATES)
        if not others:
            return []
        seen, found = self._sight(frame), list[Loop]()
        for other in others:
            found += self._verify(place, other, seen)
            if any(self._is_closed(loop) for loop in found):
                self._closed_until = place + _PAUSE
                break
        return found

    def _is_closed(self, loop: Loop) -> bool:
        """Return whether the map has both ends of a loop where they belong."""
        T_old, T_new = (self._state.frames[k].T_world_base for k in (loop.old, loop.new))
        return loop.misfit_m(T_old, T_new) < CLOSED_M

    def moved(self) -> None:
        """Hear that the map moved: the places must be located anew."""
        self._is_stale = True

    def _locate(self, place: int) -> None:
        first = 0 if self._is_stale else place
        frames = self._places.frame[first:]
        centers = [self._state.frames[k].T_world_base[:3, 3] for k in frames]
        self._places.locate(first, np.reshape(centers, (-1, 3)), self._sessions.groups(frames))
        self._is_stale = False

    def _verify(self, place: int, other: int, seen: Sight) -> list[Loop]:
        """Return the loop between two places, if it is one; the first saw `seen`."""
        state, frames = self._state, self._places.frame
        new, old = frames[place], frames[other]
        session = self._sessions.of(old)
        reach = range(max(other - _NEIGHBOURS, 0), min(other + _NEIGHBOURS + 1, place))
        around = [p for p in reach if self._sessions.of(frames[p]) == session]
        near = state.canonical(np.concatenate([self._places.ids[p] for p in around]))
        region = np.setdiff1d(near, seen.ids)
        is_metric = self._sessions.is_metric(new) and self._sessions.is_metric(old)
        self.counts["loops_tried"] += 1
        found = recognise(
            state.cameras,
            state.frames[new].T_world_base,
            seen,
            self._landmarks(self._usable(region)),
            is_metric,
        )
        if found is None:
            return []
        self.counts["loops_verified"] += 1
        S_old_new = transforms.invert(state.frames[old].T_world_base) @ found.S_world_base
        loop = Loop(old, new, S_old_new, found.old, found.new)
        if self._sessions.group(old) == self._sessions.group(new) and self._is_closed(loop):
            return [loop]  # The map says the same: no need to read the masks of all these frames.
        frames_old = [frames[p] for p in around]
        agreement = self._witness.agreement(frames_old, new, found.old, found.new)
        return [replace(loop, agreement=agreement)]

    def _usable(self, ids: IntArray) -> IntArray:
        return ids[self._appearance.has(ids) & np.isfinite(self._state.points(ids)[:, 0])]

    def _sight(self, frame: int) -> Sight:
        """Return what a keyframe sees, each landmark once."""
        content = self._state.frames[frame].held.seen
        ids = self._state.canonical(content.ids)
        ids, rows = np.unique(ids, return_index=True)
        good = np.isin(ids, self._usable(ids))
        rows = rows[good]
        return self._landmarks(ids[good], content.camera[rows], content.uv_px[rows])

    def _landmarks(
        self, ids: IntArray, camera: IntArray | None = None, uv_px: np.ndarray | None = None
    ) -> Sight:
        return Sight(
            ids,
            self._state.points(ids),
            self._appearance.of(ids),
            np.zeros(0, dtype=np.int64) if camera is None else camera,
            np.zeros((0, 2), dtype=np.float32) if uv_px is None else uv_px,
        )
