from dataclasses import replace

import numpy as np
import pytest

from seg2d3d_ros.clusters.landmarks import LandmarkTable
from seg2d3d_ros.clusters.motion import Motion
from seg2d3d_ros.clusters.window import LocalFrame, LocalMap, Seen
from seg2d3d_ros.config import ClustersConfig
from seg2d3d_ros.geometry import cameras, transforms
from seg2d3d_ros.types import Rig

NUM_POINTS = 150


@pytest.fixture
def rig(make_camera):
    return Rig((make_camera("a", 0.3), make_camera("b", -0.3)))


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform((5, -8, 0), (25, 8, 6), (NUM_POINTS, 3))


def look(rig, T, ids, points, noise_px=0.0, seed=0):
    """What a rig at T sees of the points, pixels with noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for c, camera in enumerate(rig.cameras):
        p_cam = transforms.apply(transforms.invert(T @ camera.T_base_cam), points)
        uv, inside = cameras.project(camera, p_cam)
        uv = (uv + noise_px * rng.standard_normal(uv.shape))[inside]
        rows.append((ids[inside], np.full(len(uv), c), uv, uv.copy()))
    return Seen(*(np.concatenate(r) for r in zip(*rows, strict=True)))


def build(rig, points, num=6, noise_px=0.0, config=None):
    """A map of `num` keyframes, 0.8 m apart at their true poses, without landmarks."""
    table = LandmarkTable()
    ids = table.create(len(points))
    local = LocalMap(config or ClustersConfig(), rig, table)
    for k in range(num):
        T = transforms.exp([0, 0, 0.01 * k, 0.8 * k, 0.01 * k**2, 0])
        seen = look(rig, T, ids, points, noise_px, seed=k)
        moment = (1000 * k, T, True, (0, 1), (1000 * k, 1000 * k))
        local.keyframes.append(LocalFrame(*moment, seen))
    return local, ids


def seen_often(local, times=2):
    ids, count = np.unique(
        np.concatenate([k.seen.ids for k in local.keyframes]), return_counts=True
    )
    return ids[count >= times]


def test_triangulate_without_noise_is_exact(rig, points):
    local, _ = build(rig, points)
    num = local.triangulate()
    found = local.keyframes[-1].seen.ids
    known = np.unique(found[np.isfinite(local.landmarks.points(found)[:, 0])])
    assert num == len(known) > 50
    np.testing.assert_allclose(local.landmarks.points(known), points[known - 1], atol=1e-7)


def test_triangulate_again_finds_nothing_new(rig, points):
    local, _ = build(rig, points)
    assert local.triangulate() > 0
    assert local.triangulate() == 0


def test_triangulate_noise_stays_within_the_sigma_it_reports(rig, points):
    local, ids = build(rig, points, noise_px=0.5)
    local.triangulate()
    known = ids[np.isfinite(local.landmarks.points(ids)[:, 0])]
    error = np.linalg.norm(local.landmarks.points(known) - points[known - 1], axis=1)
    # sigma is for one pixel along the worst axis, half of which was injected
    ratio = error / (0.5 * local.landmarks.sigma(known))
    assert 0.4 < np.median(ratio) < 1.4
    assert np.mean(ratio < 3.0) > 0.95


def test_triangulate_one_camera_standing_still_finds_nothing(make_camera, points):
    local, _ = build(Rig((make_camera(),)), points, num=1)
    still = local.keyframes[0]
    local.keyframes += [replace(still, stamp_ns=k) for k in range(1, 6)]
    assert local.triangulate() == 0


def test_triangulate_wrong_match_gets_no_position(rig, points):
    local, _ = build(rig, points)
    moved = local.keyframes[2].seen
    wrong = moved.ids[5]
    moved.uv_ideal_px[5] += [0.0, 25.0]
    local.triangulate()
    assert np.isnan(local.landmarks.points(np.array([wrong]))).all()


def test_triangulate_nothing_seen_returns_zero(rig):
    local, _ = build(rig, np.zeros((0, 3)), num=3)
    assert local.triangulate() == 0


def test_adjust_shaken_poses_come_back_to_the_truth(rig, points):
    local, _ = build(rig, points)
    truth = [k.T_local_base for k in local.keyframes]
    local.triangulate()
    rng = np.random.default_rng(3)
    for k in local.keyframes[2:]:
        k.T_local_base = k.T_local_base @ transforms.exp(
            np.r_[0.005 * rng.standard_normal(3), 0.05 * rng.standard_normal(3)]
        )
    local.adjust(max_iterations=30)
    for k, T in zip(local.keyframes, truth, strict=True):
        np.testing.assert_allclose(k.T_local_base, T, atol=2e-4)


def test_adjust_two_oldest_keyframes_stay_bitwise(rig, points):
    local, _ = build(replace(rig, has_odometry=True), points, noise_px=0.5)
    local.triangulate()
    before = [k.T_local_base.copy() for k in local.keyframes]
    local.adjust()
    moved = [
        np.abs(k.T_local_base - T).max() for k, T in zip(local.keyframes, before, strict=True)
    ]
    assert max(moved[:2]) < 1e-12
    assert min(moved[2:]) > 1e-7


def stretch(local, ids, factor):
    """Make all of a map so many times as large, about its first keyframe."""
    for k in local.keyframes:
        k.T_local_base = k.T_local_base.copy()
        k.T_local_base[:3, 3] *= factor
    local.landmarks.set_points(ids, factor * local.landmarks.points(ids))


def way(local, num=6):
    return float(np.linalg.norm(local.keyframes[num - 1].T_local_base[:3, 3]))


@pytest.mark.parametrize("factor", [0.6, 1.8])
def test_adjust_young_map_takes_its_metres_from_cameras_that_overlap(rig, points, factor):
    local, ids = build(rig, points, noise_px=0.3)
    local.triangulate()
    true_way = way(local)
    stretch(local, ids, factor)
    told = local.adjust()
    assert told == pytest.approx(1.0 / factor, rel=0.01)
    # 0.3 px at a disparity of 10 to 60 px of some 100 matches: less than a percent
    assert way(local) == pytest.approx(true_way, rel=0.01)


@pytest.mark.parametrize("num_cameras, has_odometry", [(1, False), (2, True)])
def test_adjust_young_map_keeps_its_unit_where_matches_do_not_found_it(
    rig, points, num_cameras, has_odometry
):
    rig = replace(rig, cameras=rig.cameras[:num_cameras], has_odometry=has_odometry)
    local, ids = build(rig, points, noise_px=0.3)
    for k in local.keyframes:
        k.cameras = k.cameras[:num_cameras]
    local.triangulate()
    stretch(local, ids, 1.8)
    before = way(local, 2)
    assert local.adjust() == 1.0
    assert way(local, 2) == before


def test_adjust_noise_is_reduced_to_its_arithmetic(rig, points):
    local, _ = build(rig, points, noise_px=0.5)
    truth = [k.T_local_base.copy() for k in local.keyframes]
    local.triangulate()
    local.adjust(max_iterations=20)
    errors = [
        np.linalg.norm(k.T_local_base[:3, 3] - T[:3, 3])
        for k, T in zip(local.keyframes, truth, strict=True)
    ]
    # 0.5 px / 190 px * 12 m = 32 mm for one point; some 150 observations settle a pose to a few
    # millimetres, growing away from the two that stay
    assert max(errors) < 0.03


def test_adjust_odometry_holds_a_keyframe_with_few_points(rig, points):
    local, _ = build(rig, points, num=4)
    local.triangulate()
    last = local.keyframes[-1]
    truth = last.T_local_base.copy()
    local.adjust()
    last.seen.keep(np.arange(len(last.seen.ids)) < 2)
    last.T_local_base = truth @ transforms.exp([0, 0, 0.05, 0.4, 0.2, 0])
    increment = transforms.invert(local.keyframes[-2].T_local_base) @ truth
    last.since_prev = Motion(increment, np.eye(6) * 1e-6)
    local.adjust(max_iterations=20)
    # a millimetre, as the factor says
    np.testing.assert_allclose(last.T_local_base, truth, atol=3e-3)


def test_adjust_keyframe_without_observations_follows_odometry(rig, points):
    local, _ = build(rig, points, num=5)
    local.triangulate()
    blind = local.keyframes[3]
    blind.seen.keep(np.zeros(len(blind.seen.ids), dtype=bool))
    truth = [k.T_local_base.copy() for k in local.keyframes]
    blind.T_local_base = truth[3] @ transforms.exp([0, 0, 0.02, 0.2, 0, 0])
    for k, before, after in zip(local.keyframes[1:], truth[:-1], truth[1:], strict=True):
        k.since_prev = Motion(transforms.invert(before) @ after, np.eye(6) * 1e-4)
    local.adjust(max_iterations=20)
    np.testing.assert_allclose(local.keyframes[-1].T_local_base, truth[-1], atol=1e-3)
    np.testing.assert_allclose(blind.T_local_base, truth[3], atol=1e-3)


def test_adjust_observation_that_disagrees_is_dropped_and_the_rest_kept(rig, points):
    local, _ = build(rig, points, noise_px=0.1)
    local.triangulate()
    seen = local.keyframes[3].seen
    known = np.isfinite(local.landmarks.points(seen.ids)[:, 0])
    row = int(np.flatnonzero(known)[7])
    wrong = (seen.ids[row], seen.camera[row])
    seen.uv_ideal_px[row] += [12.0, 0.0]
    num = len(seen.ids)
    local.adjust()
    left = set(zip(seen.ids.tolist(), seen.camera.tolist(), strict=True))
    assert wrong not in left
    assert len(left) == num - 1


def test_adjust_landmark_left_with_one_observation_is_forgotten(rig, points):
    local, _ = build(rig, points)
    local.triangulate()
    victim = seen_often(local, 4)[0]
    first = True
    for k in local.keyframes:
        is_victim = k.seen.ids == victim
        keep = ~is_victim
        if first and is_victim.any():
            keep[np.flatnonzero(is_victim)[0]] = True
            first = False
        k.seen.keep(keep)
    local.adjust()
    assert np.isnan(local.landmarks.points(np.array([victim]))).all()


def test_adjust_window_leaves_older_keyframes_alone(rig, points):
    config = ClustersConfig(window_keyframes=4)
    local, _ = build(rig, points, num=8, noise_px=0.5, config=config)
    local.triangulate()
    older = [(k.T_local_base.copy(), len(k.seen.ids)) for k in local.keyframes[:4]]
    local.adjust()
    assert [k.stamp_ns for k in local.window()] == [4000, 5000, 6000, 7000]
    for k, (T, num) in zip(local.keyframes[:4], older, strict=True):
        np.testing.assert_array_equal(k.T_local_base, T)
        assert len(k.seen.ids) == num


@pytest.mark.parametrize("num", [0, 1])
def test_adjust_fewer_than_two_keyframes_does_nothing(rig, points, num):
    local, ids = build(rig, points, num=num)
    local.adjust()
    assert np.isnan(local.landmarks.points(ids)).all()


def test_rays_of_seen_pixels_pass_through_their_points(rig, points):
    local, _ = build(rig, points)
    seen, T = local.keyframes[4].seen, local.keyframes[4].T_local_base
    centers, rays = local.rays_base(seen)
    p_base = transforms.apply(transforms.invert(T), points[seen.ids - 1])
    offset = p_base - centers
    np.testing.assert_allclose(
        offset / np.linalg.norm(offset, axis=1, keepdims=True), rays, atol=1e-9
    )


def test_told_leaves_out_what_is_in_doubt_by_the_camera_that_followed_it(rig, points):
    local, ids = build(rig, points, num=1)
    frame = local.keyframes[0]
    both = np.intersect1d(*(frame.seen.ids[frame.seen.camera == c] for c in (0, 1)))
    assert len(both) > 4
    frame.in_doubt = [both[:3], both[3:4]]
    told = frame.told
    for c, doubtful in enumerate(frame.in_doubt):
        seen = frame.seen.ids[frame.seen.camera == c]
        rows = told.camera == c
        np.testing.assert_array_equal(told.ids[rows], seen[~np.isin(seen, doubtful)])
    assert len(frame.seen.ids) == len(told.ids) + 4
