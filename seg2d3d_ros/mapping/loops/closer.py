"""Bends the map so that places which are the same lie at the same place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.alignment import align_points
from seg2d3d_ros.geometry.bundle import PositionPrior
from seg2d3d_ros.mapping.loops.detector import LoopDetector
from seg2d3d_ros.mapping.loops.loop import CLOSED_M, CONTRADICTED, Loop, Wishes, supports
from seg2d3d_ros.mapping.loops.neighbourhood import settle
from seg2d3d_ros.mapping.loops.pose_graph import (
    Anchor,
    Constraint,
    PoseGraph,
    PoseGraphResult,
    optimise,
)
from seg2d3d_ros.mapping.loops.sessions import Sessions
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Cluster, FloatArray, IntArray

_LOG = logging.getLogger(__name__)
_MIN_SUPPORT = 2
_MIN_JOINING = 3
_MIN_SHARED = 30
_LANDMARK_SIGMA_M = 0.3
_MAX_GAP_M = 0.6
_MAX_GAP_RAD = np.deg2rad(1.5)
_MAX_STRAIN = 25.0
_COASTED = 30.0
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

    carried: frozenset[int] = frozenset()

    def __init__(
        self, state: MapState, seed: int = 0, building_classes: frozenset[int] = frozenset()
    ) -> None:
        """Watch over a map; masks of `building_classes` show houses."""
        self._state = state
        self._sessions = Sessions()
        self._detector = LoopDetector(state, self._sessions, seed, building_classes)
        self._loops: list[Loop] = []
        self._kept: set[int] = set()
        self._merged: set[int] = set()
        self._refused: set[int] = set()
        self._contradicted: set[int] = set()
        self._yard = 0.0
        self._first_frame = 0
        self.drift: FloatArray | None = None
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
        if self.carried:
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
        if not self._kept:
            return first
        again = self._detector.look_again({self._loops[k].new for k in self._kept})
        second = self._close(again, positions, is_last=True)
        self._merge_kept()
        if first is None or second is None:
            return first if second is None else second
        return np.asarray(second @ first)

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
        self._loops += found
        moves: list[FloatArray] = []
        if found:
            while (motion := self._join()) is not None:
                moves.append(motion)
            before, told = set(self._kept), positions()
            bend = self._bend(found, told)
            if bend is not None:
                self.carried = frozenset()
                moves.append(bend[-1])
                if not is_last:
                    moves.append(self._settle(self._kept - before, bend, told))
        self._count()
        return np.linalg.multi_dot([*moves[::-1], np.eye(4)]) if moves else None

    def _follow_unit(self) -> None:
        """Carry the loops along when the map changed its unit: GNSS told what a metre is."""
        if not self._state.frames:
            return
        centers = np.stack([f.T_world_base[:3, 3] for f in self._state.frames[:_YARD_FRAMES]])
        yard = float(np.linalg.norm(np.diff(centers, axis=0), axis=1).sum())
        if self._yard and yard and abs(np.log(yard / self._yard)) > _NEW_UNIT:
            grown = yard / self._yard
            self._loops = [loop.rescaled(grown, grown) for loop in self._loops]
        if len(centers) == _YARD_FRAMES:
            self._yard = yard

    def _poses(self) -> FloatArray:
        return np.stack([f.T_world_base for f in self._state.frames])

    def _join(self) -> FloatArray | None:
        """Carry a part of the map to another that loops tie it to; None when there is none."""
        poses = self._poses()
        apart = [
            k
            for k, loop in enumerate(self._loops)
            if self._sessions.group(loop.old) != self._sessions.group(loop.new)
        ]
        votes = self._supports(apart, apart)
        if votes.max(initial=0) < _MIN_JOINING - 1:
            return None
        first = int(np.argmax(votes))
        best, agree = self._loops[apart[first]], Wishes([self._loops[k] for k in apart], poses)
        keeper, other = sorted((self._sessions.group(best.old), self._sessions.group(best.new)))
        S = best.motion(poses)
        if self._sessions.group(best.old) != keeper:
            S = np.asarray(np.linalg.inv(S), dtype=np.float64)
        S = self._aligned([apart[k] for k in np.flatnonzero(agree.agree(first))], keeper, other, S)
        motion: FloatArray = np.tile(np.eye(4), (len(poses), 1, 1))
        frames = self._sessions.frames(other)
        motion[frames] = S
        self.carried |= frozenset(frames)
        self._move(motion)
        self._sessions.join(keeper, other)
        _LOG.info("session %d joined to %d by %d loops", other, keeper, int(votes.max()) + 1)
        return motion[-1]

    def _aligned(self, agreed: list[int], keeper: int, other: int, S: FloatArray) -> FloatArray:
        """Return how `other` fits onto `keeper` by all landmarks that loops (numbers) match.

        What one loop tells (S) stands where these are too few or lie on a line.
        """
        state, pairs = self._state, [np.zeros((0, 2), dtype=np.int64)]
        for k in agreed:
            loop = self._loops[k]
            groups = self._sessions.group(loop.old), self._sessions.group(loop.new)
            pair = np.stack([loop.landmarks_old, loop.landmarks_new], axis=1)
            if sorted(groups) == [keeper, other]:
                pairs.append(pair if groups[0] == keeper else pair[:, ::-1])
        ids = np.concatenate(pairs)
        here, there = state.points(ids[:, 0]), state.points(ids[:, 1])
        known = np.isfinite(here[:, 0]) & np.isfinite(there[:, 0])
        is_metric = all(self._sessions.is_group_metric(g) for g in (keeper, other))
        delta_m = _LANDMARK_SIGMA_M * state.unit
        found = align_points(here[known], there[known], not is_metric, delta_m=delta_m)
        if known.sum() < _MIN_SHARED or found.is_degenerate:
            return S
        self.counts["join_residual_m"] = found.residual_m
        return found.S_a_b

    def _supports(self, among: list[int], asking: list[int]) -> IntArray:
        """Return how many loops (numbers) back each of some; note those that masks contradict."""
        loops = [self._loops[k] for k in among]
        votes = supports(loops, self._poses(), [among.index(k) for k in asking])
        self._contradicted.difference_update(asking)
        self._contradicted |= {k for k, v in zip(asking, votes, strict=True) if v == CONTRADICTED}
        return votes

    def _move(self, motion: FloatArray) -> None:
        """Move each frame of the map by its own similarity (n, 4, 4), and the loops with it."""
        self._state.correct(motion)
        self._detector.moved()
        scale = np.cbrt(np.linalg.det(motion[:, :3, :3]))
        if np.abs(scale - 1.0).max() > 1e-9:
            self._loops = [e.rescaled(scale[e.old], scale[e.new]) for e in self._loops]

    def _bend(self, found: list[Loop], positions: Sequence[PositionPrior]) -> FloatArray | None:
        """Balance the part of the map in which loops were found; return each frame's motion."""
        group = self._sessions.group(found[-1].new)
        poses = self._poses()
        inside = [
            k
            for k, loop in enumerate(self._loops)
            if self._is_inside(loop, group) and k not in self._refused
        ]
        fresh = [k for k in inside if k not in self._kept]
        votes = self._supports(inside, fresh)
        backed = {k for k, v in zip(fresh, votes, strict=True) if v >= _MIN_SUPPORT}
        believed = [k for k in inside if k in self._kept or k in backed]
        new = [self._loops[k] for k in believed if k not in self._kept]
        if not new:
            return None
        misfit_m = [loop.misfit_m(poses[loop.old], poses[loop.new]) for loop in new]
        if np.median(misfit_m) < CLOSED_M:
            self._kept |= set(believed)
            newest = max(new, key=lambda loop: loop.new)
            # One that ends before the newest cluster speaks of drift that was heard of before.
            if newest.new >= self._first_frame:
                self.drift = newest.motion(poses)
            return None
        nodes = [k for k in self._sessions.frames(group) if self._state.frames[k].is_keyframe]
        graph, chain = self._graph(nodes, [self._loops[k] for k in believed], positions)
        result = optimise(graph)
        gaps = slice(chain, None)
        good = (result.gap_m[gaps] < _MAX_GAP_M) & (result.gap_rad[gaps] < _MAX_GAP_RAD)
        strain = result.strain
        if strain > _MAX_STRAIN and graph.anchors:
            # Wheels that are off by some percent strain against GNSS without any loop.
            known = [self._loops[k] for k in believed if k in self._kept]
            strain -= optimise(self._graph(nodes, known, positions)[0]).strain
        self.counts["loop_strain"] = max(self.counts.get("loop_strain", 0.0), strain)
        kept = {k for k, ok in zip(believed, good, strict=True) if ok}
        if not kept or strain > _MAX_STRAIN:
            self._refused |= set(believed) - self._kept
            return None
        self.counts["loop_gap_m"] = float(np.median(result.gap_m[gaps][good]))
        return self._apply(nodes, result, kept)

    def _is_inside(self, loop: Loop, group: int) -> bool:
        return (self._sessions.group(loop.old), self._sessions.group(loop.new)) == (group, group)

    def _graph(
        self, nodes: list[int], loops: list[Loop], positions: Sequence[PositionPrior]
    ) -> tuple[PoseGraph, int]:
        """Return the pose graph of keyframes, and how many of its constraints are the chain."""
        state, place = self._state, {k: n for n, k in enumerate(nodes)}
        poses = np.stack([state.frames[k].T_world_base for k in nodes])
        constraints = []
        for n in range(1, len(nodes)):
            if self._sessions.of(nodes[n]) == self._sessions.of(nodes[n - 1]):
                T = transforms.invert(poses[n - 1]) @ poses[n]
                length = max(float(np.linalg.norm(T[:3, 3])), 0.1)
                if state.frames[nodes[n]].status == "coasted":
                    length *= _COASTED
                constraints.append(Constraint(n - 1, n, T, length))
        num_chain = len(constraints)
        constraints += [Constraint(place[e.old], place[e.new], e.S_old_new) for e in loops]
        anchors = tuple(
            Anchor(place[p.frame], p.position_world, np.sqrt(np.diag(p.covariance)))
            for p in positions
            if p.frame in place
        )
        has_scale = not all(self._sessions.is_metric(k) for k in nodes)
        return PoseGraph(poses, tuple(constraints), anchors, has_scale), num_chain

    def _apply(
        self, nodes: list[int], result: PoseGraphResult, kept: set[int]
    ) -> FloatArray | None:
        """Move the map if it is worth it, and merge the landmarks of loops newly kept."""
        state = self._state
        motion: FloatArray = np.tile(np.eye(4), (len(state.frames), 1, 1))
        for n, k in enumerate(nodes):
            motion[k] = result.S_world_node[n] @ transforms.invert(state.frames[k].T_world_base)
        places = np.stack([state.frames[k].T_world_base[:3, 3] for k in nodes])
        shift = float(np.linalg.norm(result.S_world_node[:, :3, 3] - places, axis=1).max())
        is_moved = shift > CLOSED_M
        if is_moved:
            inside = set(nodes)
            for k, f in enumerate(state.frames):
                if k not in inside:
                    motion[k] = motion[f.reference]
            self._move(motion)
            self.counts["loop_correction_m"] = max(
                self.counts.get("loop_correction_m", 0.0), shift
            )
            _LOG.info("%d loops closed, the map moved by up to %.2f m", len(kept), shift)
        self._kept |= kept
        if not is_moved:
            return None
        self._merge_kept()
        return motion

    def _settle(
        self, closed: set[int], bend: FloatArray, positions: Sequence[PositionPrior]
    ) -> FloatArray:
        """Adjust what lies around loops (numbers); return how the newest frame moved (4, 4)."""
        loops = [self._loops[k] for k in sorted(closed)]
        motion = settle(self._state, loops, bend, positions) if loops else None
        name = "loop_regions" if motion is not None else "loop_regions_rejected"
        self.counts[name] = self.counts.get(name, 0.0) + 1.0
        if motion is None:
            return np.eye(4)
        self._restate(np.any(motion != np.eye(4), axis=(1, 2)))
        return motion[-1]

    def _restate(self, is_adjusted: NDArray[np.bool_]) -> None:
        """Let kept loops between adjusted frames (n,) tell what the adjustment found.

        What they told before would pull against it, and count as strain when others are closed.
        """
        poses = self._poses()
        for k in self._kept:
            loop = self._loops[k]
            if is_adjusted[loop.old] and is_adjusted[loop.new]:
                S = transforms.invert(poses[loop.old]) @ poses[loop.new]
                self._loops[k] = replace(loop, S_old_new=S)

    def _merge_kept(self) -> None:
        """Make landmarks one that kept loops say are the same; the map is told anew after it."""
        for k in sorted(self._kept - self._merged):
            self._merge(self._loops[k])
        self._merged |= self._kept

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
        self.counts["loops_kept"] = float(len(self._kept))
        self.counts["loops_refused"] = float(len(self._refused))
        self.counts["loops_contradicted"] = float(len(self._contradicted))
        self.counts["sessions"] = float(self._sessions.num_sessions)
        self.counts["parts"] = float(self._sessions.num_groups)
