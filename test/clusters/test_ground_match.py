"""Corners on the ground of the corridor, matched between the two cameras of a rig."""

import numpy as np
import pytest

from seg2d3d_ros.clusters import ground_match
from seg2d3d_ros.clusters.ground_match import GroundMatcher
from seg2d3d_ros.clusters.overlap import CameraPair
from seg2d3d_ros.clusters.tracker import Tracker
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Rig

HERE = transforms.rigid(np.eye(3), [20.0, 0.5, 0.0])


class Pair:
    """Two cameras 0.8 m apart, corners of the first, and where the second sees them truly."""

    def __init__(self, corridor, make_camera, pose=HERE):
        self.a, self.b = make_camera("a", 0.4, zoom=2), make_camera("b", -0.4, zoom=2)
        self.rig = Rig((self.a, self.b))
        self.images = tuple(corridor.render(c, pose) for c in self.rig.cameras)
        tracker = Tracker(2000, 6)
        tracker.advance(self.images[0], tracker.uv_px)
        self.uv_a = tracker.find_corners(None)
        points, self.plane, _ = corridor.hit(self.a, pose, self.uv_a)
        rays = transforms.apply(transforms.invert(pose @ self.a.T_base_cam), points)
        self.distance = np.linalg.norm(rays, axis=1)
        self.rays = rays / self.distance[:, None]
        seen = transforms.apply(transforms.invert(pose @ self.b.T_base_cam), points)
        K = self.b.K
        self.uv_b = seen[:, :2] / seen[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]

    def match(self, matcher, distance):
        T_b_a = transforms.invert(self.b.T_base_cam) @ self.a.T_base_cam
        return matcher.match(self.images, self.uv_a, self.rays, distance, T_b_a)

    def wrong_px(self, found):
        good = found.error < 0.3
        return np.linalg.norm(found.uv_px - self.uv_b[found.rows], axis=1)[good]


@pytest.fixture
def pair(corridor, make_camera):
    return Pair(corridor, make_camera)


def test_match_ground_is_found_to_a_fifth_of_a_pixel_from_rough_distances(pair):
    rough = pair.distance * np.random.default_rng(1).normal(1.0, 0.03, len(pair.distance))
    found = pair.match(GroundMatcher(pair.a, pair.b), rough)
    wrong = pair.wrong_px(found)
    assert len(wrong) > 25
    assert np.median(wrong) < 0.2
    assert (pair.plane[found.rows[found.error < 0.3]] == 0).all()


def test_match_unknown_distances_are_asked_of_the_ground_once_it_is_known(pair):
    unknown = np.full(len(pair.distance), np.nan)
    matcher = GroundMatcher(pair.a, pair.b)
    assert len(pair.match(matcher, unknown).rows) == 0
    pair.match(matcher, pair.distance)
    wrong = pair.wrong_px(pair.match(matcher, unknown))
    assert len(wrong) > 25
    assert np.median(wrong) < 0.2


def test_match_what_is_far_or_high_is_left_to_others(pair):
    found = pair.match(GroundMatcher(pair.a, pair.b), pair.distance)
    T_base = pair.a.T_base_cam
    points = transforms.apply(T_base, pair.rays[found.rows] * pair.distance[found.rows, None])
    assert points[:, 2].max() < 1.6 - 0.5
    assert pair.distance[found.rows].max() < 20.0


def test_match_nothing_is_found_beyond_the_picture(pair, monkeypatch):
    def beyond(patches, image, uv_px):
        return uv_px - [[0.0, 400.0]], np.zeros(len(uv_px))

    monkeypatch.setattr(ground_match, "find_patches", beyond)
    found = pair.match(GroundMatcher(pair.a, pair.b), pair.distance)
    assert np.isinf(found.error).all()


def test_pair_nearest_ground_tells_its_distance_better_than_by_flow(pair, monkeypatch):
    near = (pair.plane == 0) & (pair.distance < np.sort(pair.distance[pair.plane == 0])[40])
    T_b_a = transforms.invert(pair.b.T_base_cam) @ pair.a.T_base_cam
    wrong = {}
    for name in ("flow", "level"):
        cameras = CameraPair(pair.rig, 0, 1)
        if name == "flow":
            nothing = pair.match(GroundMatcher(pair.a, pair.b), np.full(len(near), np.nan))
            monkeypatch.setattr(cameras._ground, "match", lambda *_, n=nothing: n)
        found = cameras.match(*pair.images, pair.uv_a, pair.distance * 1.02)
        rows = found.rows[near[found.rows]]
        at_infinity = pair.rays[rows] @ T_b_a[:3, :3].T
        at_infinity = at_infinity[:, 0] / at_infinity[:, 2] * pair.b.K[0, 0] + pair.b.K[0, 2]
        disparity = found.uv_px[near[found.rows], 0] - at_infinity
        true = pair.uv_b[rows, 0] - at_infinity
        wrong[name] = len(rows), np.median(np.abs(disparity / true - 1.0))
    assert wrong["level"][0] >= wrong["flow"][0] > 30
    # by flow 0.7 % (0.3 px of 45), as a patch is sheared by 5 px; drawn level 0.04 %
    assert wrong["level"][1] < wrong["flow"][1] / 5.0
