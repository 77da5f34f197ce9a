import numpy as np
import pytest

from seg2d3d_ros.clusters.initialization import two_view
from seg2d3d_ros.clusters.landmarks import LandmarkTable
from seg2d3d_ros.clusters.turning import Turning, rotation_between
from seg2d3d_ros.clusters.window import LocalFrame, LocalMap, Seen
from seg2d3d_ros.config import ClustersConfig
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Rig

FOCAL_PX, NOISE_PX = 190.0, 0.3


def turn(deg, axis=1):
    return transforms.exp(np.r_[np.deg2rad(deg) * np.eye(3)[axis], np.zeros(3)])[:3, :3]


def matches(T_i_j, num=200, seed=0, noise_px=NOISE_PX):
    """Ideal coordinates in both pictures of points 4 to 20 m ahead; T_i_j of the camera."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(4, 20, num)
    p_i = np.c_[rng.uniform(-0.6, 0.6, num), rng.uniform(-0.4, 0.4, num), np.ones(num)]
    p_i *= depth[:, None]
    p_j = transforms.apply(transforms.invert(T_i_j), p_i)
    sigma = noise_px / FOCAL_PX
    return [p[:, :2] / p[:, 2:] + rng.normal(0, sigma, (num, 2)) for p in (p_i, p_j)]


@pytest.mark.parametrize("deg", [0.0, 2.0, 6.0, 15.0])
def test_rotation_between_turned_pictures_is_found(deg):
    R = rotation_between(*matches(transforms.rigid(turn(deg), np.zeros(3))), FOCAL_PX)
    # 200 matches of 0.3 px at 190 px: a hundredth of a degree
    off = transforms.rigid(R.T @ turn(deg), np.zeros(3))
    assert np.rad2deg(transforms.angle_rad(off)) < 0.05


def test_rotation_between_fifth_of_wrong_matches_is_found():
    xy_i, xy_j = matches(transforms.rigid(turn(6.0), np.zeros(3)))
    xy_j[:40] += np.random.default_rng(1).uniform(0.05, 0.3, (40, 2))
    R = rotation_between(xy_i, xy_j, FOCAL_PX)
    off = transforms.rigid(R.T @ turn(6.0), np.zeros(3))
    assert np.rad2deg(transforms.angle_rad(off)) < 0.1


@pytest.mark.parametrize("way", [[0.3, 0, 0], [0, 0, 0.6]], ids=["aside", "ahead"])
def test_rotation_between_pictures_of_a_camera_that_moved_is_none(way):
    assert rotation_between(*matches(transforms.rigid(turn(3.0), way)), FOCAL_PX) is None


def test_rotation_between_few_matches_is_none():
    few = matches(transforms.rigid(turn(3.0), np.zeros(3)), num=20)
    assert rotation_between(*few, FOCAL_PX) is None


def test_two_view_turn_in_place_founds_no_map(make_camera):
    camera = make_camera()
    assert two_view(camera, *matches(transforms.rigid(turn(8.0), np.zeros(3)))) is None
    # the same turn with way is a motion
    assert two_view(camera, *matches(transforms.rigid(turn(8.0), [0.8, 0, 0.3]))) is not None


class Picture:
    """Frames of one camera that looks at points, of which the map knows some."""

    def __init__(self, camera, T_key, num_known):
        rng = np.random.default_rng(2)
        self.map = LocalMap(ClustersConfig(), Rig((camera,)), LandmarkTable())
        self.points = np.c_[
            rng.uniform(4, 20, 300), rng.uniform(-12, 12, 300), rng.uniform(0, 4, 300)
        ]
        self.ids = self.map.landmarks.create(300)
        self.map.landmarks.set_points(self.ids[:num_known], self.points[:num_known])
        self.map.keyframes.append(self.frame(0, T_key))

    def frame(self, stamp, T, T_told=None, ids=None):
        camera = self.map.rig.cameras[0]
        p = transforms.apply(transforms.invert(T @ camera.T_base_cam), self.points)
        uv = p[:, :2] / p[:, 2:] * camera.K[[0, 1], [0, 1]] + camera.K[:2, 2]
        seen = (p[:, 2] > 1) & (uv > 0).all(axis=1) & (uv[:, 0] < 319) & (uv[:, 1] < 191)
        seen &= np.isin(self.ids, self.ids if ids is None else ids)
        uv = uv[seen]
        rows = Seen(self.ids[seen], np.zeros(len(uv), dtype=np.int64), uv, uv)
        told = T if T_told is None else T_told
        return LocalFrame(stamp, told.copy(), False, (0,), (stamp,), rows, "coasted")


@pytest.fixture
def start():
    return transforms.rigid(np.eye(3), [1.0, 2.0, 0.0])


def test_hold_turn_keeps_the_camera_where_it_was(make_camera, start):
    camera = make_camera()
    view = Picture(camera, start, num_known=0)
    T_cam = camera.T_base_cam
    spin = T_cam @ transforms.rigid(turn(-5.0), np.zeros(3)) @ transforms.invert(T_cam)
    invented = start @ spin @ transforms.rigid(np.eye(3), [0.3, 0.1, 0.0])
    frame, turning = view.frame(1, start @ spin, invented), Turning()
    turning.hold(frame, view.map)
    assert (turning.is_active, turning.is_lost, frame.status) == (True, False, "tracked")
    np.testing.assert_allclose(frame.T_local_base, start @ spin, atol=1e-3)
    told = turning.motion(view.map.keyframes[0], frame)
    np.testing.assert_allclose(told.T_i_j, spin, atol=1e-3)
    assert np.sqrt(told.covariance[3, 3]) < 0.01


def moved_on(view, start, turning, ids=None):
    turning.hold(view.frame(1, start @ transforms.exp([0, 0, 0.08, 0, 0, 0])), view.map)
    far = start @ transforms.exp([0, 0, 0.08, 0.8, 0, 0])
    frame = view.frame(2, far, ids=ids)
    turning.hold(frame, view.map)
    return frame, far


@pytest.mark.parametrize(("num_known", "is_lost"), [(0, True), (300, False)])
def test_hold_moving_on_is_lost_where_nothing_known_is_seen(
    make_camera, start, num_known, is_lost
):
    view, turning = Picture(make_camera(), start, num_known), Turning()
    # the camera 0.4 m ahead of base_link moves 3 cm in this turn: a few tenths of a pixel
    frame, far = moved_on(view, start, turning)
    assert turning.is_lost is is_lost
    assert not turning.is_active
    np.testing.assert_array_equal(frame.T_local_base, far)


def test_hold_too_few_matches_is_not_moving_on(make_camera, start):
    view, turning = Picture(make_camera(), start, 0), Turning()
    moved_on(view, start, turning, ids=view.ids[:20])
    assert not turning.is_lost


def test_hold_rest_changes_nothing(make_camera, start):
    view, turning = Picture(make_camera(), start, 300), Turning()
    told = start @ transforms.exp([0, 0, 0, 0.02, 0, 0])
    frame = view.frame(1, start, told)
    turning.hold(frame, view.map)
    assert not turning.is_active
    np.testing.assert_array_equal(frame.T_local_base, told)
