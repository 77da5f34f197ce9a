"""What keyframes do for the tracks of a rig in the corridor."""

import numpy as np
import pytest

from seg2d3d_ros.clusters.assembly import RigFrame
from seg2d3d_ros.clusters.corners import KeyframeCorners
from seg2d3d_ros.clusters.exclusion import Exclusion
from seg2d3d_ros.clusters.landmarks import LandmarkTable
from seg2d3d_ros.clusters.overlap import overlapping_pairs
from seg2d3d_ros.clusters.threads import Threads
from seg2d3d_ros.clusters.tracker import Tracker
from seg2d3d_ros.clusters.window import LocalFrame, Seen
from seg2d3d_ros.config import Config
from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import masks, transforms
from seg2d3d_ros.types import Frame, Mask, Rig, Segmentation

CONFIG = Config()
POSE = transforms.rigid(np.eye(3), [45.0, 0.5, 0.0])
NOTHING = Seen(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros((0, 2)))


class Street:
    """A rig at one place, with trackers that have seen its pictures."""

    def __init__(self, corridor, cameras, num_threads=1, max_features=150, with_pairs=True):
        self.rig = Rig(cameras)
        self.pairs = overlapping_pairs(self.rig) if with_pairs else []
        self.grays = {k: corridor.render(c, POSE) for k, c in enumerate(cameras)}
        frames = {k: Frame(c.name, 0, self.grays[k]) for k, c in enumerate(cameras)}
        self.moment = RigFrame(0, frames, {})
        index = tuple(range(len(cameras)))
        self.frame = LocalFrame(0, POSE, True, index, (0,) * len(index), NOTHING)
        self.trackers = [Tracker(max_features, 8) for _ in cameras]
        for k, tracker in enumerate(self.trackers):
            tracker.advance(self.grays[k], tracker.uv_px)
        self.table, self.exclusion = LandmarkTable(), Exclusion(CONFIG.segmentation)
        self.threads = Threads(num_threads)
        self.corners = KeyframeCorners(CONFIG, self.rig, self.pairs, self.trackers, self.threads)

    def supply(self):
        self.corners.supply(self.frame, self.moment, self.table, self.exclusion)
        self.threads.close()
        return self


@pytest.fixture(scope="module")
def stereo(make_camera):
    return make_camera("a", 0.3), make_camera("b", -0.3)


def test_supply_any_number_of_threads_numbers_corners_camera_by_camera(corridor, stereo):
    one, two = (Street(corridor, stereo, num).supply() for num in (1, 2))
    first, second = one.trackers
    np.testing.assert_array_equal(first.ids, np.arange(1, 151))
    np.testing.assert_array_equal(second.ids, np.arange(151, 301))
    for mine, other in zip(one.trackers, two.trackers, strict=True):
        np.testing.assert_array_equal(mine.ids, other.ids)
        np.testing.assert_array_equal(mine.uv_px, other.uv_px)
    at = first.uv_px.astype(int)
    gray = one.grays[0][at[:, 1], at[:, 0]]
    np.testing.assert_array_equal(one.table.colors(first.ids), np.repeat(gray[:, None], 3, 1))


def test_supply_full_trackers_adds_nothing_and_leaves_still_tracks_in_place(corridor, stereo):
    street = Street(corridor, stereo).supply()
    before = [(t.ids.copy(), t.uv_px.copy()) for t in street.trackers]
    street.supply()
    for tracker, (ids, uv) in zip(street.trackers, before, strict=True):
        np.testing.assert_array_equal(tracker.ids, ids)
        # the same picture fits where it was cut out, to what flow stops at
        np.testing.assert_allclose(tracker.uv_px, uv, atol=0.02)


def test_supply_nothing_starts_on_what_moves(corridor, stereo):
    street = Street(corridor, stereo)
    camera, picture = stereo[0], np.zeros((192, 320), bool)
    picture[:, :160] = True
    moving = Mask(26001, CONFIG.segmentation.dynamic_classes[0], 1.0, *masks.encode(picture))
    street.exclusion.look(0, Segmentation(camera.name, 0, 320, 192, (moving,)))
    street.supply()
    assert len(street.trackers[0].ids) > 50
    # it moved by up to two pixels between the picture and its mask
    assert street.trackers[0].uv_px[:, 0].min() >= 162
    assert street.trackers[1].uv_px[:, 0].min() < 160


def test_supply_narrow_overlap_gets_corners_of_its_own(corridor, make_camera):
    cameras = make_camera("a", 0.3, 35.0, 2), make_camera("b", -0.3, -35.0, 2)
    num = []
    for with_pairs in (False, True):
        street = Street(corridor, cameras, with_pairs=with_pairs).supply()
        (common,) = [p.common_a for p in overlapping_pairs(street.rig) if p.a == 0]
        u, v = street.trackers[0].uv_px.astype(int).T
        num.append(common[v, u].sum())
    assert num[0] < num[1] <= CONFIG.clusters.overlap_features


def test_match_across_stereo_finds_tracks_of_one_camera_in_the_other(corridor, stereo):
    street = Street(corridor, stereo).supply()
    (seen,) = street.corners.match_across(street.frame, street.grays, street.table)
    assert len(seen.ids) > 40
    assert set(seen.camera.tolist()) == {1}
    rows = np.searchsorted(street.trackers[0].ids, seen.ids)
    np.testing.assert_array_equal(street.trackers[0].ids[rows], seen.ids)
    # level pictures side by side: the same row, a positive disparity
    moved = street.trackers[0].uv_px[rows] - seen.uv_px
    assert np.abs(moved[:, 1]).max() < 1.0
    assert moved[:, 0].min() > 0.0


def test_match_across_missing_picture_gives_nothing(corridor, stereo):
    street = Street(corridor, stereo).supply()
    assert street.corners.match_across(street.frame, {0: street.grays[0]}, street.table) == []


def test_match_across_finds_tracks_that_a_camera_saw_half_a_metre_before(corridor, make_camera):
    cameras = make_camera("a", 0.3, zoom=2), make_camera("b", -0.3, zoom=2)
    street = Street(corridor, cameras, max_features=600).supply()
    tracker = street.trackers[0]
    points = corridor.hit(cameras[0], POSE, tracker.uv_px)[0]
    street.table.set_points(tracker.ids, points)
    T = POSE @ transforms.rigid(np.eye(3), [0.5, 0.0, 0.0])
    later = LocalFrame(1, T, True, (1,), (1,), NOTHING)
    pictures = {1: corridor.render(cameras[1], T)}
    before = {0: (POSE, street.grays[0])}
    (seen,) = street.corners.match_across(later, pictures, street.table, before)
    assert len(seen.ids) > 60
    assert set(seen.camera.tolist()) == {1}
    p_cam = transforms.apply(transforms.invert(T @ cameras[1].T_base_cam), points)
    expected = models.project(cameras[1], p_cam)[0][np.searchsorted(tracker.ids, seen.ids)]
    miss = np.linalg.norm(seen.uv_px - expected, axis=1)
    # walls are seen from half a metre nearer, too; on the way itself they move by 4 px and more
    assert np.median(miss) < 0.5
    assert np.mean(miss < 2.0) > 0.95
