"""Bends the map so that places which are the same lie at the same place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from seg2d3d_ros.geometry.bundle import PositionPrior
from seg2d3d_ros.mapping.loops import pose_graph
from seg2d3d_ros.mapping.loops.balance import MAX_STRAIN, Part, balance, carry
from seg2d3d_ros.mapping.loops.detector import LoopDetector
from seg2d3d_ros.mapping.loops.joining import find_join
from seg2d3d_ros.mapping.loops.ledger import Ledger
from seg2d3d_ros.mapping.loops.loop import CLOSED_M, Loop
from seg2d3d_ros.mapping.loops.neighbourhood import settle
from seg2d3d_ros.mapping.loops.sessions import Sessions
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Cluster, FloatArray

_LOG = logging.getLogger(__name__)
_MIN_SUPPORT = 2
_MAX_SPLIT_M = 1.5
_YARD_FRAMES = 20
_NEW_UNIT = 0.1
_NO_POSITIONS: Callable[[], Sequence[PositionPrior]] = tuple


class LoopCloser:
    """Verified loops, and which of them the map believes.

    Facades look alike: a loop counts when others close by ask for the same motion, when masks put
    what they match into the same houses, when the pose graph agrees with it once all is balanced,
    and when odometry need not be stretched beyond belief for it. Only then are landmarks merged.
    Sessions lie apart until loops join them; a cluster that was reconstructed elsewhere is a
    session of its own.

    Attributes:
        counts: Loops that were tried, verified and kept, the largest correction and the gap that
            is left, landmarks merged, sessions, and parts without relation to each other.
        drift: (4, 4) how frames to come should move, p_new = S @ p_old, by the newest loop that
            misses too little to bend the map; None without one.
        carried: Frames that were carried to the rest of the map by the newest cluster, all others
            being where they were; empty where it joined nothing, or bent the map, too.
    """

    def __init__(
        self, state: MapState, seed: int = 0, building_classes: frozenset[int] = frozenset()
    ) -> None:
        """Watch over a map; masks of `building_classes` show houses."""
        pose_graph.load()
        self._state = state
        self._sessions = Sessions()
        self._detector = LoopDetector(state, self._sessions, seed, building_classes)
        self._ledger = Ledger()
        self._merged: set[int] = set()
        self._yard = 0.0
        self._first_frame = 0
        self.drift: FloatArray | None = None
        self.carried: frozenset[int] = frozenset()
        self.counts: dict[str, float] = {}

    def push(
        self,
        cluster: Cluster,
        frames: Sequence[int],
        positions: Callable[[], Sequence[PositionPrior]] = _NO_POSITIONS,
    ) -> FloatArray | None:
        """Take note of a cluster that is in the map already, and close the loops it brings.

        Args:
            cluster: The cluster; its landmarks bear the ids of the map.
            frames: Position in the map of each of its frames.
            positions: Asked for GNSS factors by frame of the map when there is a loop.

        Returns:
            (4, 4) how the newest frame was moved in the world, p_new = S @ p_old, if the map was
            bent; else None.
        """
        self.drift, self._first_frame = None, min(frames, default=0)
        self.carried = frozenset()
        self._sessions.note(cluster.session, cluster.scale == "metric", frames)
        return self._close(self._detector.push(cluster, frames), positions)

    def finish(
        self, positions: Callable[[], Sequence[PositionPrior]] = _NO_POSITIONS
    ) -> FloatArray | None:
        """Close what is left, and look once more where the bent map says places are the same.

        Landmarks of all kept loops are merged then: identities must be decided anew.
        """
        first = self._close(self._detector.flush(), positions, is_last=True)
        ledger = self._ledger
        if not ledger.kept:
            return first
        again = self._detector.look_again({ledger.loops[k].new for k in ledger.kept})
        second = self._close(again, positions, is_last=True)
        self._merge_kept()
        if first is None or second is None:
            return first if second is None else second
        return np.asarray(second @ first)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return a sentence about parts of the map that nothing ties together, if there are."""
        num = int(self.counts.get("parts", 1.0))
        if num <= 1:
            return ()
        return (
            f"the map is in {num} parts, and nothing tells how they lie to each other: tracking "
            "was lost in between, and no place was seen again that would join them",
        )

    def moved(self) -> None:
        """Hear that the whole map moved."""
        self._detector.moved()

    # --------------------------------------------------------------- closing

    def _close(
        self,
        found: list[Loop],
        positions: Callable[[], Sequence[PositionPrior]],
        is_last: bool = False,
    ) -> FloatArray | None:
        """Bend the map by loops that are found; return how its newest frame moved.

        What lies around them is adjusted then, but not at last: all of the map will be.
        """
        self._follow_unit()
        self._ledger.loops += found
        moves: list[FloatArray] = []
        if found:
            while (motion := self._join()) is not None:
                moves.append(motion)
            before, told = set(self._ledger.kept), positions()
            bend = self._bend(found, told)
            if bend is not None:
                self.carried = frozenset()
                moves.append(bend[-1])
                if not is_last:
                    moves.append(self._settle(self._ledger.kept - before, bend, told))
        self._count()
        return np.linalg.multi_dot([*moves[::-1], np.eye(4)]) if moves else None

    def _follow_unit(self) -> None:
        """Carry the loops along when the map changed its unit: GNSS told what a metre is."""
        if not self._state.frames:
            return
        centers = np.stack([f.T_world_base[:3, 3] for f in self._state.frames[:_YARD_FRAMES]])
        yard = float(np.linalg.norm(np.diff(centers, axis=0), axis=1).sum())
        if self._yard and yard and abs(np.log(yard / self._yard)) > _NEW_UNIT:
            self._ledger.rescale(np.full(len(self._state.frames), yard / self._yard))
        if len(centers) == _YARD_FRAMES:
            self._yard = yard

    def _poses(self) -> FloatArray:
        return np.stack([f.T_world_base for f in self._state.frames])

    def _join(self) -> FloatArray | None:
        """Carry a part of the map to another that loops tie it to; None when there is none."""
        poses, ledger, groups = self._poses(), self._ledger, self._sessions.group
        apart = [k for k, e in enumerate(ledger.loops) if groups(e.old) != groups(e.new)]
        votes = ledger.supports(apart, apart, poses)
        join = find_join(self._state, self._sessions, ledger.of(apart), votes)
        if join is None:
            return None
        if join.residual_m is not None:
            self.counts["join_residual_m"] = join.residual_m
        motion: FloatArray = np.tile(np.eye(4), (len(poses), 1, 1))
        frames = self._sessions.frames(join.other)
        motion[frames] = join.S
        self.carried |= frozenset(frames)
        self._move(motion)
        self._sessions.join(join.keeper, join.other)
        _LOG.info("session %d joined to %d by %d loops", join.other, join.keeper, join.num_loops)
        return motion[-1]

    def _move(self, motion: FloatArray) -> None:
        """Move each frame of the map by its own similarity (n, 4, 4), and the loops with it."""
        self._state.correct(motion)
        self._detector.moved()
        scale = np.cbrt(np.linalg.det(motion[:, :3, :3]))
        if np.abs(scale - 1.0).max() > 1e-9:
            self._ledger.rescale(scale)

    def _bend(self, found: list[Loop], positions: Sequence[PositionPrior]) -> FloatArray | None:
        """Balance the part of the map in which loops were found; return each frame's motion."""
        ledger, poses = self._ledger, self._poses()
        group = self._sessions.group(found[-1].new)
        inside = [
            k
            for k, loop in enumerate(ledger.loops)
            if self._is_inside(loop, group) and k not in ledger.refused
        ]
        fresh = [k for k in inside if k not in ledger.kept]
        votes = ledger.supports(inside, fresh, poses)
        backed = {k for k, v in zip(fresh, votes, strict=True) if v >= _MIN_SUPPORT}
        believed = [k for k in inside if k in ledger.kept or k in backed]
        new = ledger.of(sorted(backed))
        if not new:
            return None
        misfit_m = [loop.misfit_m(poses[loop.old], poses[loop.new]) for loop in new]
        if np.median(misfit_m) < CLOSED_M:
            ledger.kept |= set(believed)
            newest = max(new, key=lambda loop: loop.new)
            # One that ends before the newest cluster speaks of drift that was heard of before.
            if newest.new >= self._first_frame:
                self.drift = newest.motion(poses)
            return None
        return self._balance(group, believed, positions)

    def _balance(
        self, group: int, believed: list[int], positions: Sequence[PositionPrior]
    ) -> FloatArray | None:
        """Balance a part of the map with loops (numbers); those it cannot follow are refused."""
        state, ledger = self._state, self._ledger
        nodes = [k for k in self._sessions.frames(group) if state.frames[k].is_keyframe]
        part = Part(state, self._sessions, nodes, positions)
        known = ledger.of([k for k in believed if k in ledger.kept])
        found = balance(part, ledger.of(believed), known)
        self.counts["loop_strain"] = max(self.counts.get("loop_strain", 0.0), found.strain)
        kept = {k for k, ok in zip(believed, found.is_near, strict=True) if ok}
        if not kept or found.strain > MAX_STRAIN:
            ledger.refused |= set(believed) - ledger.kept
            return None
        self.counts["loop_gap_m"] = float(np.median(found.gap_m[found.is_near]))
        return self._apply(nodes, found.S_world_node, kept)

    def _is_inside(self, loop: Loop, group: int) -> bool:
        return (self._sessions.group(loop.old), self._sessions.group(loop.new)) == (group, group)

    def _apply(
        self, nodes: list[int], S_world_node: FloatArray, kept: set[int]
    ) -> FloatArray | None:
        """Move the map if it is worth it, and merge the landmarks of loops newly kept."""
        motion, shift_m = carry(self._state, nodes, S_world_node)
        self._ledger.kept |= kept
        if shift_m <= CLOSED_M:
            return None
        self._move(motion)
        largest_m = max(self.counts.get("loop_correction_m", 0.0), shift_m)
        self.counts["loop_correction_m"] = largest_m
        _LOG.info("%d loops closed, the map moved by up to %.2f m", len(kept), shift_m)
        self._merge_kept()
        return motion

    def _settle(
        self, closed: set[int], bend: FloatArray, positions: Sequence[PositionPrior]
    ) -> FloatArray:
        """Adjust what lies around loops (numbers); return how the newest frame moved (4, 4)."""
        loops = self._ledger.of(sorted(closed))
        motion = settle(self._state, loops, bend, positions) if loops else None
        name = "loop_regions" if motion is not None else "loop_regions_rejected"
        self.counts[name] = self.counts.get(name, 0.0) + 1.0
        if motion is None:
            return np.eye(4)
        self._ledger.restate(self._poses(), np.any(motion != np.eye(4), axis=(1, 2)))
        return motion[-1]

    def _merge_kept(self) -> None:
        """Make landmarks one that kept loops say are the same; the map is told anew after it."""
        for loop in self._ledger.of(sorted(self._ledger.kept - self._merged)):
            self._merge(loop)
        self._merged |= self._ledger.kept

    def _merge(self, loop: Loop) -> None:
        """Give the landmarks of the later pass the ids of the earlier, where they meet."""
        state = self._state
        old, new = state.canonical(loop.landmarks_old), state.canonical(loop.landmarks_new)
        gap = np.linalg.norm(state.points(old) - state.points(new), axis=1)
        good = (old != new) & (gap < _MAX_SPLIT_M)
        self.counts["landmarks_merged"] = self.counts.get("landmarks_merged", 0.0) + float(
            state.merge(old[good], new[good])
        )

    def _count(self) -> None:
        self.counts.update({k: float(v) for k, v in sorted(self._detector.counts.items())})
        self.counts["loops_kept"] = float(len(self._ledger.kept))
        self.counts["loops_refused"] = float(len(self._ledger.refused))
        self.counts["loops_contradicted"] = float(len(self._ledger.contradicted))
        self.counts["sessions"] = float(self._sessions.num_sessions)
        self.counts["parts"] = float(self._sessions.num_groups)
