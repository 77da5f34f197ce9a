"""Pictures that went dark: where the landmarks followed before are found again, and where not."""

from dataclasses import replace

import numpy as np
import pytest

from seg2d3d_ros.clusters.landmarks import LandmarkTable
from seg2d3d_ros.clusters.relocation import Relocator, _is_on_road, _num_telling, bridge
from seg2d3d_ros.clusters.stage import ClusterStage
from seg2d3d_ros.clusters.window import LocalFrame, LocalMap, Seen
from seg2d3d_ros.config import Config, override
from seg2d3d_ros.geometry import cameras, transforms
from seg2d3d_ros.geometry.alignment import align_points
from seg2d3d_ros.geometry.pose import RigObservations, refine_rig_pose
from seg2d3d_ros.types import Rig

CONFIG = override(
    Config(),
    {
        "runtime.num_threads": 1,
        "clusters.keyframe_distance_m": 1.2,
        "clusters.max_features": 300,
        "clusters.depths": False,
    },
)


def run(drive, dark=(0, 0)):
    """Return frames by stamp, and sessions; the pictures of moments in `dark` are black."""
    stage = ClusterStage(CONFIG, drive.rig, expects_segmentation=False)
    clusters = []
    for frame in drive.frames():
        if dark[0] <= drive.stamps_ns.index(frame.stamp_ns) < dark[1]:
            frame = replace(frame, image=np.zeros_like(frame.image))
        clusters += stage.push(frame)
    clusters += stage.finish()
    return (
        {f.stamp_ns: f for c in clusters for f in c.frames},
        sorted({c.session for c in clusters}),
    )


def errors_m(found, drive):
    """Return how far every pose (n,) is off after a similarity: one camera knows no scale."""
    est = np.stack([found[s].T_local_base[:3, 3] for s in drive.stamps_ns])
    gt = np.stack(drive.T_world_base)[:, :3, 3]
    S = align_points(gt, est, with_scale=True).S_a_b
    return np.linalg.norm(transforms.apply(S, est) - gt, axis=1)


@pytest.fixture(scope="module")
def drive(make_drive, make_camera):
    # 22 m at 4 m/s, faster and faster: constant velocity over the dark is off by far.
    ways = np.cumsum(np.linspace(0.25, 0.62, 52))
    poses = [transforms.rigid(np.eye(3), [w, 0.5, 0.0]) for w in ways]
    return make_drive(Rig((make_camera(zoom=2),)), poses)


@pytest.fixture(scope="module")
def lit(drive):
    return run(drive)


def test_black_pictures_without_odometry_are_one_session_and_one_map(drive, lit):
    dark = (25, 33)
    found, sessions = run(drive, dark)
    assert sessions == [0]
    status = [found[s].status for s in drive.stamps_ns]
    assert set(status[dark[0] : dark[1]]) == {"coasted"}
    assert set(status[dark[1] :]) == {"tracked"}
    # 3.7 m in the dark; landmarks 10 m ahead are known to some percent there.
    assert errors_m(found, drive)[[*range(25), *range(33, 52)]].max() < 0.25
    assert errors_m(lit[0], drive).max() < 0.15
    # Between the two the poses that coasted lie evenly: the speed changes by a tenth there.
    assert errors_m(found, drive)[25:33].max() < 0.3


def test_black_pictures_for_longer_than_a_session_waits_are_bridged(drive):
    # Two seconds, 8.3 m: longer than the fifteen moments after which a session would be lost.
    # The twenty or so landmarks found again tell the pose by luck once in a while: of three.
    worst = []
    for start in (19, 20, 22):
        found, sessions = run(drive, (start, start + 20))
        assert sessions == [0]
        lit = [*range(start), *range(start + 20, 52)]
        worst.append(errors_m(found, drive)[lit].max())
    assert np.median(worst) < 0.3


def test_another_place_after_the_dark_is_a_session_of_its_own(drive, corridor):
    # The vehicle was carried off: nothing after the dark shows what was seen before.
    (camera,), elsewhere = drive.rig.cameras, type(corridor)(seed=9)
    images = [
        *drive.images[:25],
        *([elsewhere.render(camera, T)] for T in drive.T_world_base[25:]),
    ]
    found, sessions = run(replace(drive, images=images), (25, 42))
    assert sessions == [0, 1]
    step = transforms.invert(found[drive.stamps_ns[24]].T_local_base)
    step = step @ found[drive.stamps_ns[43]].T_local_base
    # No way was made up beyond what the last velocity says of fifteen moments.
    assert np.linalg.norm(step[:3, 3]) < 16 * np.linalg.norm(
        found[drive.stamps_ns[24]].T_local_base[:3, 3]
        - found[drive.stamps_ns[23]].T_local_base[:3, 3]
    )


def test_darkness_longer_than_a_gap_may_be_ends_the_session(make_drive, make_camera, make_poses):
    poses = make_poses(20, 0.4)
    drive = make_drive(Rig((make_camera(),)), [*poses, *[poses[-1]] * 60, *make_poses(10, 0.4)])
    assert run(drive, (20, 80))[1] == [0, 1]


@pytest.mark.parametrize("num_near", [0, 5, 9])
def test_num_telling_are_those_near_enough_to_tell_how_far_the_rig_came(make_camera, num_near):
    camera, here = make_camera(zoom=2), transforms.rigid(np.eye(3), [8.0, 0.0, 0.0])
    # 8 m of way: two metres more or less move what is 150 m ahead by half a pixel
    rng = np.random.default_rng(0)
    far = here[:3, 3] + rng.uniform((150, -30, 5), (200, 30, 30), (20, 3))
    near = here[:3, 3] + rng.uniform((8, 3, 2.5), (12, 5, 4), (num_near, 3))
    points = np.concatenate([far, near])
    p_cam = transforms.apply(transforms.invert(here @ camera.T_base_cam), points)
    xy = cameras.normalize(camera, cameras.project(camera, p_cam)[0])
    obs = RigObservations((camera,), np.zeros(len(points), int), points, xy)
    found = refine_rig_pose(obs, here, 5.0)
    assert found.is_inlier.all()
    assert _num_telling(obs, found, np.eye(4)) == num_near


@pytest.mark.parametrize(
    ("turn", "way", "is_on_road"),
    [
        ((0.0, 0.0, 1.5), (6.0, 6.0, 0.0), True),
        ((0.0, 0.05, 0.0), (12.0, 0.0, 0.8), True),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.15), True),
        ((0.0, 0.0, 0.0), (12.0, 0.0, 1.4), False),
        ((0.0, 0.0, 0.0), (12.0, 0.0, -1.4), False),
        ((0.0, 0.1, 0.0), (12.0, 0.0, 0.0), False),
        ((0.1, 0.0, 0.0), (12.0, 0.0, 0.0), False),
    ],
    ids=["corner", "uphill", "at rest", "above", "below", "pitched", "rolled"],
)
def test_is_on_road_turns_and_slopes_are_but_no_leap(turn, way, is_on_road):
    T = transforms.rigid(transforms.exp([*turn, 0, 0, 0])[:3, :3], np.array(way))
    assert _is_on_road(T, 20.0) == is_on_road


def test_relocator_searches_on_for_two_pictures_after_one_in_vain(make_camera):
    camera = make_camera()
    relocator = Relocator((camera,))
    nowhere = LocalMap(CONFIG.clusters, Rig((camera,)), LandmarkTable())
    corners = {0: np.random.default_rng(0).uniform(20, 170, (60, 2))}
    searching = [relocator.is_searching]
    for _ in range(3):
        found = relocator.find({0: np.zeros((192, 320), np.uint8)}, corners, nowhere, np.eye(4))
        assert found is None
        searching.append(relocator.is_searching)
    # a picture with corners that shows nothing known; the third ends it
    assert searching == [False, True, True, False]
    relocator.find({0: np.zeros((192, 320), np.uint8)}, {0: corners[0][:5]}, nowhere, np.eye(4))
    assert relocator.is_searching  # dark: nothing to look at


def coasting(k, T, status):
    seen = Seen(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, 2)))
    return LocalFrame(k, T, k == 0, (0,), (k,), seen, status)


def test_bridge_leads_frames_that_coasted_evenly_to_the_one_found():
    def at(x, yaw=0.0):
        return transforms.exp([0, 0, yaw, x, 0, 0])

    frames = [coasting(0, at(0.0), "tracked"), coasting(10, at(1.0), "tracked")]
    frames += [coasting(k, at(9.0), "coasted") for k in (20, 25)]
    found = coasting(30, at(3.0, 0.4), "tracked")
    bridge(frames, found)
    np.testing.assert_array_equal(frames[1].T_local_base, at(1.0))
    middle = transforms.invert(at(1.0)) @ frames[2].T_local_base
    assert middle[0, 3] == pytest.approx(1.0)
    assert transforms.angle_rad(middle) == pytest.approx(0.2)
    assert frames[3].T_local_base[0, 3] > frames[2].T_local_base[0, 3]
    # They hang on the keyframe before the dark.
    np.testing.assert_allclose(frames[2].T_ref_base, frames[2].T_local_base, atol=1e-12)


def test_bridge_without_a_tracked_frame_moves_nothing():
    frames = [coasting(0, np.eye(4), "coasted")]
    bridge(frames, coasting(10, 2.0 * np.eye(4), "tracked"))
    np.testing.assert_array_equal(frames[0].T_local_base, np.eye(4))
