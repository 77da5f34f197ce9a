"""The second stage: how do these pictures hang together? Items in, overlapping clusters out."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from seg2d3d_ros.clusters.assembly import Assembler, RigFrame
from seg2d3d_ros.clusters.depth import BeginDepths, DepthSampler
from seg2d3d_ros.clusters.depth_meter import DepthMeter
from seg2d3d_ros.clusters.front_end import FrontEnd
from seg2d3d_ros.clusters.odometry import OdometryBuffer
from seg2d3d_ros.clusters.overlap import overlapping_pairs
from seg2d3d_ros.clusters.rest import Rest
from seg2d3d_ros.clusters.threads import Threads
from seg2d3d_ros.clusters.window import LocalFrame
from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import (
    Cluster,
    Dropped,
    Fix,
    FloatArray,
    Frame,
    IntArray,
    Keyframe,
    Landmarks,
    Mask,
    Observations,
    Odometry,
    RelativePose,
    Rig,
    Segmentation,
    no_depths,
)

_LOG = logging.getLogger(__name__)
_CROP_PX = 112
_MOST_FRAMES = 400
_MIN_CROP_AREA_PX = 900


class ClusterStage:
    """Synchronous and seeded: the same items give the same clusters, in any order of cameras."""

    def __init__(
        self,
        config: Config,
        rig: Rig,
        expects_segmentation: bool = True,
        begin_depths: BeginDepths | None = None,
    ) -> None:
        """Prepare for a rig.

        Args:
            config: The whole configuration.
            rig: The cameras.
            expects_segmentation: Whether pictures wait for masks.
            begin_depths: Begins to measure depths; in threads of the stage without it.
        """
        self._config = config
        self._rig = rig
        self._odometry = OdometryBuffer(config.clusters)
        self._assembler = Assembler(config.clusters, rig, expects_segmentation)
        self._pairs = overlapping_pairs(rig)
        self._beside = Threads(config.runtime.num_threads)
        self._front_end = FrontEnd(config, rig, self._odometry, self._pairs, self._beside)
        self._depths: DepthSampler | None = None
        if config.clusters.depths:
            begin = begin_depths or partial(self._beside.begin, DepthMeter(config, rig).measure)
            self._depths = DepthSampler(config, rig, self._pairs, begin)
        self._sequence = 0
        self._session = 0
        self._num_overlap = 0
        self._segmentations: list[Segmentation] = []
        self._cropped: list[Callable[[], list[Segmentation]]] = []
        self._fixes: list[Fix] = []
        self._dropped: list[Dropped] = []
        self._rest = Rest(config.clusters)
        self._superfluous: LocalFrame | None = None
        self._num_forgotten = 0
        self._is_finished = False

    def push(self, item: Frame | Segmentation | Odometry | Fix | Dropped) -> list[Cluster]:
        """Take one item and return the clusters it completed."""
        if isinstance(item, Dropped):
            self._dropped.append(item)
            return []
        if isinstance(item, Odometry):
            self._odometry.push(item)
        elif isinstance(item, Fix):
            self._fixes.append(item)
        self._odometry.go_on(item.stamp_ns)
        self._assembler.push(item)
        return self._drain(flush=False)

    def finish(self) -> list[Cluster]:
        """Work off everything that waits and return the remaining clusters; the last is marked."""
        if self._is_finished:
            return []
        clusters = self._drain(flush=True)
        self._is_finished = True
        clusters.append(self._emit(is_last=True))
        self._front_end.close()
        self._beside.close()
        return clusters

    @property
    def num_late_segmentations(self) -> int:
        """Return how many segmentations came when their picture was waited for no more."""
        return self._assembler.num_late_segmentations

    @property
    def counts(self) -> dict[str, float]:
        """Return what happened besides clusters, by name."""
        late = self.num_late_segmentations
        return {"late_segmentations": float(late)} if late else {}

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what was found about cameras, as sentences."""
        names = [camera.name for camera in self._rig.cameras]
        apart = {tuple(sorted((names[p.a], names[p.b]))) for p in self._pairs if not p.is_in_step}
        return tuple(
            f"{a} and {b} do not fire at one moment though their stamps say so, or sit otherwise "
            "than stated: little of what looks alike in both lies where it should; matches "
            "between them were left out, and tell no metres"
            for a, b in sorted(apart)
        )

    def _drain(self, flush: bool) -> list[Cluster]:
        out: list[Cluster] = []
        if self._assembler.jumped_back:
            self._assembler.jumped_back = False
            self._odometry.clear()
            out += self._new_session("stamps went back for good")
        while (moment := self._assembler.pop(flush)) is not None:
            out += self._process(moment)
        self._dropped += self._assembler.dropped
        self._assembler.dropped = []
        return out

    def _process(self, moment: RigFrame) -> list[Cluster]:
        out: list[Cluster] = []
        front_end, limits = self._front_end, self._config.clusters
        if front_end.frames:
            gap_s = (moment.stamp_ns - front_end.frames[-1].stamp_ns) * 1e-9
            if gap_s > limits.max_gap_s and not front_end.is_told(moment.stamp_ns):
                out += self._new_session(f"no picture for {gap_s:.1f} s")
            elif front_end.is_lost:
                out += self._new_session("tracking lost")
        frame = front_end.process(moment)
        if front_end.was_stretched:
            front_end.was_stretched = False
            if self._depths is not None:
                self._depths.clear()
        self._forget_superfluous()
        self._superfluous = frame if self._rest.is_superfluous(frame) else None
        if self._depths is not None and frame is not self._superfluous:
            keyframe = front_end.map.keyframes[-1]
            self._depths.add(frame, keyframe, moment, front_end.map.landmarks)
        self._segmentations += moment.segmentations.values()
        if frame.is_keyframe:
            self._crop(moment)
        keyframes = sum(f.is_keyframe for f in front_end.frames)
        is_full = frame.is_keyframe and keyframes >= limits.cluster_keyframes
        if is_full or len(front_end.frames) + self._num_forgotten >= _MOST_FRAMES:
            out.append(self._emit(is_last=False))
        return out

    def _forget_superfluous(self) -> None:
        """Drop the moment before the newest if the vehicle has long been at rest."""
        frame = self._superfluous
        if frame is None:
            return
        self._front_end.frames = [f for f in self._front_end.frames if f is not frame]
        self._num_forgotten += 1
        pictures = {
            (self._rig.cameras[c].name, s)
            for c, s in zip(frame.cameras, frame.picture_stamps_ns, strict=True)
        }
        self._dropped += [Dropped(name, s, "standing") for name, s in sorted(pictures)]
        self._segmentations = [
            s for s in self._segmentations if (s.camera, s.stamp_ns) not in pictures
        ]

    def _new_session(self, why: str) -> list[Cluster]:
        """Close the local map: what follows shares neither landmarks nor gauge with it."""
        _LOG.warning("new session %d: %s", self._session + 1, why)
        out = [self._emit(is_last=False)] if self._front_end.frames else []
        last = out[-1].frames[-1].T_local_base if out else np.eye(4)
        self._front_end.start(last)
        if self._depths is not None:
            self._depths.clear()
        self._session += 1
        self._num_overlap = 0
        return out

    # -------------------------------------------------------------------------------------- output

    def _emit(self, is_last: bool) -> Cluster:
        self._front_end.settle()
        frames = self._settled_frames()
        position = {id(f): k for k, f in enumerate(frames)}
        landmarks, observations = self._landmarks(frames)
        cluster = Cluster(
            sequence=self._sequence,
            session=self._session,
            is_last=is_last,
            scale=self._front_end.scale,
            num_overlap=self._num_overlap,
            rig=self._rig,
            frames=tuple(_keyframe(f) for f in frames),
            landmarks=landmarks,
            observations=observations,
            odometry=self._increments([f for f in frames if f.is_keyframe], position),
            fixes=tuple(self._fixes),
            segmentations=self._told_segmentations(),
            dropped=tuple(self._dropped),
            depths=no_depths() if self._depths is None else self._depths.take(position),
        )
        num = sum(f.is_keyframe for f in frames)
        _LOG.info(
            "cluster %d: %d frames, %d keyframes (%d shared), %d landmarks",
            self._sequence,
            len(frames),
            num,
            self._num_overlap,
            len(landmarks.ids),
        )
        self._sequence += 1
        self._segmentations, self._cropped = [], []
        self._fixes, self._dropped = [], []
        self._superfluous, self._num_forgotten = None, 0
        self._slide()
        return cluster

    def _settled_frames(self) -> list[LocalFrame]:
        """Return all frames; those between keyframes move along with the keyframe before them."""
        reference: FloatArray | None = None
        for f in self._front_end.frames:
            if f.is_keyframe:
                reference = f.T_local_base
            elif reference is not None:
                f.T_local_base = reference @ f.T_ref_base
        return self._front_end.frames

    def _landmarks(self, frames: list[LocalFrame]) -> tuple[Landmarks, Observations]:
        table = self._front_end.map.landmarks
        seen = [f.told for f in frames]
        ids = np.concatenate([s.ids for s in seen]) if seen else np.zeros(0, dtype=np.int64)
        frame = (
            np.concatenate([np.full(len(s.ids), k) for k, s in enumerate(seen)]) if seen else ids
        )
        camera = np.concatenate([s.camera for s in seen]) if seen else ids
        uv = np.concatenate([s.uv_px for s in seen]) if seen else np.zeros((0, 2))
        unique, index, count = np.unique(ids, return_inverse=True, return_counts=True)
        often = count >= 2
        rows = np.flatnonzero(often[index])
        unique, index = unique[often], (np.cumsum(often) - 1)[index[rows]]
        landmarks = Landmarks(
            unique,
            table.points(unique),
            table.colors(unique),
            table.descriptors(unique),
            table.sigma(unique),
        )
        return landmarks, Observations(
            index, frame[rows], camera[rows], uv[rows].astype(np.float32)
        )

    def _increments(
        self, keyframes: list[LocalFrame], position: dict[int, int]
    ) -> tuple[RelativePose, ...]:
        out = []
        for i, j in zip(keyframes[:-1], keyframes[1:], strict=True):
            if j.since_prev is not None:
                T_i_j, covariance = j.since_prev.T_i_j, j.since_prev.covariance
                out.append(RelativePose(position[id(i)], position[id(j)], T_i_j, covariance))
        return tuple(out)

    def _slide(self) -> None:
        """Keep what the next cluster shares with this one, and free the rest."""
        front_end, limits = self._front_end, self._config.clusters
        starts = [k for k, f in enumerate(front_end.frames) if f.is_keyframe]
        if not starts:
            return
        keep = starts[-min(limits.overlap_keyframes, len(starts))]
        front_end.frames = front_end.frames[keep:]
        if len(front_end.frames) >= _MOST_FRAMES // 2:
            # A vehicle that stands makes no keyframes: what hangs on the last one has been told.
            newest = front_end.frames[-1]
            front_end.frames = [f for f in front_end.frames if f.is_keyframe or f is newest]
        self._num_overlap = sum(f.is_keyframe for f in front_end.frames)
        depth = max(limits.triangulation_keyframes, limits.overlap_keyframes)
        front_end.map.keyframes = front_end.map.keyframes[-depth:]
        alive: list[IntArray] = [f.seen.ids for f in (*front_end.frames, *front_end.map.keyframes)]
        front_end.map.landmarks.drop_before(
            min((int(i.min()) for i in alive if len(i)), default=0)
        )

    def _crop(self, moment: RigFrame) -> None:
        """Begin to cut pictures of the masks of buildings out of those of a keyframe."""
        wanted = {0, *self._config.segmentation.building_classes}

        def crop(c: int) -> Segmentation:
            segmentation, image = moment.segmentations[c], moment.frames[c].image
            masks = tuple(
                _with_crop(m, image) if m.class_id in wanted else m for m in segmentation.masks
            )
            return dataclasses.replace(segmentation, masks=masks)

        self._cropped.append(self._beside.begin(crop, moment.segmentations))

    def _told_segmentations(self) -> tuple[Segmentation, ...]:
        """Return what the cluster says of masks, with the crops of its keyframes."""
        cropped = {(s.camera, s.stamp_ns): s for done in self._cropped for s in done()}
        return tuple(cropped.get((s.camera, s.stamp_ns), s) for s in self._segmentations)


def _with_crop(mask: Mask, image: np.ndarray) -> Mask:
    x0, y0, x1, y1 = mask.bbox_px
    if (x1 - x0) * (y1 - y0) < _MIN_CROP_AREA_PX:
        return mask
    ratio = min(1.0, _CROP_PX / max(x1 - x0, y1 - y0))
    size = (max(1, round((x1 - x0) * ratio)), max(1, round((y1 - y0) * ratio)))
    crop = _shrunk(image[y0:y1, x0:x1], size)
    ok, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return dataclasses.replace(mask, crop_jpeg=data.tobytes()) if ok else mask


def _shrunk(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture at another size (w, h): by halves first, in a fifth of the time."""
    while image.shape[1] >= 2 * size[0] and image.shape[0] >= 2 * size[1]:
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _keyframe(f: LocalFrame) -> Keyframe:
    T: FloatArray = f.T_local_base.copy()
    T[:3, :3] = transforms.orthonormal(T[:3, :3])
    return Keyframe(f.stamp_ns, T, f.is_keyframe, f.cameras, f.picture_stamps_ns, f.status)
