"""Clusters of a made-up drive with truth: landmarks with descriptors along a route, and drift."""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import masks, transforms
from seg2d3d_ros.types import (
    Camera,
    Cluster,
    Keyframe,
    Landmarks,
    Mask,
    Observations,
    Rig,
    Segmentation,
)

K = np.array([[320.0, 0.0, 320.0], [0.0, 320.0, 240.0], [0.0, 0.0, 1.0]])
MOUNT = transforms.rigid(transforms.R_BODY_OPTICAL, [0.0, 0.0, 1.6])
RIG = Rig((Camera("front", 640, 480, K, MOUNT),))
STEP_M, REACH_M = 1.2, 30.0
SECOND_NS = 1_000_000_000


def pose(x, y, yaw=0.0):
    return transforms.exp([0.0, 0.0, yaw, x, y, 0.0])


def ring(length_m, radius_m, start=(0.0, 0.0)):
    """Return poses every 1.2 m on a circle to the left, from the origin along x."""
    angles = np.arange(0.0, length_m, STEP_M) / radius_m
    return [
        pose(start[0] + radius_m * np.sin(a), start[1] + radius_m * (1 - np.cos(a)), a)
        for a in angles
    ]


def line(length_m, start=(0.0, 0.0)):
    return [pose(start[0] + s, start[1]) for s in np.arange(0.0, length_m, STEP_M)]


def facades(route, rng, per_m=8):
    """Return corners (n, 3) on both sides of a route, and their descriptors (n, 128)."""
    along = np.repeat(np.arange(len(route)), round(per_m * STEP_M))
    side = rng.choice([-1.0, 1.0], len(along)) * rng.uniform(5.0, 7.0, len(along))
    local = np.stack(
        [rng.uniform(0, STEP_M, len(along)), side, rng.uniform(0.2, 7.0, len(along))], axis=1
    )
    points = np.array(
        [transforms.apply(route[k], p[None])[0] for k, p in zip(along, local, strict=True)]
    )
    return points, appearance(rng, len(points))


def appearance(rng, num):
    """Return random descriptors (n, 128): few large bins, as SIFT has, so that most differ."""
    return np.minimum(rng.exponential(25.0, (num, 128)), 255).astype(np.uint8)


@dataclass
class Drive:
    """Turns a route past landmarks into clusters.

    `drift_deg_per_m` bends the trajectory that the clusters believe in; `scale` is metres of the
    street per unit of the clusters. With `houses` (n,), whose each landmark is, every picture has
    masks: what the corners of a house span; `class_id` is their class.
    """

    points: np.ndarray
    descriptors: np.ndarray
    drift_deg_per_m: float = 0.0
    scale: float = 1.0
    seed: int = 0
    noise_px: float = 0.3
    next_id: int = 1
    landmark_of: dict = field(default_factory=dict)
    rig: Rig = RIG
    houses: np.ndarray | None = None
    class_id: int = 11
    sequence: int = 0
    stamp: int = SECOND_NS

    def clusters(self, route, session=0, T_local_start=None, is_last=True):
        """Return the clusters of a route, 20 keyframes each, 8 of them shared."""
        rng = np.random.default_rng((self.seed, session, self.sequence))
        T_est = [np.eye(4) if T_local_start is None else T_local_start]
        for a, b in zip(route, route[1:], strict=False):
            T = transforms.invert(a) @ b
            T[:3, 3] *= 1.0 / self.scale
            turn = np.deg2rad(self.drift_deg_per_m) * np.linalg.norm(T[:3, 3]) * self.scale
            T_est.append(T_est[-1] @ T @ transforms.exp([0, 0, turn, 0, 0, 0]))
        seen = self._seen(route, rng)
        local = self._local(route, T_est, seen)
        stamps = [self.stamp + k * SECOND_NS // 10 for k in range(len(route))]
        self.stamp = stamps[-1] + 3 * SECOND_NS
        out, first = [], 0
        while True:
            end = min(first + 20, len(route))
            overlap = 0 if first == 0 else 8
            rows = range(first, end)
            window = (rows, overlap, session)
            out.append(self._cluster(window, stamps, T_est, seen, local, end == len(route)))
            if end == len(route):
                return [*out[:-1], _marked(out[-1], is_last)]
            first += 12

    def _seen(self, route, rng):
        """Return, for each pose, ids, points and pixels: a landmark out of sight starts anew."""
        live, out = {}, []
        camera = self.rig.cameras[0]
        for T in route:
            T_cam_world = transforms.invert(T @ camera.T_base_cam)
            p_cam = transforms.apply(T_cam_world, self.points)
            uv, inside = models.project(camera, p_cam)
            rows = np.flatnonzero(inside & (p_cam[:, 2] < REACH_M) & (p_cam[:, 2] > 2.0))
            live = {r: live[r] for r in rows if r in live}
            for r in rows:
                if r not in live:
                    live[r] = self.next_id
                    self.landmark_of[self.next_id] = int(r)
                    self.next_id += 1
            ids = np.array([live[r] for r in rows], dtype=np.int64)
            out.append((ids, rows, uv[rows] + rng.normal(0, self.noise_px, (len(rows), 2))))
        return out

    def _local(self, route, T_est, seen):
        """Return the believed position of each id: it drifts with the pose that saw it first."""
        local = {}
        for T, E, (ids, rows, _) in zip(route, T_est, seen, strict=True):
            p_base = transforms.apply(transforms.invert(T), self.points[rows])
            lever = self.rig.cameras[0].T_base_cam[:3, 3]
            p = transforms.apply(E, (p_base - lever) / self.scale + lever)
            for i, q in zip(ids.tolist(), p, strict=True):
                local.setdefault(i, q)
        return local

    def _cluster(self, window, stamps, T_est, seen, local, ends):
        frames, overlap, session = window
        ids = np.unique(np.concatenate([seen[k][0] for k in frames]))
        rng = np.random.default_rng(ids[0])
        base = self.descriptors[[self.landmark_of[i] for i in ids.tolist()]].astype(float)
        noisy = np.clip(base + rng.normal(0, 6.0, base.shape), 0, 255).astype(np.uint8)
        landmarks = Landmarks(
            ids,
            np.array([local[i] for i in ids.tolist()]),
            np.zeros((len(ids), 3), dtype=np.uint8),
            noisy,
            np.full(len(ids), 0.1, dtype=np.float32),
        )
        at = np.concatenate([np.searchsorted(ids, seen[k][0]) for k in frames])
        frame = np.concatenate([np.full(len(seen[k][0]), n) for n, k in enumerate(frames)])
        uv = np.concatenate([seen[k][2] for k in frames]).astype(np.float32)
        poses = tuple(Keyframe(stamps[k], T_est[k], True, (0,), (stamps[k],)) for k in frames)
        observations = Observations(at, frame, np.zeros(len(at), dtype=np.int64), uv)
        scale = "metric" if self.scale == 1.0 else "unknown"
        self.sequence += 1
        cluster = Cluster(
            self.sequence - 1,
            session,
            ends,
            scale,
            overlap,
            self.rig,
            poses,
            landmarks,
            observations,
        )
        if self.houses is None:
            return cluster
        shown = tuple(self._masks(seen[k], stamps[k]) for k in frames[overlap:])
        return replace(cluster, segmentations=shown)

    def _masks(self, seen, stamp):
        """Return the masks of a picture: the hulls of the corners of each house, 3 px wider."""
        ids, rows, uv = seen
        found = []
        for k, house in enumerate(np.unique(self.houses[rows]), 1):
            corners = uv[self.houses[rows] == house].astype(np.int32)
            picture = np.zeros((480, 640), np.uint8)
            cv2.fillConvexPoly(picture, cv2.convexHull(corners), 1)
            box, runs = masks.encode(cv2.dilate(picture, np.ones((7, 7), np.uint8)) > 0)
            found.append(Mask(self.class_id * 1000 + k, self.class_id, 1.0, box, runs))
        return Segmentation("front", stamp, 640, 480, tuple(found))


def _marked(cluster, is_last):
    return replace(cluster, is_last=is_last)
