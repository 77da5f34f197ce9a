"""Depths between the landmarks: which pictures are measured, and with which views."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from seg2d3d_ros.clusters.assembly import RigFrame
from seg2d3d_ros.clusters.depth_meter import DepthTask
from seg2d3d_ros.clusters.landmarks import LandmarkTable, colors_at
from seg2d3d_ros.clusters.overlap import CameraPair
from seg2d3d_ros.clusters.shrunk import ShrunkCamera
from seg2d3d_ros.clusters.window import LocalFrame
from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import DepthSamples, FloatArray, Rig, no_depths

_MAX_SHOTS_BACK = 24
# Of the way between keyframes: a surface needs more views of each place than a map does.
_STEP_SHARE = 0.65
_MIN_LANDMARKS = 8
# Baseline by the depth at a quantile of the landmarks: for what is near and what is far, in turns.
_BASELINES = ((0.12, 0.25), (0.25, 0.75), (0.12, 0.25), (0.4, 0.75))

# Begins to measure, and returns what waits for the depths, in the order of the tasks.
BeginDepths: TypeAlias = Callable[[Sequence[DepthTask]], Callable[[], list[DepthSamples]]]

# Camera, small picture and T_ref_cam (4, 4).
_View: TypeAlias = tuple[int, np.ndarray, FloatArray]


@dataclass(frozen=True)
class _Shot:
    """A frame with the small pictures of its cameras that were due, and the keyframe it hangs on.

    That moves with every adjustment, and the frame with it.
    """

    frame: LocalFrame
    keyframe: LocalFrame
    pictures: dict[int, np.ndarray]

    @property
    def T_local_base(self) -> FloatArray:
        """Return where the frame is by now."""
        if self.frame is self.keyframe:
            return self.frame.T_local_base
        return self.keyframe.T_local_base @ self.frame.T_ref_base


class DepthSampler:
    """Has depths measured along the way and hands them over with the cluster they belong to."""

    def __init__(
        self, config: Config, rig: Rig, pairs: list[CameraPair], begin: BeginDepths
    ) -> None:
        """Prepare for a rig; pairs of cameras that share most of their view measure each other."""
        self._rig = rig
        self._step_m = _STEP_SHARE * config.clusters.keyframe_distance_m
        self._cameras = [ShrunkCamera(c) for c in rig.cameras]
        wide = [p for p in pairs if not p.is_narrow]
        self._partner = {**{p.b: (p.a, p) for p in wide}, **{p.a: (p.b, p) for p in wide}}
        self._begin = begin
        self._begun: tuple[LocalFrame, Callable[[], list[DepthSamples]]] | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all frames and what was measured in them."""
        self._end()
        self._shots: deque[_Shot] = deque(maxlen=_MAX_SHOTS_BACK)
        self._taken: list[tuple[LocalFrame, DepthSamples]] = []
        self._count = 0
        self._last: dict[int, LocalFrame] = {}

    def add(
        self,
        frame: LocalFrame,
        keyframe: LocalFrame,
        moment: RigFrame,
        landmarks: LandmarkTable,
    ) -> None:
        """Measure depths in the pictures of a new frame whose cameras have come far enough.

        That goes on beside what follows, up to the next such frame; poses and landmarks are those
        of now.

        Args:
            frame: The newest frame.
            keyframe: The newest keyframe, which may be the same.
            moment: Its pictures and masks.
            landmarks: Those of the local map.
        """
        due = [c for c in sorted(moment.frames) if self._is_due(c, frame)]
        if not due:
            return
        self._end()
        self._last.update(dict.fromkeys(due, frame))
        pictures = {c: self._cameras[c].shrink(moment.frames[c].image) for c in due}
        shot = _Shot(frame, keyframe, pictures)
        tasks = [self._task(c, shot, moment, landmarks) for c in pictures]
        self._begun = (frame, self._begin([task for task in tasks if task is not None]))
        self._shots.append(shot)
        self._count += 1

    def take(self, position: dict[int, int]) -> DepthSamples:
        """Hand over what was measured; `position` is that of a frame by the id of its object."""
        self._end()
        parts = [no_depths()]
        for frame, samples in self._taken:
            samples.frame[:] = position[id(frame)]
            parts.append(samples)
        self._taken = []
        fields = vars(parts[0])
        return DepthSamples(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in fields})

    def _is_due(self, c: int, frame: LocalFrame) -> bool:
        """Return whether a camera is located, and has come far enough since it was measured."""
        if c not in self._last:
            return frame.is_keyframe
        way = frame.T_local_base[:3, 3] - self._last[c].T_local_base[:3, 3]
        is_located = frame.is_keyframe or frame.status == "tracked"
        return is_located and float(np.linalg.norm(way)) >= self._step_m

    def _end(self) -> None:
        """Wait for what was begun."""
        if self._begun is not None:
            (frame, measured), self._begun = self._begun, None
            self._taken += [(frame, samples) for samples in measured()]

    def _task(
        self, c: int, shot: _Shot, moment: RigFrame, landmarks: LandmarkTable
    ) -> DepthTask | None:
        points_cam = self._landmarks_cam(c, shot.frame, landmarks)
        view = self._reference(c, shot, points_cam[:, 2])
        if view is None:
            return None
        colors = colors_at(moment.frames[c].image, self._cameras[c].lattice_px.astype(np.float64))
        shown = moment.segmentations.get(c)
        return DepthTask(c, shot.pictures[c], colors, shown, points_cam, *view)

    def _landmarks_cam(self, c: int, frame: LocalFrame, landmarks: LandmarkTable) -> FloatArray:
        """Return the landmarks (k, 3) that a camera sees, in its optical frame."""
        points = landmarks.points(frame.seen.ids[frame.seen.camera == c])
        T_local_cam = frame.T_local_base @ self._rig.cameras[c].T_base_cam
        p_cam = transforms.apply(transforms.invert(T_local_cam), points)
        return p_cam[np.isfinite(p_cam[:, 0]) & (p_cam[:, 2] > 1e-3)]

    def _reference(self, c: int, shot: _Shot, depth: FloatArray) -> _View | None:
        """Choose the view to match with: camera, small picture and T_ref_cam; None without any.

        There is none to choose by with few landmarks, whose depths (k,) are given.
        Near and far baselines take turns from one such frame to the next and between cameras.
        """
        if len(depth) < _MIN_LANDMARKS:
            return None
        turn = (self._count + c) % len(_BASELINES)
        T_local_cam = shot.frame.T_local_base @ self._rig.cameras[c].T_base_cam
        partner, pair = self._partner.get(c, (-1, None))
        if turn % 2 == 0 and partner in shot.pictures and pair is not None and pair.is_in_step:
            T_base_partner = self._rig.cameras[partner].T_base_cam
            T = transforms.invert(shot.frame.T_local_base @ T_base_partner) @ T_local_cam
            return partner, shot.pictures[partner], T
        ratio, quantile = _BASELINES[turn]
        wanted = ratio * float(np.quantile(depth, quantile))
        for before in reversed(self._shots):
            if c in before.pictures:
                T_local_ref = before.T_local_base @ self._rig.cameras[c].T_base_cam
                if float(np.linalg.norm((T_local_ref - T_local_cam)[:3, 3])) >= wanted:
                    T = transforms.invert(T_local_ref) @ T_local_cam
                    return c, before.pictures[c], T
        return None
