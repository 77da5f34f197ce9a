"""Descriptors of landmarks: the same from near and far, once each, in any unit of length."""

import cv2
import numpy as np
import pytest

from seg2d3d_ros.clusters.descriptors import Describer
from seg2d3d_ros.clusters.landmarks import LandmarkTable
from seg2d3d_ros.clusters.threads import Threads
from seg2d3d_ros.clusters.window import LocalFrame, Seen
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Camera

K = np.array([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
CAMERA = Camera("front", 640, 480, K, transforms.rigid(transforms.R_BODY_OPTICAL, np.zeros(3)))
PIXELS_PER_M = 100.0


def wall(seed=0):
    """Return the texture of a wall, 8 m wide and 6 m high, with something at every scale."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.uniform(0, 255, (6 * n, 8 * n)), (800, 600), interpolation=cv2.INTER_CUBIC)
        for n in (2, 5, 12, 25)
    ]
    return np.clip(np.mean(layers, axis=0) * 2 - 127, 0, 255).astype(np.uint8)


def view(texture, distance_m, points_m):
    """Return the picture of a wall straight ahead, and the keyframe that sees points (n, 2)."""
    scale = K[0, 0] / (distance_m * PIXELS_PER_M)
    warp = np.array([[scale, 0.0, 320.0 - 400.0 * scale], [0.0, scale, 240.0 - 300.0 * scale]])
    uv = points_m * K[0, 0] / distance_m + K[:2, 2]
    blurred = cv2.GaussianBlur(texture, (0, 0), 0.5 / scale) if scale < 1 else texture
    picture = cv2.warpAffine(blurred, warp, (640, 480), flags=cv2.INTER_AREA)
    return picture, uv


def describe(describer, table, texture, distance_m, points_m, unit=1.0):
    """Describe points of the wall from a distance; returns their descriptors."""
    picture, uv = view(texture, distance_m, points_m)
    ids = table.create(len(points_m))
    ahead = np.full(len(points_m), distance_m)
    points = np.stack([ahead, -points_m[:, 0], -points_m[:, 1]], axis=1)
    table.set_points(ids, points * unit)
    seen = Seen(ids, np.zeros(len(ids), dtype=np.int64), uv, uv)
    frame = LocalFrame(0, np.eye(4), True, (0,), (0,), seen)
    for _ in range(2):
        describer.begin(frame, {0: picture}, table, unit == 1.0)
    describer.settle()
    return table.descriptors(ids)


def matched(a, b):
    """Return the share of rows whose nearest descriptor is that of the same point."""
    distance = np.linalg.norm(a[:, None].astype(float) - b[None].astype(float), axis=2)
    return float((distance.argmin(axis=1) == np.arange(len(a))).mean())


@pytest.fixture
def points_m():
    rng = np.random.default_rng(1)
    return rng.uniform([-2.0, -1.5], [2.0, 1.5], (60, 2))


def test_describe_from_half_the_distance_finds_the_same_points(points_m):
    table = LandmarkTable()
    far = describe(Describer((CAMERA,), Threads(1)), table, wall(), 16.0, points_m)
    near = describe(Describer((CAMERA,), Threads(1)), table, wall(), 8.0, points_m)
    assert matched(far, near) > 0.9
    # Another wall has nothing in common with it: the share is that of chance, 1 in 60.
    other = describe(Describer((CAMERA,), Threads(1)), table, wall(7), 8.0, points_m)
    assert matched(far, other) < 0.2


def test_describe_unknown_scale_takes_the_first_depths_as_unit(points_m):
    table = LandmarkTable()
    metric = describe(Describer((CAMERA,), Threads(1)), table, wall(), 20.0, points_m)
    unscaled = describe(Describer((CAMERA,), Threads(1)), table, wall(), 20.0, points_m, unit=0.01)
    # The median of the distances is 1 % above the 20 m straight ahead; that changes little.
    assert np.abs(unscaled.astype(float) - metric).max() < 10
    assert matched(unscaled, metric) == 1.0


def test_describe_again_keeps_the_first_descriptor(points_m):
    table, describer = LandmarkTable(), Describer((CAMERA,), Threads(1))
    first = describe(describer, table, wall(), 12.0, points_m).copy()
    picture, uv = view(wall(3), 12.0, points_m)
    ids = np.arange(1, 61)
    seen = Seen(ids, np.zeros(60, dtype=np.int64), uv, uv)
    frame = LocalFrame(0, np.eye(4), True, (0,), (0,), seen)
    for _ in range(2):
        describer.begin(frame, {0: picture}, table, True)
    describer.settle()
    np.testing.assert_array_equal(table.descriptors(ids), first)


def test_describe_landmark_without_position_waits(points_m):
    table, describer = LandmarkTable(), Describer((CAMERA,), Threads(1))
    describe(describer, table, wall(), 12.0, points_m)
    ids = table.create(1)
    picture, uv = view(wall(), 12.0, points_m[:1])
    seen = Seen(ids, np.zeros(1, dtype=np.int64), uv, uv)
    frame = LocalFrame(0, np.eye(4), True, (0,), (0,), seen)
    for _ in range(2):
        describer.begin(frame, {0: picture}, table, True)
    describer.settle()
    assert not table.is_described(ids).any()
    table.set_points(ids, np.array([[12.0, 0.0, 0.0]]))
    for _ in range(2):
        describer.begin(frame, {0: picture}, table, True)
    describer.settle()
    assert table.is_described(ids).all()


def test_describe_small_patches_wait_for_every_eighth_keyframe(points_m):
    table, describer = LandmarkTable(), Describer((CAMERA,), Threads(1))
    describe(describer, table, wall(), 40.0, points_m)  # 6 px each, by two keyframes
    picture, uv = view(wall(), 40.0, points_m)
    ids = np.arange(1, 61)
    frame = LocalFrame(
        0, np.eye(4), True, (0,), (0,), Seen(ids, np.zeros(60, dtype=np.int64), uv, uv)
    )
    described = []
    for _ in range(6):
        describer.begin(frame, {0: picture}, table, True)
        describer.settle()
        described.append(table.is_described(ids).mean())
    assert described[:5] == [0.0] * 5
    assert described[5] > 0.9


def test_describe_beside_stores_the_same_and_only_when_settled(points_m):
    table, beside = LandmarkTable(), Threads(2)
    expected = describe(Describer((CAMERA,), Threads(1)), table, wall(), 12.0, points_m)
    describer = Describer((CAMERA,), beside)
    picture, uv = view(wall(), 12.0, points_m)
    ids = table.create(60)
    table.set_points(ids, table.points(ids - 60))
    frame = LocalFrame(
        0, np.eye(4), True, (0,), (0,), Seen(ids, np.zeros(60, dtype=np.int64), uv, uv)
    )
    for _ in range(2):
        describer.begin(frame, {0: picture}, table, True)
    assert not table.is_described(ids).any()
    describer.settle()
    beside.close()
    np.testing.assert_array_equal(table.descriptors(ids), expected)


def test_table_drops_descriptors_with_their_rows():
    table = LandmarkTable()
    ids = table.create(6000)
    table.set_descriptors(ids, np.repeat((ids % 251)[:, None], 128, axis=1).astype(np.uint8))
    table.drop_before(5001)
    kept = np.arange(5001, 6001)
    np.testing.assert_array_equal(table.descriptors(kept)[:, 0], kept % 251)
    assert not table.is_described(table.create(3000)).any()
