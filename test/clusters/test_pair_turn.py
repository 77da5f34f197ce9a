"""Cameras that are turned against each other, told by where they see the same corners."""

from dataclasses import replace

import numpy as np
import pytest

from seg2d3d_ros.clusters.motion import Motion
from seg2d3d_ros.clusters.overlap import CameraPair
from seg2d3d_ros.clusters.pair_turn import PairTurn, turned_apart
from seg2d3d_ros.clusters.stage import ClusterStage
from seg2d3d_ros.clusters.tracker import Tracker
from seg2d3d_ros.clusters.window import LocalFrame, Seen, way_by_odometry
from seg2d3d_ros.config import Config, override
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Rig

FOCAL_PX = 300.0
BASELINE_M = 0.5


def turn_of(axis, angle_deg):
    return np.deg2rad(angle_deg) * np.eye(3)["xyz".index(axis)]


def told(turn, num=200, scale=1.0, noise_px=0.2, seed=0):
    """What a second camera half a metre aside sees of points 4 to 20 m away, five keyframes."""
    rng = np.random.default_rng(seed)
    out = PairTurn(FOCAL_PX)
    R = transforms.exp(np.r_[turn, np.zeros(3)])[:3, :3]
    for _ in range(5):
        rays = np.c_[rng.uniform(-0.8, 0.8, (num // 5, 2)), np.ones(num // 5)]
        far = rays * rng.uniform(4.0, 20.0, (num // 5, 1))
        offset = np.array([-BASELINE_M, 0.0, 0.0])
        stated, true = far * scale + offset, (far + offset) @ R.T
        noise = noise_px / FOCAL_PX * rng.standard_normal((num // 5, 2))
        out.add(rays[:, :2], stated[:, :2] / stated[:, 2:], true[:, :2] / true[:, 2:] + noise)
    return out


@pytest.mark.parametrize("axis", "xyz")
@pytest.mark.parametrize("angle_deg", [1.0, -1.0])
def test_find_turn_of_a_degree_is_told_beside_odometry_of_wrong_scale(axis, angle_deg):
    found = told(turn_of(axis, angle_deg), scale=1.02).find()
    # 0.2 px of 300 px over 200 matches is 0.003 deg; depth tells yaw from scale, ten times worse
    np.testing.assert_allclose(np.rad2deg(found), np.rad2deg(turn_of(axis, angle_deg)), atol=0.05)


def test_find_map_that_wrong_matches_have_stretched_is_seen_by_the_odometrys_metres():
    # 15 % too large: nearly what a turn of a degree does to points around 7 m
    turn = told(turn_of("y", 1.0), scale=1.15)
    np.testing.assert_allclose(np.rad2deg(turn.find(1.15)), [0.0, 1.0, 0.0], atol=0.05)


@pytest.mark.parametrize("axis", "xyz")
@pytest.mark.parametrize("scale", [0.7, 1.0, 1.5])
def test_find_without_odometry_tells_the_turn_whatever_the_metres_are(axis, scale):
    turn = told(turn_of(axis, 1.0), scale=scale)
    np.testing.assert_allclose(
        np.rad2deg(turn.find(None)), np.rad2deg(turn_of(axis, 1.0)), atol=0.1
    )


@pytest.mark.parametrize(
    "given",
    [
        {"turn": turn_of("y", 0.3)},
        {"turn": np.zeros(3), "scale": 1.5},
        {"turn": turn_of("y", 1.0), "num": 40},
        {"turn": turn_of("y", 1.0), "noise_px": 30.0},
    ],
    ids=["small", "scale", "few", "noise"],
)
def test_find_without_odometry_takes_wrong_metres_for_no_turn(given):
    turn = told(**given)
    assert turn.find(None) is None
    assert not turn.is_right


def test_find_without_odometry_takes_pictures_of_other_moments_for_no_turn():
    """To one side, what a camera sees 0.7 m earlier looks turned, but for some 2.5 px."""
    rng = np.random.default_rng(0)
    turn = PairTurn(FOCAL_PX)
    for _ in range(5):
        rays = np.c_[rng.uniform(0.2, 0.8, 100), rng.uniform(0.1, 0.4, 100), np.ones(100)]
        far = rays * rng.uniform(6.0, 15.0, (100, 1))
        stated, earlier = far + [-BASELINE_M, 0.0, 0.0], far + [-BASELINE_M, 0.0, 0.7]
        turn.add(rays[:, :2], stated[:, :2] / stated[:, 2:], earlier[:, :2] / earlier[:, 2:])
    assert turn.find(None) is None


def test_find_without_odometry_does_not_tell_a_turn_that_looks_like_other_metres():
    # straight ahead on a road, a turn about the way moves all as a longer baseline does
    y = np.linspace(0.1, 0.4, 100)
    infinity, disparity = np.c_[0.02 * y, y], np.c_[-BASELINE_M * y / 1.6, 0.0 * y]
    turned = np.deg2rad(1.0) * np.c_[-y, 0.0 * y]
    turn = PairTurn(FOCAL_PX)
    for _ in range(5):
        turn.add(infinity, infinity + disparity, infinity + disparity + turned)
    assert turn.find(None) is None


def test_way_by_odometry_is_that_of_the_keyframes_that_odometry_ties():
    def keyframe(x_m, told_m):
        T = transforms.rigid(np.eye(3), [x_m, 0.0, 0.0])
        nothing = Seen(*(np.zeros(0, dtype=int),) * 2, *(np.zeros((0, 2)),) * 2)
        way = None
        if told_m is not None:
            way = Motion(transforms.rigid(np.eye(3), [told_m, 0.0, 0.0]), np.eye(6))
        return LocalFrame(0, T, True, (0,), (0,), nothing, since_prev=way)

    ways = [keyframe(0.0, None), keyframe(1.5, 1.0), keyframe(9.0, None), keyframe(12.0, 2.0)]
    assert way_by_odometry(ways) == pytest.approx(4.5 / 3.0)
    assert way_by_odometry(ways[:3]) == 1.0  # a metre tells nothing


def test_find_third_of_matches_wrong_does_not_matter():
    turn = told(turn_of("y", 1.0))
    rng = np.random.default_rng(1)
    for _, _, found in turn._parts:
        found[::3] += rng.uniform(-0.3, 0.3, found[::3].shape)
    np.testing.assert_allclose(np.rad2deg(turn.find()), [0.0, 1.0, 0.0], atol=0.1)


@pytest.mark.parametrize(
    "given",
    [
        {"turn": turn_of("y", 0.3)},
        {"turn": np.zeros(3), "scale": 1.05},
        {"turn": turn_of("y", 1.0), "num": 40},
        {"turn": turn_of("y", 1.0), "noise_px": 30.0},
    ],
    ids=["small", "scale", "few", "noise"],
)
def test_find_what_is_small_or_unsure_is_no_turn(given):
    assert told(**given).find() is None


@pytest.mark.parametrize(
    ("given", "is_settled"),
    [
        ({"turn": np.zeros(3), "num": 15}, True),
        ({"turn": turn_of("y", 0.1), "num": 40}, True),
        ({"turn": np.zeros(3), "num": 10}, False),
        ({"turn": turn_of("y", 1.0), "num": 40}, False),
        ({"turn": turn_of("y", 1.0)}, False),
        ({"turn": turn_of("y", 0.35)}, True),
    ],
    ids=["right", "nearly", "too few", "turned", "turned and told", "small"],
)
def test_find_settles_only_on_what_shows_that_nothing_is_turned(given, is_settled):
    turn = told(**given)
    turn.find()
    assert turn.is_settled == is_settled


def test_find_that_never_has_enough_to_tell_settles_in_the_end():
    turn = PairTurn(FOCAL_PX)
    for k in range(40):
        turn.add(*(np.full((int(k % 4 == 0), 2), 0.1 * i) for i in range(3)))
        assert turn.find() is None
        if k == 20:
            assert not turn.is_settled
    assert turn.is_settled


def test_find_once_right_is_not_asked_again():
    # what speaks for a turn later are wheels that slip: by their metres depths are wrong
    turn = told(np.zeros(3))
    assert turn.find() is None
    assert turn.is_right
    turn._parts = told(turn_of("y", 1.0))._parts
    assert turn.find() is None


def test_hear_what_is_right_one_way_is_right_the_other_way():
    one, other = told(np.zeros(3)), told(turn_of("y", 1.0))
    one.find()
    other.hear(one)
    assert other.is_settled
    assert other.find() is None
    assert not told(turn_of("y", 1.0)).is_settled


def test_find_begins_anew_after_it_has_told():
    turn = told(turn_of("y", 1.0))
    assert turn.find() is not None
    assert turn.find() is None


def test_turned_apart_gives_the_turn_between_two_cameras_half_to_each(make_camera):
    rig = Rig((make_camera("a", 0.3, 35.0), make_camera("b", -0.3, -35.0)))
    w = np.array([0.01, -0.02, 0.015])
    R_b_a = [
        r.cameras[1].T_base_cam[:3, :3].T @ r.cameras[0].T_base_cam[:3, :3]
        for r in (rig, turned_apart(rig, 0, 1, w))
    ]
    np.testing.assert_allclose(R_b_a[1], transforms.exp(np.r_[w, 0, 0, 0])[:3, :3] @ R_b_a[0])
    for before, after in zip(rig.cameras, turned_apart(rig, 0, 1, w).cameras, strict=True):
        apart = transforms.invert(before.T_base_cam) @ after.T_base_cam
        assert transforms.angle_rad(apart) == pytest.approx(0.5 * np.linalg.norm(w))
        np.testing.assert_array_equal(after.T_base_cam[:3, 3], before.T_base_cam[:3, 3])


def pitched(rig, camera, angle_deg):
    """The rig as it is stated when one of its cameras truly looks up or down from there."""
    cameras = list(rig.cameras)
    T = cameras[camera].T_base_cam
    R = transforms.exp([0, np.deg2rad(angle_deg), 0, 0, 0, 0])[:3, :3]
    wrong = transforms.rigid(R @ T[:3, :3], T[:3, 3])
    cameras[camera] = replace(cameras[camera], T_base_cam=wrong)
    return replace(rig, cameras=tuple(cameras))


def num_across(clusters):
    """How many observations there are of landmarks that another camera saw at the same moment."""
    num = 0
    for c in clusters:
        moment = c.observations.frame * 100_000 + c.observations.landmark
        _, at, count = np.unique(moment, return_inverse=True, return_counts=True)
        num += int((count[at] > 1).sum())
    return num


@pytest.mark.parametrize("has_odometry", [True, False])
def test_stage_camera_that_looks_up_a_degree_is_matched_all_the_same(stereo_drive, has_odometry):
    rig = replace(stereo_drive.rig, has_odometry=has_odometry)
    items = replace(stereo_drive, rig=rig).items()
    found = []
    for stated in (rig, pitched(rig, 1, 1.5)):
        stage = ClusterStage(override(Config(), {"clusters.depths": False}), stated, False)
        clusters = [c for item in items for c in stage.push(item)] + stage.finish()
        # what is stated stays: the map says what is wrong
        assert all(c.rig == stated for c in clusters)
        found.append(num_across(clusters))
    # the first few of a dozen keyframes tell the turn
    assert found[1] > 0.4 * found[0] > 100


def test_stage_matches_of_a_camera_that_looks_aside_do_not_shrink_the_map(stereo_drive):
    """A turn about the vertical looks like other depths: the map would take its metres."""
    rig = replace(stereo_drive.rig, has_odometry=True)
    items = replace(stereo_drive, rig=rig).items()
    T = rig.cameras[1].T_base_cam
    R = transforms.exp([0, 0, np.deg2rad(1.0), 0, 0, 0])[:3, :3]
    wrong = replace(rig.cameras[1], T_base_cam=transforms.rigid(R @ T[:3, :3], T[:3, 3]))
    stated = replace(rig, cameras=(rig.cameras[0], wrong))
    stage = ClusterStage(override(Config(), {"clusters.depths": False}), stated, False)
    (cluster, *_) = [c for item in items for c in stage.push(item)] + stage.finish()
    there = [f.T_local_base[:3, 3] for f in cluster.frames if f.is_keyframe]
    told = sum(np.linalg.norm(o.T_i_j[:3, 3]) for o in cluster.odometry)
    way = np.linalg.norm(np.diff(there, axis=0), axis=1).sum()
    assert told > 8.0
    # odometry of 5 cm per square root of metre, and turns by half a pixel
    assert way == pytest.approx(told, rel=0.03)
    assert num_across([cluster]) > 50


def test_mount_of_a_camera_that_was_turned_for_another_is_asked_anew(make_camera):
    rig = Rig((make_camera("a", 0.3), make_camera("b", -0.3)), has_odometry=True)
    pair = CameraPair(rig, 0, 1)
    pair._turn.is_right = True
    pair.mount(rig)
    assert pair.is_believed
    pair.mount(pitched(rig, 0, 0.5))
    assert not pair.is_believed


def test_match_tells_the_turn_of_the_second_camera(corridor, make_camera):
    rig = Rig((make_camera("a", 0.3), make_camera("b", -0.3)))
    pose = transforms.rigid(np.eye(3), [45.0, 0.5, 0.0])
    pair = CameraPair(pitched(rig, 1, 1.0), 0, 1)
    for k in range(5):
        at = pose @ transforms.rigid(np.eye(3), [1.0 * k, 0.0, 0.0])
        images = [corridor.render(c, at) for c in rig.cameras]
        tracker = Tracker(200, 8)
        tracker.advance(images[0], tracker.uv_px)
        uv = tracker.find_corners(None)
        points, _, _ = corridor.hit(rig.cameras[0], at, uv)
        T_cam_world = transforms.invert(at @ rig.cameras[0].T_base_cam)
        depth = np.linalg.norm(transforms.apply(T_cam_world, points), axis=1)
        pair.match(*images, uv, depth)
    # stated is R_y too much, and y of base_link is -x of the optical frame; flow of half a pixel
    # over hundreds of matches, some of them deformed
    np.testing.assert_allclose(np.rad2deg(pair.find_turn()), [-1.0, 0.0, 0.0], atol=0.15)
