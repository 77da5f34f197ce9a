"""An endless street as clusters made of arrays: no pictures, no front end, any length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from seg2d3d_ros.geometry import cameras, masks, transforms
from seg2d3d_ros.types import (
    Camera,
    Cluster,
    Keyframe,
    Landmarks,
    Mask,
    Observations,
    RelativePose,
    Rig,
    Segmentation,
)

START_NS = 1_700_000_000_000_000_000
STEP_M, PERIOD_NS = 0.6, 100_000_000  # every second frame is a keyframe
SIZE, OVERLAP = 40, 16  # frames in a cluster, and shared with the last one
HOUSE_M, HALF_STREET_M, HEIGHT_M = 10.0, 9.0, 7.0
LANDMARKS_PER_M, TRACK_M = 75.0, 7.0
NOISE_PX = 0.3
CROP = bytes(1500)


@dataclass(frozen=True)
class Stream:
    """How long, and with how many cameras (turned 35 degrees to either side)."""

    num_keyframes: int
    num_cameras: int = 1
    seed: int = 0

    def rig(self) -> Rig:
        """Return the cameras, 640 x 384, 80 degrees wide."""
        focal = 320.0 / np.tan(np.deg2rad(40.0))
        K = np.array([[focal, 0, 319.5], [0, focal, 191.5], [0, 0, 1]])
        out = []
        for k, yaw in enumerate((35.0, -35.0)[: self.num_cameras]):
            turn = transforms.exp([0, 0, np.deg2rad(yaw), 0, 0, 0])[:3, :3]
            T = transforms.rigid(turn @ transforms.R_BODY_OPTICAL, [0.4, 0.3 - 0.6 * k, 1.6])
            out.append(Camera(f"camera_{k}", 640, 384, K, T))
        return Rig(tuple(out), has_odometry=True)

    def clusters(self) -> Iterator[Cluster]:
        """Yield the clusters of the drive, made one at a time."""
        rig, num_frames = self.rig(), 2 * self.num_keyframes
        starts = range(0, max(num_frames - OVERLAP, 1), SIZE - OVERLAP)
        for sequence, first in enumerate(starts):
            frames = range(first, min(first + SIZE, num_frames))
            yield self._cluster(rig, sequence, frames, first + OVERLAP if sequence else first)

    def _cluster(self, rig: Rig, sequence: int, frames: range, first_new: int) -> Cluster:
        seen = [_observe(camera, c, k) for k in frames for c, camera in enumerate(rig.cameras)]
        ids, frame, camera, uv_px = (np.concatenate(column) for column in zip(*seen, strict=True))
        unique, landmark, count = np.unique(ids, return_inverse=True, return_counts=True)
        points = _landmarks(unique)
        points[count < 2] = np.nan
        keyframes = [k for k in frames if k % 2 == 0]
        return Cluster(
            sequence=sequence,
            session=0,
            is_last=frames[-1] + 1 == 2 * self.num_keyframes,
            scale="metric",
            num_overlap=OVERLAP // 2 if sequence else 0,
            rig=rig,
            frames=tuple(_frame(rig, k) for k in frames),
            landmarks=Landmarks(
                unique,
                points,
                np.full((len(unique), 3), 128, np.uint8),
                np.zeros((len(unique), 0), np.uint8),
                np.full(len(unique), 0.05, np.float32),
            ),
            observations=Observations(landmark, frame - frames[0], camera, uv_px),
            odometry=tuple(
                RelativePose(a - frames[0], b - frames[0], step(a, b), np.eye(6) * 1e-4)
                for a, b in zip(keyframes, keyframes[1:], strict=False)
            ),
            segmentations=tuple(
                _segment(camera, k, np.random.default_rng((self.seed, k, c)))
                for k in frames
                if k >= first_new
                for c, camera in enumerate(rig.cameras)
            ),
        )


def pose(k: int) -> np.ndarray:
    """Return T_world_base of a frame: down the street, swaying a little."""
    way = STEP_M * k
    return transforms.exp([0, 0, 0.03 * np.cos(way / 30), way, 0.9 * np.sin(way / 30), 0.0])


def step(a: int, b: int) -> np.ndarray:
    """Return the increment between two frames."""
    return transforms.invert(pose(a)) @ pose(b)


def _frame(rig: Rig, k: int) -> Keyframe:
    stamp = START_NS + k * PERIOD_NS
    num = len(rig.cameras)
    return Keyframe(stamp, pose(k), k % 2 == 0, tuple(range(num)), (stamp,) * num)


def _share(ids: np.ndarray, salt: int) -> np.ndarray:
    """Return numbers in 0..1 that look random and depend on the ids alone."""
    x = (ids.astype(np.uint64) + np.uint64(salt)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    return (x >> np.uint64(11)).astype(np.float64) / 2.0**53


def _landmarks(ids: np.ndarray) -> np.ndarray:
    """Return landmarks (n, 3) on the facades of both sides."""
    x = ids / LANDMARKS_PER_M
    side = np.where(_share(ids, 1) < 0.5, 1.0, -1.0)
    setback = 0.6 * ((x // HOUSE_M) % 2)
    z = 0.5 + (HEIGHT_M - 1.0) * _share(ids, 2)
    return np.stack([x, side * (HALF_STREET_M + setback), z], axis=1)


def _observe(camera: Camera, c: int, k: int) -> tuple[np.ndarray, ...]:
    """Return landmark, frame, camera (m,) and pixels (m, 2) of what a picture follows."""
    x = STEP_M * k
    low, high = int(max(x, 0.0) * LANDMARKS_PER_M), int((x + 36.0) * LANDMARKS_PER_M)
    ids = np.arange(low, high)
    first_seen = ids / LANDMARKS_PER_M - (4.0 + TRACK_M + 20.0 * _share(ids, 3))
    ids = ids[(first_seen <= x) & (x < first_seen + TRACK_M)]
    T_cam_world = transforms.invert(pose(k) @ camera.T_base_cam)
    uv, inside = cameras.project(camera, transforms.apply(T_cam_world, _landmarks(ids)))
    ids, uv = ids[inside], uv[inside]
    noise = np.stack([_share(ids * 131 + k, 5 + c), _share(ids * 137 + k, 9 + c)], axis=1) - 0.5
    uv_px = (uv + 3.46 * NOISE_PX * noise).astype(np.float32)
    return ids, np.full(len(ids), k), np.full(len(ids), c), uv_px


def _segment(camera: Camera, k: int, rng: np.random.Generator) -> Segmentation:
    """Return the masks of a picture; 10 % are missing, 5 % are in two, 5 % cover two houses."""
    T_cam_world = transforms.invert(pose(k) @ camera.T_base_cam)
    house = int(STEP_M * k // HOUSE_M)
    out: list[Mask] = []
    for side in (1.0, -1.0):
        for h in range(max(house, 0), house + 5):
            fate = rng.random()
            if fate < 0.1:
                continue
            ends = ((h, h + 0.5), (h + 0.5, h + 1)) if fate < 0.15 else ((h, h + 1),)
            for a, b in ((h, h + 2),) if fate > 0.95 else ends:
                picture = _outline(camera, T_cam_world, side, (a * HOUSE_M, b * HOUSE_M))
                if picture.sum() >= 200:
                    box, runs = masks.encode(picture.astype(bool))
                    crop = CROP if k % 2 == 0 else b""
                    label = 11001 + len(out)
                    out.append(Mask(label, 11, 0.9, box, runs, crop_jpeg=crop))
    return Segmentation(camera.name, START_NS + k * PERIOD_NS, 640, 384, tuple(out))


def _outline(
    camera: Camera, T_cam_world: np.ndarray, side: float, ends: tuple[float, float]
) -> np.ndarray:
    """Return the mask (h, w) of a stretch of facade."""
    x = np.tile(np.linspace(*ends, 21), 2)
    z = np.repeat([0.0, HEIGHT_M], 21)
    setback = 0.6 * ((ends[0] // HOUSE_M) % 2)
    p = np.stack([x, np.full(42, side * (HALF_STREET_M + setback)), z], axis=1)
    p = transforms.apply(T_cam_world, p)
    p = p[p[:, 2] > 0.3]
    picture = np.zeros((camera.height_px, camera.width_px), dtype=np.uint8)
    if len(p) >= 3:
        uv = p[:, :2] / p[:, 2:] * camera.K[[0, 1], [0, 1]] + camera.K[:2, 2]
        uv = np.clip(np.round(uv), -5000, 5000).astype(np.int32)
        cv2.fillConvexPoly(picture, cv2.convexHull(uv), 1)
    return picture
