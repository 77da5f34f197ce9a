from dataclasses import replace

import cv2
import numpy as np
import pytest

from seg2d3d_ros.clusters.overlap import CameraPair, overlapping_pairs
from seg2d3d_ros.clusters.tracker import Tracker
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Rig

# 25 m before the end of the corridor: that is what two cameras share that overlap by 10 degrees
POSE = transforms.rigid(np.eye(3), [45.0, 0.5, 0.0])
RIGS = {
    "stereo": (("a", 0.3, 0.0), ("b", -0.3, 0.0)),
    "turned": (("a", 0.3, 35.0, 2), ("b", -0.3, -35.0, 2)),
}


@pytest.fixture(params=RIGS)
def scene(request, corridor, make_camera):
    """A pair of cameras in the corridor: rig, pictures, and corners of the first."""
    rig = Rig(tuple(make_camera(*c) for c in RIGS[request.param]))
    images = [corridor.render(c, POSE) for c in rig.cameras]
    tracker = Tracker(1000, 8)
    tracker.advance(images[0], tracker.uv_px)
    return rig, images, tracker.find_corners(None)


def truth(corridor, rig, uv_a):
    """Where the points seen at uv_a lie in the second picture: pixels, depths along the ray."""
    points, _, _ = corridor.hit(rig.cameras[0], POSE, uv_a)
    T_a, T_b = (transforms.invert(POSE @ c.T_base_cam) for c in rig.cameras)
    p_b = transforms.apply(T_b, points)
    K = rig.cameras[1].K
    uv_b = p_b[:, :2] / p_b[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]
    uv_b[p_b[:, 2] < 0.1] = np.nan
    return uv_b, np.linalg.norm(transforms.apply(T_a, points), axis=1)


def intersect(rig, uv_a, uv_b):
    """Depth (n,) along the rays of a at which they pass nearest to those of b."""
    T = transforms.invert(rig.cameras[0].T_base_cam) @ rig.cameras[1].T_base_cam
    rays = []
    for camera, uv in zip(rig.cameras, (uv_a, uv_b), strict=True):
        xy = (uv - camera.K[:2, 2]) / camera.K[[0, 1], [0, 1]]
        d = np.c_[xy, np.ones(len(xy))]
        rays.append(d / np.linalg.norm(d, axis=1, keepdims=True))
    b = rays[1] @ T[:3, :3].T
    cosine = np.einsum("ni,ni->n", rays[0], b)
    return ((rays[0] - cosine[:, None] * b) @ T[:3, 3]) / (1 - cosine**2)


@pytest.mark.parametrize("is_depth_known", [False, True])
def test_match_corners_are_found_where_they_truly_are(scene, corridor, is_depth_known):
    rig, (image_a, image_b), uv_a = scene
    expected, depth = truth(corridor, rig, uv_a)
    pair = CameraPair(rig, 0, 1)
    given = depth * 1.1 if is_depth_known else np.full(len(uv_a), np.nan)
    found = pair.match(image_a, image_b, uv_a, given)
    camera = rig.cameras[1]
    size = np.array([camera.width_px, camera.height_px])
    inside = ((expected > 8) & (expected < size - 9)).all(axis=1)
    # not all: surfaces are slanted, grain fades with distance, patches need room to the border;
    # a pyramid of four levels would leave less than half in a strip of 10 degrees
    assert len(found.rows) > 0.6 * inside.sum() > 40
    error = np.linalg.norm(found.uv_px - expected[found.rows], axis=1)
    # patches on walls seen from two sides are deformed: half a pixel; 5 % may be wrong by more
    assert np.median(error) < 0.5
    assert np.mean(error < 2.0) > 0.95


@pytest.mark.parametrize("gain", [0.6, 1.5])
def test_match_cameras_of_different_exposure_agree_as_well(scene, gain):
    rig, images, uv_a = scene
    # dark enough that nothing turns white
    image_a, image_b = (image // 2 for image in images)
    unknown = np.full(len(uv_a), np.nan)
    pair = CameraPair(rig, 0, 1)
    alike = pair.match(image_a, image_b, uv_a, unknown)
    other = pair.match(image_a, cv2.convertScaleAbs(image_b, alpha=gain), uv_a, unknown)
    both, here, there = np.intersect1d(alike.rows, other.rows, return_indices=True)
    assert len(both) > 0.85 * len(alike.rows)
    error = np.linalg.norm(other.uv_px[there] - alike.uv_px[here], axis=1)
    # brightness is told to a percent
    assert np.percentile(error, 80) < 0.1


def test_match_corners_lie_on_the_epipolar_line(scene):
    rig, (image_a, image_b), uv_a = scene
    found = CameraPair(rig, 0, 1).match(image_a, image_b, uv_a, np.full(len(uv_a), np.nan))
    T_b_a = transforms.invert(rig.cameras[1].T_base_cam) @ rig.cameras[0].T_base_cam
    t = T_b_a[:3, 3]
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    inverse = np.linalg.inv(rig.cameras[0].K)
    F = inverse.T @ cross @ T_b_a[:3, :3] @ inverse
    one = np.ones(len(found.rows))
    line = np.c_[uv_a[found.rows], one] @ F.T
    distance = np.abs(np.einsum("ni,ni->n", np.c_[found.uv_px, one], line))
    distance /= np.linalg.norm(line[:, :2], axis=1)
    # accepted within 1 px at the centre of the picture; the corners of 80 degrees stretch that
    assert distance.max() < 2.0
    assert np.median(distance) < 0.4


def test_match_depths_are_right_within_noise(scene, corridor):
    rig, (image_a, image_b), uv_a = scene
    found = CameraPair(rig, 0, 1).match(image_a, image_b, uv_a, np.full(len(uv_a), np.nan))
    _, expected = truth(corridor, rig, uv_a)
    depth, expected = intersect(rig, uv_a[found.rows], found.uv_px), expected[found.rows]
    near = expected < 28.0
    assert near.sum() > 20
    # 0.6 m apart at 190 px focal: 0.1 px of noise at 25 m is 0.1 / 190 * 25 / 0.6 = 2.2 %
    assert np.median(np.abs(depth - expected)[near] / expected[near]) < 0.03
    assert (depth > 0).all()


def test_match_different_places_finds_next_to_nothing(scene, corridor):
    rig, (image_a, _), uv_a = scene
    elsewhere = corridor.render(rig.cameras[1], transforms.rigid(np.eye(3), [-17.0, 0.3, 0.0]))
    found = CameraPair(rig, 0, 1).match(image_a, elsewhere, uv_a, np.full(len(uv_a), np.nan))
    assert len(found.rows) < 0.02 * len(uv_a)


@pytest.mark.parametrize(("way_m", "is_in_step"), [(0.0, True), (0.05, True), (0.8, False)])
def test_match_tells_pictures_that_were_taken_apart(scene, corridor, way_m, is_in_step):
    # 0.05 m is 5 ms at 10 m/s; 0.8 m are more than the 0.6 m between the cameras
    rig, (image_a, _), uv_a = scene
    before = POSE @ transforms.rigid(np.eye(3), [-way_m, 0.0, 0.0])
    image_b = corridor.render(rig.cameras[1], before)
    there, back = CameraPair(rig, 0, 1), CameraPair(rig, 1, 0)
    for _ in range(5):
        there.match(image_a, image_b, uv_a, np.full(len(uv_a), np.nan))
    assert there.is_in_step is is_in_step
    back.hear(there)
    assert back.is_in_step is is_in_step


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_match_cameras_calibrated_to_a_third_of_a_degree_are_in_step(scene, axis):
    rig, (image_a, image_b), uv_a = scene
    left, right = rig.cameras
    turn = transforms.exp(np.deg2rad(0.33) * np.eye(6)[axis])
    stated = replace(rig, cameras=(left, replace(right, T_base_cam=right.T_base_cam @ turn)))
    pair = CameraPair(stated, 0, 1)
    for _ in range(5):
        pair.match(image_a, image_b, uv_a, np.full(len(uv_a), np.nan))
    assert pair.is_in_step


def test_match_pictures_whose_poses_are_told_are_never_out_of_step(scene, corridor):
    # cameras that fire in turn: where each was is known
    rig, (image_a, _), uv_a = scene
    way = transforms.rigid(np.eye(3), [-0.8, 0.0, 0.0])
    image_b = corridor.render(rig.cameras[1], POSE @ way)
    T_b_a = transforms.invert(way @ rig.cameras[1].T_base_cam) @ rig.cameras[0].T_base_cam
    pair = CameraPair(rig, 0, 1)
    for _ in range(5):
        pair.match(image_a, image_b, uv_a, np.full(len(uv_a), np.nan), T_b_a)
    assert pair.is_in_step


def test_match_black_picture_or_no_corners_gives_nothing(scene):
    rig, (image_a, image_b), uv_a = scene
    pair = CameraPair(rig, 0, 1)
    unknown = np.full(len(uv_a), np.nan)
    assert len(pair.match(image_a, np.zeros_like(image_b), uv_a, unknown).rows) == 0
    assert len(pair.match(image_a, image_b, uv_a[:0], unknown[:0]).rows) == 0


@pytest.mark.parametrize(
    ("yaw_deg", "expected"), [(0.0, {(0, 1)}), (60.0, {(0, 1)}), (120.0, set()), (180.0, set())]
)
def test_overlapping_pairs_are_those_that_share_a_view(make_camera, yaw_deg, expected):
    # 80 degrees of view each: nothing in common beyond 80 degrees between them
    rig = Rig((make_camera("a", 0.3, 0.0), make_camera("b", -0.3, yaw_deg)))
    assert {tuple(sorted((p.a, p.b))) for p in overlapping_pairs(rig)} == expected


def test_overlapping_pairs_of_one_camera_are_none(make_camera):
    assert overlapping_pairs(Rig((make_camera(),))) == []
