from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg2d3d_ros.geometry import cameras as models
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.masks.visibility import (
    LAYER_RATIO,
    LabelledPoints,
    Shown,
    are_in_front,
    hidden_by_neighbours,
    labelled_points,
)
from seg2d3d_ros.types import Camera, Distortion

K = np.array([[400.0, 0, 319.5], [0, 400.0, 191.5], [0, 0, 1]])
WIDE = np.array([[200.0, 0, 319.5], [0, 200.0, 191.5], [0, 0, 1]])
CAMERAS = [
    Camera("pinhole", 640, 384, K, np.eye(4)),
    Camera("barrel", 640, 384, K, np.eye(4), Distortion.PLUMB_BOB, np.array([-0.2, 0.03, 0, 0])),
    Camera("fisheye", 640, 384, WIDE, np.eye(4), Distortion.EQUIDISTANT, np.zeros(4)),
]


def labelled(points):
    return LabelledPoints.of(points, np.ones(len(points)), np.arange(len(points)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 300.0), st.sampled_from(CAMERAS))
def test_in_cone_finds_all_that_the_camera_sees_within_range(seed, range_m, camera):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-200, 200, (rng.integers(0, 300), 3)) * [1, 1, 0.1]
    T = transforms.exp(rng.uniform(-3, 3, 6) * [1, 1, 1, 60, 60, 1])
    angle = np.arctan(models.radius_limit(camera))
    found = labelled(points).in_cone(T, float(angle), range_m)
    _, seen = models.project(camera, transforms.apply(transforms.invert(T), points))
    near = np.linalg.norm(points[:, :2] - T[:2, 3], axis=1) <= range_m
    assert set(np.flatnonzero(seen & near)) <= set(found)
    assert set(found) <= set(np.flatnonzero(near))
    assert (np.diff(found) > 0).all()


def test_in_cone_leaves_out_most_of_what_lies_behind():
    rng = np.random.default_rng(0)
    points = rng.uniform(-200, 200, (4000, 3)) * [1, 1, 0.02]
    T = transforms.rigid(transforms.R_BODY_OPTICAL, [0.0, 0.0, 1.5])
    found = labelled(points).in_cone(T, np.deg2rad(45), 150.0)
    assert points[found, 0].min() > -25.0
    ahead = np.abs(points[:, 1]) < points[:, 0]
    assert (ahead & (np.hypot(points[:, 0], points[:, 1]) < 150)).sum() < len(found) < 1500


def test_in_cone_height_does_not_matter_for_the_range_and_its_border_counts():
    points = np.array([[30.0, 40.0, 900.0], [30.0, 40.001, 0.0]])
    assert labelled(points).in_cone(np.eye(4), np.pi, 50.0).tolist() == [0]


def hidden(uv, depth, instances, mask, reach=20.0):
    shown = Shown(np.asarray(uv, dtype=float), np.asarray(depth, dtype=float), np.array(instances))
    return hidden_by_neighbours(shown, np.array(mask), np.full(len(mask), reach)).tolist()


BESIDE = [[10, 10], [14, 10], [10, 14], [13, 13]]


def map_of(points, sigma, T_world_base):
    """The part of a map that says where landmarks are."""
    return SimpleNamespace(
        frames=[SimpleNamespace(T_world_base=T_world_base)],
        unit=1.0,
        points=lambda ids: points[ids],
        sigma=lambda ids: sigma[ids],
    )


@pytest.mark.parametrize("yaw_rad", [0.0, 0.7])
def test_labelled_points_keep_the_surest_of_each_instance_per_cubic_metre(yaw_rad):
    T = transforms.exp([0.0, 0.0, yaw_rad, 100.0, -50.0, 3.0])
    local = np.array([[5.1, 0.2, 0.3], [5.4, 0.8, 0.9], [5.9, 0.5, 0.5], [6.2, 0.5, 0.5]])
    state = map_of(transforms.apply(T, local), np.array([0.3, 0.1, 0.2, 0.4]), T)
    kept = labelled_points(state, {7: np.array([0, 1, 3]), 9: np.array([2])})
    assert sorted(zip(kept.instances.tolist(), kept.sigma_m.tolist(), strict=True)) == [
        (7, 0.1),
        (7, 0.4),
        (9, 0.2),
    ]
    assert not len(labelled_points(state, {}).points_world)


def test_labelled_points_that_no_camera_within_range_is_sure_of_are_left_out():
    points = np.arange(12.0).reshape(4, 3) * 10.0
    state = map_of(points, np.array([0.1, 0.9, 1.4, 3.0]), np.eye(4))
    members = {5: np.arange(4)}
    # three hundredths of the distance: from 30 m up to 0.9 m, and what is up there is farther
    assert len(labelled_points(state, members, 30.0).sigma_m) == 2
    assert labelled_points(state, members, 21.0).sigma_m.tolist() == [0.1, 0.9]
    assert labelled_points(state, members, 4.0).sigma_m.tolist() == [0.1]
    assert len(labelled_points(state, members).sigma_m) == 4


def test_hidden_by_neighbours_two_nearer_ones_of_another_instance_hide_a_point():
    assert hidden(BESIDE, [30, 30, 50, 50], [3, 3, 8, 8], [0, 0, 0, 0]) == [0, 0, 1, 1]
    # One stray point hides nothing, nor does an instance its own, nor a facade little nearer.
    assert hidden(BESIDE, [30, 50, 50, 50], [3, 8, 8, 8], [0, 0, 0, 0]) == [0, 0, 0, 0]
    assert hidden(BESIDE, [30, 30, 50, 50], [8, 8, 8, 8], [0, 0, 0, 0]) == [0, 0, 0, 0]
    assert hidden(BESIDE, [46, 46, 50, 50], [3, 3, 8, 8], [0, 0, 0, 0]) == [0, 0, 0, 0]


def test_hidden_by_neighbours_only_those_of_the_same_mask_within_reach_count():
    assert hidden(BESIDE, [30, 30, 50, 50], [3, 3, 8, 8], [0, 0, 1, 1]) == [0, 0, 0, 0]
    assert hidden(BESIDE, [30, 30, 50, 50], [3, 3, 8, 8], [-1, -1, -1, -1]) == [0, 0, 0, 0]
    assert hidden(BESIDE, [30, 30, 50, 50], [3, 3, 8, 8], [0, 0, 0, 0], reach=2.0) == [0, 0, 0, 0]
    assert hidden(np.zeros((0, 2)), [], [], []) == []


@pytest.mark.parametrize("num", [1, 2, 3, 4, 5, 8, 31])
def test_are_in_front_compares_with_the_first_quartile_of_numpy(num):
    for seed in range(20):
        depth = 10.0 * np.random.default_rng(seed).lognormal(size=num)
        expected = depth <= LAYER_RATIO * np.quantile(depth, 0.25)
        assert np.array_equal(are_in_front(depth), expected)
        assert are_in_front(depth).any()
