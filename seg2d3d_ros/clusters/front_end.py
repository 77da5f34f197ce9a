"""From rig frames to a local map: track, locate, decide on keyframes, extend the map."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from seg2d3d_ros.clusters.assembly import RigFrame
from seg2d3d_ros.clusters.corners import KeyframeCorners
from seg2d3d_ros.clusters.descriptors import Describer
from seg2d3d_ros.clusters.fixed import end_fixed
from seg2d3d_ros.clusters.initialization import locate_between, motion_between
from seg2d3d_ros.clusters.keyframes import KeyframePolicy
from seg2d3d_ros.clusters.landmarks import LandmarkTable
from seg2d3d_ros.clusters.motion import ConstantVelocity, Motion
from seg2d3d_ros.clusters.odometry import OdometryBuffer
from seg2d3d_ros.clusters.overlap import CameraPair
from seg2d3d_ros.clusters.pair_turn import turned_apart
from seg2d3d_ros.clusters.relocation import Relocator, bridge
from seg2d3d_ros.clusters.rig_tracker import RigTracker
from seg2d3d_ros.clusters.threads import Threads
from seg2d3d_ros.clusters.turning import Turning
from seg2d3d_ros.clusters.window import MIN_TOLD_M, LocalFrame, LocalMap, Seen, way_by_odometry
from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.pose import PosePrior, RigObservations, refine_rig_pose
from seg2d3d_ros.types import FloatArray, Rig

_LOG = logging.getLogger(__name__)
_MIN_INLIERS = 12
_LOST_FRAMES = 15
_MAX_CORNERS = 800


class FrontEnd:
    """Follows the rig through one session; the local frame is base_link at its first frame."""

    def __init__(
        self,
        config: Config,
        rig: Rig,
        odometry: OdometryBuffer,
        pairs: list[CameraPair],
        beside: Threads,
    ) -> None:
        """Start a new local map; what nothing waits for at once is worked on `beside`."""
        self._config = config.clusters
        self._policy = KeyframePolicy(config.clusters)
        self._rig, self._pairs = rig, pairs
        self._is_odometry_due = rig.has_odometry
        self._odometry = odometry
        self._threads = Threads(config.runtime.num_threads - 1)  # one is for what goes on beside
        self._tracks = RigTracker(config, rig, self._threads)
        trackers = self._tracks.trackers
        self._corners = KeyframeCorners(config, rig, pairs, trackers, self._threads)
        self._describer = Describer(rig.cameras, beside)
        self._relocator = Relocator(rig.cameras)
        self._velocity = ConstantVelocity(len(rig.cameras))
        self.map = LocalMap(self._config, rig, LandmarkTable())
        self.start(np.eye(4))

    def close(self) -> None:
        """End the threads; more pictures may come."""
        self._threads.close()

    def settle(self) -> None:
        """Wait for what is worked on beside: then all landmarks have their descriptors."""
        self._describer.settle()

    def start(self, T_local_base: FloatArray) -> None:
        """Forget the local map and start another at a pose; ids go on counting."""
        self._tracks.clear()
        self._describer.start()
        self.map = LocalMap(self._config, self._rig, LandmarkTable(self.map.landmarks.next_id))
        self.frames: list[LocalFrame] = []
        self._pose = T_local_base
        self._velocity.clear()
        self._is_located = False
        self._num_coasted = 0
        self._told_ns = 0
        self._turning = Turning()
        self._policy.clear()
        self.num_overlap_matches = 0
        self.was_stretched = False

    @property
    def is_lost(self) -> bool:
        """Return True if the motion was known and nothing has told it for a while.

        In the dark there is nothing to begin another map with: that may last as long as a gap.
        """
        if self._turning.is_lost:
            return True
        if not self._is_adrift:
            return False
        dark_s = (self.frames[-1].stamp_ns - self._told_ns) * 1e-9
        is_dark = len(self.frames[-1].seen.ids) < _MIN_INLIERS and self._relocator.is_waiting
        return not is_dark or dark_s > self._config.max_gap_s

    @property
    def _is_adrift(self) -> bool:
        is_coasting = self._num_coasted >= _LOST_FRAMES * self._num_turns
        return is_coasting and self._has_motion() and not self.is_told(self.frames[-1].stamp_ns)

    def is_told(self, stamp_ns: int) -> bool:
        """Return whether odometry leads on to a stamp, as far as has been heard."""
        return self._rig.has_odometry and not self._odometry.is_over(stamp_ns)

    @property
    def _num_turns(self) -> int:
        """Return in how many turns the cameras fire: 1 where they are synchronised."""
        cameras = {c for f in self.frames[-len(self._rig.cameras) :] for c in f.cameras}
        most = max((len(f.cameras) for f in self.frames[-len(self._rig.cameras) :]), default=1)
        return max(len(cameras) // max(most, 1), 1)

    @property
    def scale(self) -> str:
        """Return `metric` if odometry or a stereo baseline fixes the scale, else `unknown`."""
        has_baseline = self.num_overlap_matches >= 30 and any(p.is_in_step for p in self._pairs)
        return "metric" if self._rig.has_odometry or has_baseline else "unknown"

    def process(self, moment: RigFrame) -> LocalFrame:
        """Take the pictures of one moment; the frame returned is a keyframe if it became one."""
        self._ask_for_odometry(moment.stamp_ns)
        motion, predicted = self._predict(moment.stamp_ns)
        grays = self._tracks.advance(moment, self.map, predicted)
        frame = self._locate(moment, predicted, motion)
        if len(frame.seen.ids) < _MIN_INLIERS and self._has_motion():
            self._relocate(frame, moment, grays)
        if self._is_located and len(self._rig.cameras) == 1 and not self._rig.has_odometry:
            self._turning.hold(frame, self.map)
        self._move_on(frame)
        self.frames.append(frame)
        if self._is_keyframe(frame):
            self._tie(frame, motion)
            self._extend(frame, moment, grays)
        elif self.map.keyframes:
            reference = self.map.keyframes[-1]
            frame.T_ref_base = transforms.invert(reference.T_local_base) @ frame.T_local_base
        return frame

    # ---------------------------------------------------------------------------------- prediction

    def _ask_for_odometry(self, stamp_ns: int) -> None:
        """Begin a local map without odometry that has ended, or not begun.

        One that was founded without stays so until odometry has told it the metres.
        """
        is_there = self._odometry.has_begun(stamp_ns) and not self._odometry.is_over(stamp_ns)
        has_odometry = self._is_odometry_due and is_there
        if has_odometry == self._rig.has_odometry:
            return
        if not self._is_located or (has_odometry and self._take_metres()):
            self._rig = self.map.rig = replace(self._rig, has_odometry=has_odometry)
            self._corners.mount(self._rig)

    def _take_metres(self) -> bool:
        """Give the map the metres of odometry that began after it; return whether it has them.

        What clusters told in other units gets its metres where they are put together.
        """
        if self.scale == "metric":
            return True
        stretch = self._stretch_to_odometry()
        if not stretch:
            return False
        self.map.stretch(stretch)
        self._stretch_between(stretch)
        newest, reference = self.frames[-1], self.map.keyframes[-1]
        if newest is not reference:
            newest.T_local_base = reference.T_local_base @ newest.T_ref_base
        self._velocity.clear()
        self._move_on(newest)
        self.was_stretched = True
        return True

    def _stretch_to_odometry(self) -> float:
        """Return metres by odometry per unit of the way between keyframes; 0 on too little."""
        told = way = 0.0
        for before, after in pairwise(self.map.keyframes):
            T = self._odometry.increment(before.stamp_ns, after.stamp_ns)
            if T is not None:
                step = after.T_local_base[:3, 3] - before.T_local_base[:3, 3]
                way += float(np.linalg.norm(step))
                told += float(np.linalg.norm(T[:3, 3]))
        return told / way if told > MIN_TOLD_M and way > 0.0 else 0.0

    def _stretch_between(self, stretch: float) -> None:
        """Let frames between keyframes follow a map that became so many times as large."""
        for f in self.frames:
            f.T_ref_base = transforms.rigid(f.T_ref_base[:3, :3], stretch * f.T_ref_base[:3, 3])

    def _predict(self, stamp_ns: int) -> tuple[Motion | None, FloatArray]:
        """Return the motion since the last moment, by odometry or velocity, and the pose."""
        if not self.frames:
            return None, self._pose
        motion = self._told_motion(self.frames[-1].stamp_ns, stamp_ns)
        if motion is None and not self._is_adrift:
            motion = self._velocity.predict(stamp_ns)
        return motion, self._pose if motion is None else self._pose @ motion.T_i_j

    def _told_motion(self, stamp_i_ns: int, stamp_j_ns: int) -> Motion | None:
        """Return the motion by odometry; None where there is none, or the map began without."""
        return self._odometry.motion(stamp_i_ns, stamp_j_ns) if self._rig.has_odometry else None

    # ------------------------------------------------------------------------------------ location

    def _locate(
        self, moment: RigFrame, predicted: FloatArray, motion: Motion | None
    ) -> LocalFrame:
        cameras = sorted(moment.frames)
        seen = self._tracks.seen(cameras)
        pose, status = predicted, "coasted"
        points = self.map.landmarks.points(seen.ids)
        known = np.isfinite(points[:, 0])
        if known.sum() >= _MIN_INLIERS:
            obs = RigObservations(
                self._rig.cameras,
                seen.camera[known],
                points[known],
                self.map.normalized(seen)[known],
            )
            prior = self._prior(predicted, motion, cameras)
            found = refine_rig_pose(obs, predicted, self._config.max_reprojection_px, prior)
            if found.is_inlier.sum() >= max(_MIN_INLIERS, 0.3 * known.sum()):
                pose, status = found.T_world_base, "tracked"
                bad = np.zeros(len(seen.ids), dtype=bool)
                bad[np.flatnonzero(known)] = (
                    found.error_px > 2.5 * self._config.max_reprojection_px
                )
                seen.keep(~bad)
                self._tracks.end_others(cameras, seen)
        stamps = tuple(moment.frames[c].stamp_ns for c in cameras)
        return LocalFrame(moment.stamp_ns, pose, False, tuple(cameras), stamps, seen, status)

    def _relocate(self, frame: LocalFrame, moment: RigFrame, grays: dict[int, np.ndarray]) -> None:
        """Look for landmarks that were followed before the dark, where no odometry leads on."""
        if self.is_told(frame.stamp_ns):
            return
        corners = self._tracks.find_corners(moment, _MAX_CORNERS)
        self.settle()
        found = self._relocator.find(grays, corners, self.map, frame.T_local_base)
        if found is None:
            return
        frame.T_local_base, frame.status, frame.seen = found.T_local_base, "tracked", found.seen
        bridge(self.frames, frame)
        self._tracks.replace(frame.cameras, found.seen)
        last = self.frames[-1]
        self._velocity.clear()
        self._velocity.add(last.stamp_ns, last.T_local_base, last.cameras)

    def _prior(
        self, predicted: FloatArray, motion: Motion | None, cameras: list[int]
    ) -> PosePrior:
        if motion is not None and self._rig.has_odometry:
            return PosePrior(predicted, 0.1 * np.asarray(np.linalg.inv(motion.covariance)))
        if motion is not None and self._is_others_turn(cameras):
            return PosePrior(predicted, np.asarray(np.linalg.inv(motion.covariance)))
        return PosePrior(predicted, np.diag([1 / 0.2**2] * 3 + [1 / 3.0**2] * 3))

    def _is_others_turn(self, cameras: Iterable[int]) -> bool:
        """Return True if none of these cameras was part of the last moment."""
        return bool(self.frames) and not set(cameras) & set(self.frames[-1].cameras)

    def _move_on(self, frame: LocalFrame) -> None:
        self._velocity.add(frame.stamp_ns, frame.T_local_base, frame.cameras)
        self._pose = frame.T_local_base
        self._tracks.stand_at(frame.cameras, self._pose)
        self._num_coasted = self._num_coasted + 1 if frame.status == "coasted" else 0
        if frame.status != "coasted":
            self._told_ns = frame.stamp_ns
            self._relocator.rest()

    # ----------------------------------------------------------------------------------- keyframes

    def _is_keyframe(self, frame: LocalFrame) -> bool:
        if not self.map.keyframes:
            return True
        if not self._has_motion():
            return self._start_from_two_views(frame)
        waits = frame.status == "coasted" and self._relocator.is_searching
        before, last = self.frames[-2], self.map.keyframes[-1]
        return not self._is_adrift and self._policy.is_due(frame, before, last, waits)

    def _has_motion(self) -> bool:
        return self._is_located or self._rig.has_odometry or self.num_overlap_matches >= 30

    def _start_from_two_views(self, frame: LocalFrame) -> bool:
        """Try to found the map on the first keyframe and this frame; those between come after."""
        first = self.map.keyframes[0]
        if not set(first.cameras) & set(frame.cameras):
            return False
        T_first_frame = motion_between(first, frame, self.map)
        if T_first_frame is not None:
            frame.T_local_base = self._pose = first.T_local_base @ T_first_frame
            frame.status = "tracked"
            self._is_located = True
            self._num_coasted = 0
            return True
        if len(frame.seen.ids) < 0.3 * max(self._policy.num_tracks_before(frame), 1):
            self._found_again(frame)
            return True
        return False

    def _found_again(self, frame: LocalFrame) -> None:
        # The first picture is out of sight and no motion was found: begin again here, keep what
        # was received.
        waited = self.frames
        self.start(self._pose)
        for f in waited:
            f.seen.keep(np.zeros(len(f.seen.ids), dtype=bool))
            f.is_keyframe = f is waited[0]
        self.frames = waited

    def _extend(
        self,
        frame: LocalFrame,
        moment: RigFrame,
        grays: dict[int, np.ndarray],
    ) -> None:
        """Make it a keyframe: new corners, matches across cameras, landmarks, adjustment."""
        frame.is_keyframe = True
        for last in self.map.keyframes[-1:]:
            last.in_doubt = [tracker.ended_in_doubt for tracker in self._tracks.trackers]
        self.map.keyframes.append(frame)
        self._policy.add(frame)
        self._corners.supply(frame, moment, self.map.landmarks, self._tracks.exclusion)
        before = self._tracks.others_in_turn(frame.cameras, frame.T_local_base)
        across = self._corners.match_across(frame, grays, self.map.landmarks, before)
        frame.seen = Seen.joined([self._tracks.seen(frame.cameras), *across])
        self._turn_cameras()
        matches = [self.num_overlap_matches, *(len(seen.ids) for seen in across)]
        self.num_overlap_matches = max(matches)
        self.map.triangulate()
        stretch = self.map.adjust()
        if stretch != 1.0:
            self._stretch_between(stretch)
        if len(self.map.keyframes) == 2 and not self._rig.has_odometry:
            first = self.map.keyframes[0]
            waited = [f for f in self.frames if f is not first and f.status == "coasted"]
            locate_between(waited, self.map, self._config.max_reprojection_px)
        self._pose = frame.T_local_base
        self._is_located |= self._rig.has_odometry and frame.since_prev is not None
        end_fixed(self.map, self._tracks.exclusion)
        self._tracks.end_others(frame.cameras, frame.seen)
        self._describer.begin(frame, grays, self.map.landmarks, self.scale == "metric")
        self._tracks.stand_at(frame.cameras, self._pose)
        for c in frame.cameras:
            self._policy.count(c, len(self._tracks.trackers[c].ids))

    def _turn_cameras(self) -> None:
        """Go on with cameras as they evidently sit, so that matches between them are found.

        Which of two is turned is not asked here: the map finds that out from the whole drive.
        """
        for pair in self._pairs:
            has_odometry = self._rig.has_odometry
            turn = pair.find_turn(way_by_odometry(self.map.window()) if has_odometry else None)
            for other in self._pairs:
                other.hear(pair)
            if turn is None:
                continue
            _LOG.warning(
                "%s and %s are turned against each other by %.1f deg more than stated",
                *(self._rig.cameras[c].name for c in (pair.a, pair.b)),
                np.rad2deg(np.linalg.norm(turn)),
            )
            self._rig = self.map.rig = turned_apart(self._rig, pair.a, pair.b, turn)
            self._corners.mount(self._rig)
        self._corners.release_matches()

    def _tie(self, frame: LocalFrame, motion: Motion | None) -> None:
        """Tie a keyframe to the one before by odometry; cameras that fire in turn by velocity."""
        if not self.map.keyframes:
            return
        last, before = self.map.keyframes[-1], self.frames[-2]
        frame.since_prev = self._told_motion(last.stamp_ns, frame.stamp_ns)
        if self._turning.is_active:
            frame.since_prev = self._turning.motion(last, frame)
        if self._rig.has_odometry or motion is None or before.status != "tracked":
            return
        if not set(frame.cameras) & set(before.cameras):
            T_last_before = np.eye(4) if before is last else before.T_ref_base
            frame.since_prev = Motion(T_last_before @ motion.T_i_j, motion.covariance)
