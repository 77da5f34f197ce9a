"""Everything the map knows: frames, landmarks, observations and masks, in one world frame."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.aliases import Aliases
from seg2d3d_ros.mapping.archive import Archive, FrameContent, MemoryStore
from seg2d3d_ros.mapping.incidence import by_place
from seg2d3d_ros.mapping.map_frame import (
    NOTHING_SEEN,
    MapFrame,
    carried,
    carry,
    mount_base,
    strain,
)
from seg2d3d_ros.mapping.reserve import enlarged
from seg2d3d_ros.types import (
    Camera,
    Cluster,
    FloatArray,
    IntArray,
    Keyframe,
    RelativePose,
    Rig,
    Segmentation,
)

BLOCK_FRAMES = 32


@dataclass
class MapIncrement:
    """What a cluster added.

    Attributes:
        frames: Positions of its frames in the map.
        new_frames: Those of them that are new.
        landmark_ids: Landmarks with a position.
        removed_ids: Landmarks that had one and lost it.
        is_start: It begins a session after another: where it lies is not known yet.
    """

    frames: list[int]
    new_frames: list[int]
    landmark_ids: IntArray
    removed_ids: IntArray
    is_start: bool = False


class MapState:
    """Frames in stamp order and landmarks by id; rows of a landmark are found by its id itself.

    Poses, landmarks and odometry stay in memory. What frames saw and showed, which is most of it,
    goes to the archive as soon as the clusters have gone on.

    Attributes:
        unit: What counts as a metre where the scale is unknown; 1 where it is known.
        sigma_mount_rad: (c,) how far cameras may sit off the rotation they are believed to have,
            which refinement then finds; 0 for those that are held, empty for all.
    """

    def __init__(self, archive: Archive | None = None) -> None:
        """Start empty; without an archive, in one that lies in memory."""
        self.archive = archive or Archive(MemoryStore())
        self.unit = 1.0
        self.sigma_mount_rad: tuple[float, ...] = ()
        self.num_keyframes = 0
        self.num_coasted = 0
        self._at_hand: set[int] = set()
        self.rig: Rig | None = None
        self.frames: list[MapFrame] = []
        self.odometry: dict[tuple[int, int], RelativePose] = {}
        self._by_stamp: dict[tuple[int, int], int] = {}
        self._session = -1
        self._last_keyframe = -1
        self._points = np.full((4096, 3), np.nan)
        self._colors = np.zeros((4096, 3), dtype=np.uint8)
        self._sigma = np.full(4096, np.inf, dtype=np.float32)
        self._num_views = np.zeros(4096, dtype=np.uint32)
        self._aliases = Aliases()
        self._anchor = np.zeros(4096, dtype=np.int32)

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """Return the cameras by position; none before the first cluster."""
        return self.rig.cameras if self.rig is not None else ()

    def picture(self, frame: int, camera: int) -> tuple[int, str]:
        """Return the stamp of the picture that a camera took at a frame, and its name."""
        f = self.frames[frame]
        return f.picture_stamps_ns[f.cameras.index(camera)], self.cameras[camera].name

    def T_world_cam(self, frame: int, camera: int) -> FloatArray:
        """Return the pose (4, 4) that a camera has at a frame."""
        return self.frames[frame].T_world_base @ self.cameras[camera].T_base_cam

    @property
    def keyframes(self) -> list[int]:
        """Return the positions of all keyframes in `frames`."""
        return [k for k, f in enumerate(self.frames) if f.is_keyframe]

    @property
    def now_ns(self) -> int:
        """Return the stamp of the newest frame; 0 before the first."""
        return self.frames[-1].stamp_ns if self.frames else 0

    # ------------------------------------------------------------- landmarks

    def points(self, ids: IntArray) -> FloatArray:
        """Return positions (n, 3) in the world, NaN for landmarks that are unknown."""
        ids = self.canonical(ids)
        known = ids < len(self._points)
        out = np.full((len(ids), 3), np.nan)
        out[known] = self._points[ids[known]]
        return out

    def set_points(
        self, ids: IntArray, points_world: FloatArray, sigma_m: FloatArray | None = None
    ) -> None:
        """Store positions (n, 3) and, where given, their uncertainty (n,)."""
        ids = self.canonical(ids)
        self._points[ids] = points_world
        if sigma_m is not None:
            self._sigma[ids] = sigma_m

    def colors(self, ids: IntArray) -> np.ndarray:
        """Return colours (n, 3) uint8."""
        return self._colors[self.canonical(ids)]

    def sigma(self, ids: IntArray) -> np.ndarray:
        """Return standard deviations (n,) along the worst axis."""
        return self._sigma[self.canonical(ids)]

    def num_views(self, ids: IntArray) -> np.ndarray:
        """Return in how many pictures landmarks were tracked (n,)."""
        return self._num_views[self.canonical(ids)]

    @property
    def num_ids(self) -> int:
        """Return a number above all landmark ids that were ever seen."""
        return len(self._points)

    def landmark_ids(self) -> IntArray:
        """Return the ids of all landmarks that have a position."""
        return np.flatnonzero(np.isfinite(self._points[:, 0]))

    def canonical(self, ids: IntArray) -> IntArray:
        """Return the ids (n,) under which the map knows landmarks now: merged ones share one."""
        return self._aliases.of(ids)

    def renamed(self, cluster: Cluster) -> Cluster:
        """Return a cluster whose landmarks bear the ids under which the map knows them now."""
        return self._aliases.rename(cluster)

    def merge(self, kept: IntArray, absorbed: IntArray) -> int:
        """Make pairs of landmarks (n,) one each; return how many ceased to be on their own."""
        pairs = self._aliases.merge(kept, absorbed)
        for keeper, other in pairs:
            self._num_views[keeper] += self._num_views[other]
            self._points[other] = np.nan
        return len(pairs)

    def correct(self, motion: FloatArray) -> None:
        """Move each frame in the world by its own S (n, 4, 4), and what it saw along with it.

        p_new = S @ p_old; a landmark follows the frame that saw it first in its newest cluster.
        """
        scale = carry(self.frames, motion, self.cameras)
        ids = self.landmark_ids()
        S = motion[self._anchor[ids]]
        self._points[ids] = np.einsum("nij,nj->ni", S[:, :3, :3], self._points[ids]) + S[:, :3, 3]
        self._sigma[ids] = (self._sigma[ids] * scale[self._anchor[ids]]).astype(np.float32)

    def transform(self, S: FloatArray, scale: float) -> None:
        """Carry the whole map into another world frame: p_new = S @ p."""
        self._points = transforms.apply(S, self._points)
        self._sigma = (self._sigma * scale).astype(np.float32)
        carry(self.frames, np.broadcast_to(S, (len(self.frames), 4, 4)), self.cameras)

    # ---------------------------------------------------------------- frames

    def add(self, cluster: Cluster, T_world_local: FloatArray) -> MapIncrement:
        """Take a cluster in; what it shares with the last one replaces the older values."""
        self.rig = cluster.rig
        is_start = cluster.session != self._session >= 0
        if cluster.session != self._session:
            self._session, self._last_keyframe = cluster.session, -1
        landmarks = cluster.landmarks
        self._reserve(int(landmarks.ids.max()) + 1 if len(landmarks.ids) else 0)
        is_known = np.isfinite(landmarks.points_local[:, 0])
        was_known = np.isfinite(self._points[landmarks.ids][:, 0])
        self._points[landmarks.ids] = transforms.apply(T_world_local, landmarks.points_local)
        self._colors[landmarks.ids] = landmarks.colors_rgb
        self._sigma[landmarks.ids] = landmarks.sigma_m
        order = np.argsort(cluster.observations.frame, kind="stable")
        bounds = np.searchsorted(
            cluster.observations.frame[order], np.arange(len(cluster.frames) + 1)
        )
        touched, new = [], []
        for k, frame in enumerate(cluster.frames):
            index, is_new = self._place(cluster, frame, T_world_local)
            rows = order[bounds[k] : bounds[k + 1]]
            f, seen = self.frames[index], cluster.observations
            np.subtract.at(self._num_views, self.canonical(f.ids), 1)
            f.held = FrameContent(
                landmarks.ids[seen.landmark[rows]],
                seen.camera[rows],
                seen.uv_px[rows],
                {} if is_new else f.masks,
                f.stamp_ns,
            )
            np.add.at(self._num_views, f.ids, 1)
            touched.append(index)
            new += [index] if is_new else []
        last_first = order[::-1]
        at = np.array(touched, dtype=np.int32)[cluster.observations.frame[last_first]]
        self._anchor[landmarks.ids[cluster.observations.landmark[last_first]]] = at
        for r in cluster.odometry:
            self.odometry[(touched[r.frame_i], touched[r.frame_j])] = r
        self._attach_masks(cluster.segmentations, cluster.rig, new)
        self._freeze(set(touched))
        known, removed = landmarks.ids[is_known], landmarks.ids[was_known & ~is_known]
        return MapIncrement(touched, new, known, removed, is_start)

    def widened(self, increment: MapIncrement, frames: Collection[int]) -> MapIncrement:
        """Return an increment and further frames, with the landmarks that hang on them."""
        if not frames:
            return increment
        hangs = np.isin(self._anchor, sorted(frames)) & np.isfinite(self._points[:, 0])
        return replace(
            increment,
            frames=sorted({*increment.frames, *frames}),
            landmark_ids=np.union1d(increment.landmark_ids, np.flatnonzero(hangs)),
        )

    def _place(
        self, cluster: Cluster, frame: Keyframe, T_world_local: FloatArray
    ) -> tuple[int, bool]:
        key = (cluster.session, frame.stamp_ns)
        T = carried(T_world_local, frame.T_local_base, mount_base(self.cameras, frame.cameras))
        is_new = key not in self._by_stamp
        if is_new:
            made = MapFrame(
                frame.stamp_ns,
                T,
                False,
                frame.cameras,
                frame.picture_stamps_ns,
                "",
                NOTHING_SEEN,
            )
            self._by_stamp[key] = len(self.frames)
            self.frames.append(made)
        index = self._by_stamp[key]
        f = self.frames[index]
        self.num_coasted += (frame.status == "coasted") - (f.status == "coasted")
        f.T_world_base, f.status = T, frame.status
        self.num_keyframes += frame.is_keyframe - f.is_keyframe
        f.is_keyframe = frame.is_keyframe
        if frame.is_keyframe or self._last_keyframe < 0:
            f.reference, f.T_ref_base = index, np.eye(4)
            self._last_keyframe = index
        else:
            f.reference = self._last_keyframe
            f.T_ref_base = transforms.invert(self.frames[f.reference].T_world_base) @ T
        return index, is_new

    def _attach_masks(
        self, segmentations: tuple[Segmentation, ...], rig: Rig, new: list[int]
    ) -> None:
        places = {
            (c, s): i
            for i in new
            for c, s in zip(self.frames[i].cameras, self.frames[i].picture_stamps_ns, strict=True)
        }
        for segmentation in segmentations:
            camera = rig.index(segmentation.camera)
            index = places.get((camera, segmentation.stamp_ns))
            if index is not None:
                self.frames[index].masks[camera] = by_place(segmentation.masks)

    def _freeze(self, touched: set[int]) -> None:
        """Hand what frames saw and showed to the archive, in whole blocks; those touched wait."""
        self._at_hand |= touched
        idle = sorted(self._at_hand - touched)
        for low in range(0, len(idle) - BLOCK_FRAMES + 1, BLOCK_FRAMES):
            block = idle[low : low + BLOCK_FRAMES]
            places = self.archive.freeze([self.frames[k].content for k in block])
            for k, place in zip(block, places, strict=True):
                self.frames[k].held = place
            self._at_hand.difference_update(block)

    def _reserve(self, size: int) -> None:
        self._points = enlarged(self._points, size, np.nan)
        self._colors = enlarged(self._colors, size)
        self._sigma = enlarged(self._sigma, size, np.inf)
        self._num_views = enlarged(self._num_views, size)
        self._anchor = enlarged(self._anchor, size)

    def settle(self, before: Sequence[FloatArray] | None = None) -> None:
        """Carry the frames between keyframes along with the keyframe they hang on.

        Args:
            before: (4, 4) poses of all frames before their keyframes were moved. With them a frame
                takes its share, too, in how the way to the next keyframe has stretched and bent.
        """
        session = {k: s for (s, _), k in self._by_stamp.items()}
        after: int | None = None
        for k in range(len(self.frames) - 1, -1, -1):
            f = self.frames[k]
            if f.is_keyframe:
                after = k
                continue
            if before and after is not None and session[after] == session[k]:
                now = self.frames[f.reference].T_world_base, self.frames[after].T_world_base
                told = before[f.reference], before[after]
                f.T_ref_base = f.T_ref_base @ strain(f, told, now)
            f.T_world_base = self.frames[f.reference].T_world_base @ f.T_ref_base
