"""Depths between the landmarks: dense flow to a view whose pose is known, kept on a lattice.

The picture of the other view is first warped to where the landmarks say that things should be
seen, so that only what they do not know is left for the flow (DIS, Kroeger et al. 2016), whatever
the baseline. The flow is free in both directions; the pose allows one, which is the check.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from seg2d3d_ros.clusters.assembly import RigFrame
from seg2d3d_ros.clusters.landmarks import LandmarkTable
from seg2d3d_ros.clusters.overlap import CameraPair
from seg2d3d_ros.clusters.shrunk import ShrunkCamera
from seg2d3d_ros.clusters.threads import Threads
from seg2d3d_ros.clusters.window import LocalFrame
from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry import masks as pixel_masks
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.parallax import depth_along_rays
from seg2d3d_ros.types import DepthSamples, FloatArray, IntArray, Rig, Segmentation, no_depths

_MAX_KEYFRAMES_BACK = 24
_MIN_LANDMARKS = 8
# Baseline by the depth at a quantile of the landmarks: for what is near and what is far, in turns.
_BASELINES = ((0.12, 0.25), (0.25, 0.75), (0.12, 0.25), (0.4, 0.75))
_FLOW_SIGMA_PX = 0.35
_PATCH_STRIDE_PX = 6  # 5 costs a half more for hardly more accuracy
_MAX_EPIPOLAR_PX = 1.0
_MAX_RELATIVE_SIGMA = 0.1
_BORDER_PX = 3
_CROP_MARGIN_PX = 16
_LEAST_CROP_PX = 64
_MIN_NEIGHBOURS = 4
_NEIGHBOUR_RATIO = 0.05


# Camera, small picture and T_ref_cam (4, 4).
_View: TypeAlias = tuple[int, np.ndarray, FloatArray]


@dataclass(frozen=True)
class _Shot:
    """A keyframe with its small pictures by camera."""

    frame: LocalFrame
    pictures: dict[int, np.ndarray]


@dataclass(frozen=True)
class _Found:
    """Inverse depths (n,) of lattice pixels with their standard deviations, infinite if none."""

    inverse: FloatArray
    sigma: FloatArray


class DepthSampler:
    """Measures depths in every keyframe and hands them over with the cluster it belongs to."""

    def __init__(self, config: Config, rig: Rig, pairs: list[CameraPair], beside: Threads) -> None:
        """Prepare for a rig; pairs of cameras that share most of their view measure each other."""
        segmentation = config.segmentation
        self._buildings = frozenset({0, *segmentation.building_classes})
        self._rig = rig
        self._cameras = [ShrunkCamera(c) for c in rig.cameras]
        self._flows = [_make_flow() for _ in rig.cameras]
        wide = [(p.a, p.b) for p in pairs if not p.is_narrow]
        self._partner = {**{b: a for a, b in wide}, **dict(wide)}
        self._beside = beside
        self._begun: tuple[LocalFrame, Callable[[], list[DepthSamples]]] | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all keyframes and what was measured in them."""
        self._end()
        self._shots: deque[_Shot] = deque(maxlen=_MAX_KEYFRAMES_BACK)
        self._taken: list[tuple[LocalFrame, DepthSamples]] = []
        self._count = 0

    def add(self, frame: LocalFrame, moment: RigFrame, landmarks: LandmarkTable) -> None:
        """Measure depths in the pictures of a new keyframe, whose pose is as good as it gets.

        That goes on beside what follows, up to the next keyframe; poses and landmarks are those of
        now.
        """
        self._end()
        cameras = sorted(moment.frames)
        pictures = {c: self._cameras[c].shrink(moment.frames[c].image) for c in cameras}
        shot = _Shot(frame, pictures)
        known = {c: self._landmarks_cam(c, frame, landmarks) for c in cameras}
        views = {c: self._reference(c, shot, known[c][:, 2]) for c in cameras}
        measured = self._beside.begin(
            lambda c: self._measure(c, shot, moment, known[c], views[c]), cameras
        )
        self._begun = (frame, measured)
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

    def _end(self) -> None:
        """Wait for what was begun."""
        if self._begun is not None:
            (frame, measured), self._begun = self._begun, None
            self._taken += [(frame, samples) for samples in measured()]

    def _measure(
        self, c: int, shot: _Shot, moment: RigFrame, known: FloatArray, reference: _View | None
    ) -> DepthSamples:
        rows, labels = self._wanted(c, moment.segmentations.get(c))
        if not len(rows) or reference is None:
            return no_depths()
        found = self._match(c, shot, reference, known, rows)
        found = self._without_speckle(c, found, rows, labels)
        depth = 1.0 / np.maximum(found.inverse, 1e-6)
        sigma = found.sigma * depth**2
        good = sigma < _MAX_RELATIVE_SIGMA * depth
        uv = self._cameras[c].lattice_px[rows[good]]
        return DepthSamples(
            frame=np.zeros(len(uv), np.uint32),
            camera=np.full(len(uv), c, np.uint16),
            uv_px=uv.astype(np.uint16),
            depth_m=depth[good].astype(np.float16),
            sigma_m=sigma[good].astype(np.float16),
            colors_rgb=_colors(moment.frames[c].image, uv),
            label=labels[good].astype(np.uint16),
        )

    def _wanted(self, c: int, segmentation: Segmentation | None) -> tuple[IntArray, IntArray]:
        """Return the pixels of the lattice on buildings and their masks; all without any masks."""
        lattice = self._cameras[c].lattice_px
        if segmentation is None or not segmentation.masks:
            return np.arange(len(lattice)), np.zeros(len(lattice), dtype=np.int64)
        area = [pixel_masks.area(m.bbox_px, m.runs) for m in segmentation.masks]
        order = np.argsort(-np.array(area), kind="stable")
        masks = [segmentation.masks[k] for k in order]
        runs = [(m.bbox_px, m.runs) for m in masks]
        inside = pixel_masks.contains_each(runs, lattice.astype(np.float64))
        label = np.full(len(lattice), -1, dtype=np.int64)
        for mask, rows in zip(masks, inside, strict=True):
            label[rows] = mask.label if mask.class_id in self._buildings else -1
        rows = np.flatnonzero(label >= 0)
        return rows, label[rows]

    def _landmarks_cam(self, c: int, frame: LocalFrame, landmarks: LandmarkTable) -> FloatArray:
        """Return the landmarks (k, 3) that a camera sees, in its optical frame."""
        points = landmarks.points(frame.seen.ids[frame.seen.camera == c])
        T_local_cam = frame.T_local_base @ self._rig.cameras[c].T_base_cam
        p_cam = transforms.apply(transforms.invert(T_local_cam), points)
        return p_cam[np.isfinite(p_cam[:, 0]) & (p_cam[:, 2] > 1e-3)]

    def _reference(self, c: int, shot: _Shot, depth: FloatArray) -> _View | None:
        """Choose the view to match with: camera, small picture and T_ref_cam; None without any.

        There is none to choose by with few landmarks, whose depths (k,) are given.
        Near and far baselines take turns from keyframe to keyframe and from camera to camera.
        """
        if len(depth) < _MIN_LANDMARKS:
            return None
        turn = (self._count + c) % len(_BASELINES)
        T_local_cam = shot.frame.T_local_base @ self._rig.cameras[c].T_base_cam
        partner = self._partner.get(c, -1)
        if turn % 2 == 0 and partner in shot.pictures:
            T_base_partner = self._rig.cameras[partner].T_base_cam
            T = transforms.invert(shot.frame.T_local_base @ T_base_partner) @ T_local_cam
            return partner, shot.pictures[partner], T
        ratio, quantile = _BASELINES[turn]
        wanted = ratio * float(np.quantile(depth, quantile))
        for before in reversed(self._shots):
            if c in before.pictures:
                T_local_ref = before.frame.T_local_base @ self._rig.cameras[c].T_base_cam
                if float(np.linalg.norm((T_local_ref - T_local_cam)[:3, 3])) >= wanted:
                    T = transforms.invert(T_local_ref) @ T_local_cam
                    return c, before.pictures[c], T
        return None

    def _match(
        self,
        c: int,
        shot: _Shot,
        reference: _View,
        known: FloatArray,
        rows: IntArray,
    ) -> _Found:
        """Find lattice pixels `rows` (n,) of camera c again in the reference view."""
        camera, (r, picture, T_ref_cam) = self._cameras[c], reference
        other = self._cameras[r]
        inverse = camera.fill(known[:, :2] / known[:, 2:], 1.0 / known[:, 2])
        warp = _warp(camera, other, inverse, T_ref_cam)
        at = camera.lattice_small_px[rows]
        low, high = _box(at, camera.size)
        crop = np.s_[low[1] : high[1], low[0] : high[0]]
        warped = cv2.remap(picture, warp[crop], None, cv2.INTER_LINEAR)
        picture = np.ascontiguousarray(shot.pictures[c][crop])
        flow = self._flows[c].calc(picture, warped, None)
        uv = _look_up(warp, at + _look_up(flow, at - low))
        size = np.array(other.size)
        inside = ((uv > _BORDER_PX) & (uv < size - 1 - _BORDER_PX)).all(axis=1)
        ideal = (uv - other.center_px) / other.focal_px
        rays = depth_along_rays(camera.lattice_xy[rows], ideal, T_ref_cam)
        focal = float(other.focal_px.mean())
        good = inside & (rays.inverse_depth > 1e-6) & (rays.depth_ref > 0)
        beside_px = rays.residual * focal
        good &= beside_px < _MAX_EPIPOLAR_PX
        # What a match lies beside its line, it may well lie along it.
        error_px = np.hypot(_FLOW_SIGMA_PX, beside_px)
        sigma = error_px / np.maximum(rays.sensitivity * focal, 1e-9)
        return _Found(rays.inverse_depth, np.where(good, sigma, np.inf))

    def _without_speckle(self, c: int, found: _Found, rows: IntArray, labels: IntArray) -> _Found:
        """Drop depths that fewer than half of the eight neighbours in the same mask share."""
        shape = self._cameras[c].lattice_shape
        inverse, sigma, label = (np.full(shape, v) for v in (np.nan, np.inf, -1.0))
        measured = np.isfinite(found.sigma)
        inverse.flat[rows[measured]] = found.inverse[measured]
        sigma.flat[rows], label.flat[rows] = found.sigma, labels
        reach = _NEIGHBOUR_RATIO * np.abs(inverse) + 2.0 * sigma
        agreeing = np.zeros(shape, dtype=np.int64)
        padded, label_around = (np.pad(a, 1, constant_values=np.nan) for a in (inverse, label))
        for dv in range(3):
            for du in range(3):
                if (dv, du) != (1, 1):
                    window = np.s_[dv : dv + shape[0], du : du + shape[1]]
                    near = np.abs(padded[window] - inverse) < reach
                    agreeing += near & (label_around[window] == label)
        good = agreeing.flat[rows] >= _MIN_NEIGHBOURS
        return _Found(found.inverse, np.where(good, found.sigma, np.inf))


def _make_flow() -> cv2.DISOpticalFlow:
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    flow.setFinestScale(0)
    flow.setPatchStride(_PATCH_STRIDE_PX)
    return flow


def _warp(
    camera: ShrunkCamera, other: ShrunkCamera, inverse: FloatArray, T_other_cam: FloatArray
) -> np.ndarray:
    """Return where each small pixel (h, w, 2) of a camera lies in the other's small picture.

    The inverse depths are those of the nodes (r, c).
    """
    rays = np.concatenate([camera.nodes_xy, np.ones((*inverse.shape, 1))], axis=-1)
    p = rays @ T_other_cam[:3, :3].T + inverse[..., None] * T_other_cam[:3, 3]
    z = np.where(p[..., 2:] > 0.05, p[..., 2:], np.nan)
    uv = p[..., :2] / z * other.focal_px + other.center_px
    uv = np.nan_to_num(uv, nan=-1e4).astype(np.float32)
    return cv2.resize(uv, camera.size, interpolation=cv2.INTER_LINEAR)


def _box(at: np.ndarray, size: tuple[int, int]) -> tuple[IntArray, IntArray]:
    """Return the corners of the part of a picture that holds pixels (n, 2), with some margin."""
    room = np.maximum(np.array(size) - _LEAST_CROP_PX, 0)
    low = np.clip(at.min(axis=0).astype(np.int64) - _CROP_MARGIN_PX, 0, room)
    high = np.maximum(at.max(axis=0).astype(np.int64) + _CROP_MARGIN_PX, low + _LEAST_CROP_PX)
    return low, np.minimum(high, size)


def _look_up(field: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return a field (h, w, 2) at pixels (n, 2); far outside of any picture beyond its border."""
    outside = (-1e4, -1e4)
    at = np.ascontiguousarray(at, dtype=np.float32)[:, None]
    found = cv2.remap(
        field, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=outside
    )
    return found[:, 0]


def _colors(image: np.ndarray, uv: IntArray) -> np.ndarray:
    values = image[uv[:, 1], uv[:, 0]]
    return np.repeat(values[:, None], 3, axis=1) if image.ndim == 2 else values[:, ::-1].copy()
