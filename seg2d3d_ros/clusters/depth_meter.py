"""Depth of one picture by dense flow to a view whose pose is known, kept on a lattice.

The picture of the other view is first warped to where the landmarks say that things should be
seen, so that only what they do not know is left for the flow (DIS, Kroeger et al. 2016), whatever
the baseline. The flow is free in both directions; the pose allows one, which is the check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from seg2d3d_ros.clusters.shrunk import ShrunkCamera
from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry import masks as pixel_masks
from seg2d3d_ros.geometry.parallax import depth_along_rays
from seg2d3d_ros.types import DepthSamples, FloatArray, IntArray, Rig, Segmentation, no_depths

_FLOW_SIGMA_PX = 0.35
_PATCH_STRIDE_PX = 6  # 5 costs a half more for hardly more accuracy
_MAX_EPIPOLAR_PX = 1.0
_MAX_RELATIVE_SIGMA = 0.1
_BORDER_PX = 3
_CROP_MARGIN_PX = 16
_LEAST_CROP_PX = 64
_MIN_NEIGHBOURS = 4
_NEIGHBOUR_RATIO = 0.05


@dataclass(frozen=True)
class DepthTask:
    """A picture of a keyframe, and the view to measure its depths with; all that it takes.

    Attributes:
        camera: Whose picture it is.
        picture: (h, w) uint8 its small picture.
        colors_rgb: (n, 3) uint8 the picture as received at the pixels of the lattice.
        segmentation: Its masks, if there are any.
        points_cam: (k, 3) landmarks that the camera sees, in its optical frame.
        other: Camera of the other view.
        picture_other: (h, w) uint8 the small picture there.
        T_other_cam: (4, 4) p_other = T_other_cam @ p_cam.
    """

    camera: int
    picture: np.ndarray
    colors_rgb: np.ndarray
    segmentation: Segmentation | None
    points_cam: FloatArray
    other: int
    picture_other: np.ndarray
    T_other_cam: FloatArray


@dataclass(frozen=True)
class _Found:
    """Inverse depths (n,) of lattice pixels with their standard deviations, infinite if none."""

    inverse: FloatArray
    sigma: FloatArray


class DepthMeter:
    """Measures depths in single pictures; what it tells depends on the task alone."""

    def __init__(self, config: Config, rig: Rig) -> None:
        """Prepare for a rig; tasks of one camera come one after another."""
        self._buildings = frozenset({0, *config.segmentation.building_classes})
        self._cameras = [ShrunkCamera(c) for c in rig.cameras]
        self._flows = [_make_flow() for _ in rig.cameras]

    def measure_all(self, tasks: Sequence[DepthTask]) -> list[DepthSamples]:
        """Measure one after another, in order."""
        return [self.measure(task) for task in tasks]

    def measure(self, task: DepthTask) -> DepthSamples:
        """Return the depths of pixels of buildings; what frame they belong to is left open."""
        rows, labels = self._wanted(task.camera, task.segmentation)
        if not len(rows):
            return no_depths()
        found = self._without_speckle(task.camera, self._match(task, rows), rows, labels)
        depth = 1.0 / np.maximum(found.inverse, 1e-6)
        sigma = found.sigma * depth**2
        good = sigma < _MAX_RELATIVE_SIGMA * depth
        rows = rows[good]
        return DepthSamples(
            frame=np.zeros(len(rows), np.uint32),
            camera=np.full(len(rows), task.camera, np.uint16),
            uv_px=self._cameras[task.camera].lattice_px[rows].astype(np.uint16),
            depth_m=depth[good].astype(np.float16),
            sigma_m=sigma[good].astype(np.float16),
            colors_rgb=task.colors_rgb[rows],
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

    def _match(self, task: DepthTask, rows: IntArray) -> _Found:
        """Find pixels of the lattice, `rows` (n,), again in the other view."""
        camera, other = self._cameras[task.camera], self._cameras[task.other]
        points = task.points_cam
        inverse = camera.fill(points[:, :2] / points[:, 2:], 1.0 / points[:, 2])
        warp = _warp(camera, other, inverse, task.T_other_cam)
        at = camera.lattice_small_px[rows]
        low, high = _box(at, camera.size)
        crop = np.s_[low[1] : high[1], low[0] : high[0]]
        warped = cv2.remap(task.picture_other, warp[crop], None, cv2.INTER_LINEAR)
        picture = np.ascontiguousarray(task.picture[crop])
        flow = self._flows[task.camera].calc(picture, warped, None)
        uv = _look_up(warp, at + _look_up(flow, at - low))
        size = np.array(other.size)
        inside = ((uv > _BORDER_PX) & (uv < size - 1 - _BORDER_PX)).all(axis=1)
        ideal = (uv - other.center_px) / other.focal_px
        rays = depth_along_rays(camera.lattice_xy[rows], ideal, task.T_other_cam)
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
