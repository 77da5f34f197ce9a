import numpy as np
import pytest

from seg2d3d_ros.clusters.exclusion import Exclusion
from seg2d3d_ros.clusters.fixed import end_fixed
from seg2d3d_ros.clusters.landmarks import LandmarkTable
from seg2d3d_ros.clusters.window import LocalFrame, LocalMap, Seen
from seg2d3d_ros.config import ClustersConfig, SegmentationConfig
from seg2d3d_ros.geometry import cameras, transforms
from seg2d3d_ros.types import Rig

S = 1_000_000_000
ON_BONNET_PX = np.array([[60.0, 180.0], [160.0, 175.0], [270.0, 183.0]])


@pytest.fixture
def drive(make_camera):
    """Return a map whose camera nods: near, far and infinitely far points, and a bonnet."""

    def make(nod_deg=1.0, num=6, jitter_px=0.2, num_cameras=1):
        rng = np.random.default_rng(0)
        near = rng.uniform((4, -3, 0), (20, 3, 4), (80, 3))
        far = rng.uniform((1e5, -4e4, -1e4), (1e5, 4e4, 2e4), (40, 3))
        points = np.concatenate([near, far])
        local = LocalMap(ClustersConfig(), Rig((make_camera(),) * num_cameras), LandmarkTable())
        ids = local.landmarks.create(len(points) + len(ON_BONNET_PX))
        for k in range(num):
            T = transforms.exp([0, np.deg2rad(nod_deg) * (k % 3), 0, 1.2 * k, 0, 0])
            camera = local.rig.cameras[0]
            T_cam = transforms.invert(T @ camera.T_base_cam)
            uv, inside = cameras.project(camera, transforms.apply(T_cam, points))
            uv = np.concatenate([uv[inside], ON_BONNET_PX])
            uv += rng.uniform(-jitter_px, jitter_px, uv.shape)
            rows = np.concatenate([ids[: len(points)][inside], ids[len(points) :]])
            seen = Seen(rows, np.zeros(len(rows), dtype=np.int64), uv, uv.copy())
            local.keyframes.append(LocalFrame(k * S, T, True, (0,), (k * S,), seen))
        local.landmarks.set_points(ids, np.ones((len(ids), 3)))
        return local, set(ids[len(points) :].tolist())

    return make


def followed(local):
    return set(np.concatenate([f.seen.ids for f in local.keyframes]).tolist())


def test_end_fixed_what_stays_while_the_camera_nods_is_no_landmark_and_nothing_begins_there(drive):
    local, bonnet = drive()
    exclusion = Exclusion(SegmentationConfig())
    before = followed(local)
    end_fixed(local, exclusion)
    # neither what is near nor what is infinitely far
    assert before - followed(local) == bonnet
    assert np.isnan(local.landmarks.points(np.array(sorted(bonnet)))).all()
    picture = exclusion.forbid(0, 5 * S)
    u, v = ON_BONNET_PX.astype(int).T
    assert picture[v, u].all() and picture[v, u + 8].all()
    # 21 x 21 px each, less what lies below the picture
    assert picture.sum() <= 3 * 21**2
    assert exclusion.forbid(1, 5 * S) is None


@pytest.mark.parametrize(("nod_deg", "num"), [(0.3, 6), (2.0, 2)])
def test_end_fixed_a_camera_that_hardly_turned_or_one_pair_of_pictures_tells_nothing(
    drive, nod_deg, num
):
    # 0.6 degrees are 2 px of 190 px focal length; 2 degrees are 7 px
    local, _ = drive(nod_deg, num)
    exclusion = Exclusion(SegmentationConfig())
    before = followed(local)
    end_fixed(local, exclusion)
    assert followed(local) == before
    assert exclusion.forbid(0, 5 * S) is None


@pytest.mark.parametrize("is_stereo", [False, True])
def test_end_fixed_one_track_alone_may_be_chance(drive, is_stereo):
    local, bonnet = drive(num_cameras=1 + is_stereo)
    for frame in local.keyframes:
        frame.seen.keep(~np.isin(frame.seen.ids, sorted(bonnet)[:2]))
        if is_stereo:  # both pictures show the same landmark
            there = frame.seen.rows(np.arange(len(frame.seen.ids)))
            there.camera = np.ones_like(there.camera)
            frame.seen = Seen.joined([frame.seen, there])
    before = followed(local)
    end_fixed(local, Exclusion(SegmentationConfig()))
    assert followed(local) == before


def test_end_fixed_a_landmark_that_a_picture_shows_twice_is_one(drive):
    local, bonnet = drive()
    for frame in local.keyframes:  # found again, and matched from another camera
        frame.seen = Seen.joined([frame.seen, frame.seen.rows(np.arange(40))])
    before = followed(local)
    end_fixed(local, Exclusion(SegmentationConfig()))
    assert before - followed(local) == bonnet


def test_end_fixed_is_asked_anew_after_half_a_minute_and_outlives_the_map(drive):
    local, _ = drive()
    exclusion = Exclusion(SegmentationConfig())
    end_fixed(local, exclusion)
    exclusion.clear()
    assert exclusion.forbid(0, 34 * S).any()
    assert not exclusion.forbid(0, 36 * S).any()
