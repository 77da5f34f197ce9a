"""Makes small maps and run reports for tests of the result folder."""

from __future__ import annotations

import cv2
import numpy as np

from seg2d3d_ros.accounts import FrameCounts, RunReport
from seg2d3d_ros.config import Config, to_tree
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import (
    EventKind,
    Instance,
    InstanceEvent,
    MapUpdate,
    MaskAssignment,
    Origin,
    PointCloud,
    Trajectory,
    View,
)

START_NS = 1_700_000_000_123_456_789


def straight_path(length_m=60.0, step_m=1.0):
    x = np.arange(0, length_m, step_m)
    return np.column_stack([x, 0.02 * x, np.zeros_like(x)]), np.full(len(x), 0.02)


def loop_path(length_m=1400.0, step_m=2.0):
    side = length_m / 4
    s = np.arange(0, length_m, step_m)
    leg, along = (s // side).astype(int), s % side
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]])
    directions = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
    xy = corners[leg] + along[:, None] * directions[leg]
    return np.column_stack([xy, np.zeros(len(s))]), leg * np.pi / 2


def jpeg(instance):
    rng = np.random.default_rng(instance)
    image = np.full((60, 80, 3), rng.integers(60, 200, 3), np.uint8)
    cv2.rectangle(image, (20, 20), (40, 45), (200, 220, 240), -1)
    return cv2.imencode(".jpg", image)[1].tobytes()


def make_instance(k, center_xy, yaw, size=(10.0, 6.0, 8.0)):
    c, s = np.cos(yaw), np.sin(yaw)
    half = np.array(size[:2]) / 2
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    footprint = np.asarray(center_xy) + corners @ np.array([[c, s], [-s, c]])
    center = np.array([*center_xy, size[2] / 2])
    return Instance(
        id=k,
        class_id=11,
        score=0.5 + 0.4 * ((k * 7) % 10) / 10,
        num_points=120,
        num_views=30,
        first_stamp_ns=START_NS + k * 100_000_000,
        last_stamp_ns=START_NS + (k + 5) * 100_000_000,
        centroid_map=center,
        box_center_map=center,
        box_size_m=np.array(size),
        box_yaw_rad=float(yaw),
        footprint_map=footprint,
        sigma_m=0.12,
        best_views=(View("camera_front", START_NS + k * 100_000_000, 11001, jpeg(k)),),
        embedding=np.full(4, k, np.float32),
    )


def make_map(path=None, georeferenced=True, scale="metric", points_per_instance=120, spacing=14.0):
    rng = np.random.default_rng(5)
    positions, yaws = path if path is not None else straight_path()
    T = np.array(
        [
            transforms.from_quaternion((0, 0, np.sin(y / 2), np.cos(y / 2)), p)
            for p, y in zip(positions, yaws, strict=True)
        ]
    )
    stamps = START_NS + np.arange(len(T)) * 100_000_000
    travelled = np.concatenate([[0], np.linalg.norm(np.diff(positions, axis=0), axis=1).cumsum()])
    instances, points, ids = [], [], []
    for s in np.arange(spacing / 2, travelled[-1], spacing):
        i = int(np.searchsorted(travelled, s))
        left = np.array([-np.sin(yaws[i]), np.cos(yaws[i])])
        for side in (1, -1):
            k = len(instances) + 1
            center = positions[i, :2] + side * 9 * left
            instances.append(make_instance(k, center, float(yaws[i])))
            local = rng.uniform([-5, -3, 0], [5, -2.8, 8], (points_per_instance, 3))
            local[:, 1] *= side
            c, sn = np.cos(yaws[i]), np.sin(yaws[i])
            points.append(local @ np.array([[c, sn, 0], [-sn, c, 0], [0, 0, 1]]) + [*center, 0])
            ids.append(np.full(points_per_instance, k))
    n = len(T) * 20
    road = positions[rng.integers(0, len(T), n)] + rng.normal(0, [4, 4, 0.3], (n, 3))
    points.append(road)
    ids.append(np.zeros(n))
    points, ids = np.vstack(points), np.concatenate(ids).astype(np.uint32)
    cloud = PointCloud(
        ids=np.arange(len(points)),
        points_map=points,
        colors_rgb=rng.integers(40, 220, (len(points), 3)).astype(np.uint8),
        labels=np.where(ids > 0, 11, 7).astype(np.uint32),
        instances=ids,
        sigma_m=rng.uniform(0.01, 0.5, len(points)).astype(np.float32),
        num_views=rng.integers(2, 40, len(points)).astype(np.uint32),
    )
    assignments = tuple(
        MaskAssignment(int(t), camera, 11001 + k, k, 0.9, 25)
        for t in stamps[:20:4]
        for camera in ("camera_rear", "camera_front")
        for k in range(3)
    )
    return MapUpdate(
        sequence=4,
        stamp_ns=int(stamps[-1]),
        is_full=True,
        scale=scale,
        origin=Origin(49.0093, 8.4371, 114.5) if georeferenced else None,
        T_map_local=np.eye(4),
        trajectory=Trajectory(stamps, T, np.arange(len(T)) % 3 == 0),
        cloud=cloud,
        removed_points=np.zeros(0, np.int64),
        instances=tuple(instances),
        removed_instances=(),
        events=(
            InstanceEvent(1, int(stamps[5]), EventKind.MERGED, 2, 9, {"jaccard": 0.5, "a": 3}),
            InstanceEvent(0, int(stamps[3]), EventKind.CREATED, 2, 0, {"views": 4}),
        ),
        assignments=assignments,
        counts={"merges": 1.0, "landmarks": float(len(points))},
    )


def make_report(wall_s=12.5, **changes):
    fields = {
        "source": "drive_01",
        "backend": "labels",
        "frames": {
            "camera_front": FrameCounts(
                60, 57, {"bad_size": 2, "stamp_back": 1}, {"ok": 55, "no_labels": 2}
            ),
            "camera_rear": FrameCounts(60, 60, {}, {"ok": 60}),
        },
        "seconds": {"segmentation": 1.2, "clusters": 8.1, "mapping": 2.4},
        "counts": {"keyframes": 20.0, "clusters": 5.0},
        "wall_s": wall_s,
        "recording_s": 6.0,
        "peak_memory_mib": 412.0,
        "config": to_tree(Config()),
        "classes": {11: "building", 7: "road"},
        "remarks": ("odometry is read from /odom; not used: /gps/odom",),
    }
    return RunReport(**{**fields, **changes})
