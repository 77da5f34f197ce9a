"""Tracks of two cameras in the corridor, which drive on, are masked, or start anew."""

import numpy as np
import pytest

from seg2d3d_ros.clusters.assembly import RigFrame
from seg2d3d_ros.clusters.landmarks import LandmarkTable
from seg2d3d_ros.clusters.rig_tracker import RigTracker
from seg2d3d_ros.clusters.threads import Threads
from seg2d3d_ros.clusters.window import LocalMap
from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry import cameras, masks, transforms
from seg2d3d_ros.types import Frame, Mask, Rig, Segmentation

CONFIG = Config()
START = transforms.rigid(np.eye(3), [45.0, 0.5, 0.0])


class Street:
    """A rig whose tracks have landmarks where the walls are; both cameras look at START."""

    def __init__(self, corridor, lenses):
        self.corridor, self.rig = corridor, Rig(lenses)
        self.map = LocalMap(CONFIG.clusters, self.rig, LandmarkTable())
        self.tracks = RigTracker(CONFIG, self.rig, Threads(1))
        self.advance(START)
        for c, tracker in enumerate(self.tracks.trackers):
            uv_px = tracker.find_corners(None, 150)
            ids = self.map.landmarks.create(len(uv_px))
            tracker.add(ids, uv_px)
            self.map.landmarks.set_points(ids, corridor.hit(lenses[c], START, uv_px)[0])
        self.tracks.stand_at((0, 1), START)

    def moment(self, T, segmentations=None):
        pictures = [self.corridor.render(c, T) for c in self.rig.cameras]
        frames = {k: Frame(f"c{k}", 0, picture) for k, picture in enumerate(pictures)}
        return RigFrame(0, frames, segmentations or {})

    def advance(self, T, guess=None, **given):
        moment = self.moment(T, **given)
        return self.tracks.advance(moment, self.map, T if guess is None else guess)


@pytest.fixture
def street(corridor, make_camera):
    return Street(corridor, (make_camera("c0", 0.3, 20.0), make_camera("c1", -0.3, -20.0)))


def test_advance_follows_landmarks_of_both_cameras(street):
    T = START @ transforms.rigid(np.eye(3), [1.0, 0.0, 0.0])
    num = [len(t.ids) for t in street.tracks.trackers]
    grays = street.advance(T)
    seen = street.tracks.seen([0, 1])
    for c, camera in enumerate(street.rig.cameras):
        np.testing.assert_array_equal(grays[c], street.corridor.render(camera, T))
        rows = seen.camera == c
        assert rows.sum() > 0.5 * num[c]
        points = street.map.landmarks.points(seen.ids[rows])
        p_cam = transforms.apply(transforms.invert(T @ camera.T_base_cam), points)
        miss = np.linalg.norm(cameras.project(camera, p_cam)[0] - seen.uv_px[rows], axis=1)
        # walls come nearer, so patches stretch
        assert np.median(miss) < 0.5


def test_advance_starts_where_the_predicted_pose_puts_the_tracks(street, corridor):
    # 60 px: hardly any corner is found from where it was
    T = START @ transforms.exp([0.0, 0.0, np.deg2rad(18.0), 0.0, 0.0, 0.0])
    other = Street(corridor, street.rig.cameras)
    street.advance(T)
    other.advance(T, guess=START)
    told, untold = (sum(len(t.ids) for t in s.tracks.trackers) for s in (street, other))
    assert told > 150
    assert untold < 0.5 * told


def test_advance_tracks_on_what_moves_end_in_that_camera_only(street):
    left = np.zeros((192, 320), bool)
    left[:, :160] = True
    car = Mask(26001, CONFIG.segmentation.dynamic_classes[0], 1.0, *masks.encode(left))
    before = street.tracks.seen([1]).ids
    street.advance(START, segmentations={0: Segmentation("c0", 0, 320, 192, (car,))})
    assert len(street.tracks.trackers[0].ids) > 20
    assert street.tracks.trackers[0].uv_px[:, 0].min() > 159
    np.testing.assert_array_equal(street.tracks.seen([1]).ids, before)
    # and none starts there while no newer mask tells otherwise
    assert street.tracks.find_corners(street.moment(START), 300)[0][:, 0].min() > 159


def test_end_others_only_tracks_of_those_cameras_that_were_not_seen_end(street):
    seen = street.tracks.seen([0, 1])
    seen.keep(np.arange(len(seen.ids)) % 3 == 0)
    seen.camera[0] = 1  # matched there, and culled in the camera that follows it
    other = street.tracks.seen([1]).ids
    street.tracks.end_others([0], seen)
    np.testing.assert_array_equal(street.tracks.seen([0]).ids, seen.ids[seen.camera == 0])
    np.testing.assert_array_equal(street.tracks.seen([1]).ids, other)


def test_replace_follows_what_was_seen_and_nothing_else(street):
    seen = street.tracks.seen([0, 1]).rows(np.array([5, 2, 160]))
    street.tracks.replace([0, 1], seen)
    now = street.tracks.seen([0, 1])
    np.testing.assert_array_equal(now.ids, seen.ids)
    np.testing.assert_array_equal(now.camera, seen.camera)
    np.testing.assert_array_equal(now.uv_px, seen.uv_px)


def test_clear_ends_all_tracks_and_forgets_what_moved(street):
    whole = Mask(26001, 26, 1.0, *masks.encode(np.ones((192, 320), bool)))
    street.advance(START, segmentations={0: Segmentation("c0", 0, 320, 192, (whole,))})
    assert len(street.tracks.find_corners(street.moment(START), 300)[0]) == 0
    street.tracks.clear()
    assert len(street.tracks.seen([0, 1]).ids) == 0
    assert len(street.tracks.find_corners(street.moment(START), 300)[0]) > 50


@pytest.mark.parametrize("has_odometry", [False, True])
def test_others_in_turn_are_the_newest_picture_nearby_of_the_other_camera(
    corridor, make_camera, has_odometry
):
    cameras = make_camera("c0", 0.3, 20.0), make_camera("c1", -0.3, -20.0)
    rig = Rig(cameras, has_odometry=has_odometry)
    known = LocalMap(CONFIG.clusters, rig, LandmarkTable())
    tracks = RigTracker(CONFIG, rig, Threads(1))
    steps = [START @ transforms.rigid(np.eye(3), [0.5 * k, 0.0, 0.0]) for k in range(3)]
    for k, T in enumerate(steps):
        picture = corridor.render(cameras[k % 2], T)
        tracks.advance(RigFrame(k, {k % 2: Frame(f"c{k % 2}", k, picture)}, {}), known, T)
        tracks.stand_at([k % 2], T)
    found = tracks.others_in_turn([0], steps[2])
    assert set(found) == ({1} if has_odometry else set())
    for T, picture in found.values():
        np.testing.assert_array_equal(T, steps[1])
        np.testing.assert_array_equal(picture, corridor.render(cameras[1], steps[1]))
    far = steps[2] @ transforms.rigid(np.eye(3), [5.0, 0.0, 0.0])
    assert tracks.others_in_turn([0], far) == {}


def test_others_in_turn_cameras_that_fired_together_once_have_none(corridor, make_camera):
    cameras = make_camera("c0", 0.3, 20.0), make_camera("c1", -0.3, -20.0)
    rig = Rig(cameras, has_odometry=True)
    known = LocalMap(CONFIG.clusters, rig, LandmarkTable())
    tracks = RigTracker(CONFIG, rig, Threads(1))
    pictures = {k: Frame(f"c{k}", 0, corridor.render(c, START)) for k, c in enumerate(cameras)}
    tracks.advance(RigFrame(0, pictures, {}), known, START)
    tracks.stand_at([0, 1], START)
    tracks.advance(RigFrame(1, {0: pictures[0]}, {}), known, START)
    tracks.stand_at([0], START)
    # a picture of the second one was dropped
    assert tracks.others_in_turn([0], START) == {}
