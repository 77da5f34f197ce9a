import numpy as np
import pytest
from street_maker import BUILDING, make_camera

from seg2d3d_ros.geometry import cameras, masks, transforms
from seg2d3d_ros.mapping.archive import FrameContent
from seg2d3d_ros.mapping.association import Picture
from seg2d3d_ros.mapping.incidence import Incidence
from seg2d3d_ros.mapping.naming import LabelledPoints, name_masks
from seg2d3d_ros.mapping.state import MapFrame, MapState
from seg2d3d_ros.types import Mask, Rig

CAMERA = make_camera("c")
BUILDINGS = frozenset({0, BUILDING})
NONE = np.zeros(0, dtype=np.int64)


def wall(distance_m, y0, y1, z0=0.2, z1=5.0, step=0.4):
    """Points (n, 3) of a wall across the view, that far from the camera."""
    y, z = np.meshgrid(np.arange(y0, y1, step), np.arange(z0, z1, step))
    return np.c_[np.full(y.size, distance_m + 0.4), y.ravel(), z.ravel()]


def region(points, label=11001, class_id=BUILDING):
    """A mask around what is seen of points."""
    p = transforms.apply(transforms.invert(CAMERA.T_base_cam), points)
    uv, inside = cameras.project(CAMERA, p)
    (u0, v0), (u1, v1) = np.round(uv[inside].min(axis=0)), np.round(uv[inside].max(axis=0))
    picture = np.zeros((CAMERA.height_px, CAMERA.width_px), dtype=bool)
    picture[int(v0) : int(v1) + 1, int(u0) : int(u1) + 1] = True
    return Mask(label, class_id, 1.0, *masks.encode(picture))


def name(regions, points_by_instance, tracked=(), sigma_m=0.05, range_m=200.0):
    """Name masks of one picture; `tracked` holds (mask, instance of its landmark)."""
    state = MapState()
    state.rig = Rig((CAMERA,))
    content = FrameContent(NONE, NONE, np.zeros((0, 2)), {0: tuple(regions)})
    frame = MapFrame(7, np.eye(4), True, (0,), (7,), "tracked", content)
    state.frames.append(frame)
    owner = np.array([k for k, _ in tracked], dtype=np.int64)
    picture = Picture(0, 0, Incidence(np.arange(len(owner)), owner, NONE, NONE), True)
    parts = list(points_by_instance.items())
    points = np.concatenate([p for _, p in parts]) if parts else np.zeros((0, 3))
    instances = np.concatenate([np.full(len(p), i) for i, p in parts]) if parts else NONE
    labelled = LabelledPoints.of(points, np.full(len(points), sigma_m), instances)
    instance_of = np.array([i for _, i in tracked], dtype=np.int64)
    return name_masks(state, picture, labelled, instance_of, BUILDINGS, range_m)


LEFT, RIGHT = wall(12.0, 1.0, 7.0), wall(12.0, -7.0, -1.0)


def test_name_masks_tracked_landmarks_alone_name_a_mask():
    (made,) = name([region(LEFT)], {}, [(0, 4)] * 6)
    assert (made.instance, made.num_landmarks) == (4, 6)
    assert (made.stamp_ns, made.camera, made.label, made.class_id) == (7, "c", 11001, BUILDING)
    assert made.score == pytest.approx(1.0)


def test_name_masks_projected_points_name_masks_without_landmarks():
    found = name([region(LEFT, 11001), region(RIGHT, 11002)], {3: LEFT, 8: RIGHT})
    assert [a.instance for a in found] == [3, 8]
    assert all(a.score > 0.9 and a.num_landmarks == 0 for a in found)


def test_name_masks_nearer_points_hide_those_behind():
    behind = wall(30.0, 2.0, 17.0, 0.2, 9.0)
    (alone,) = name([region(LEFT)], {9: behind})
    assert alone.instance == 9
    (hidden,) = name([region(LEFT)], {9: behind, 3: LEFT})
    assert hidden.instance == 3
    assert hidden.score > 0.9


def test_name_masks_points_behind_the_camera_or_out_of_range_do_not_count():
    behind = LEFT * [-1.0, 1.0, 1.0]
    assert name([region(LEFT)], {3: behind})[0].instance == 0
    assert name([region(LEFT)], {3: LEFT}, range_m=10.0)[0].instance == 0


def test_name_masks_uncertain_points_do_not_count():
    # 3 % of 12 m
    assert name([region(LEFT)], {3: LEFT}, sigma_m=0.30)[0].instance == 3
    assert name([region(LEFT)], {3: LEFT}, sigma_m=0.40)[0].instance == 0


def test_name_masks_too_little_evidence_leaves_the_mask_unassigned():
    # one tracked landmark of six that would be enough weighs 0.25
    (made,) = name([region(LEFT)], {}, [(0, 4)])
    assert (made.instance, made.score, made.num_landmarks) == (0, 0.0, 1)
    # two of an instance make 0.5
    assert name([region(LEFT)], {}, [(0, 4)] * 2)[0].instance == 4


def test_name_masks_points_at_one_end_do_not_name_the_whole():
    end = LEFT[LEFT[:, 1] > 6.4]
    wide = region(wall(12.0, -7.0, 7.0))
    assert name([wide], {3: end})[0].instance == 0


def test_name_masks_landmarks_of_no_instance_are_counted_but_do_not_vote():
    (made,) = name([region(LEFT)], {}, [(0, 0)] * 5 + [(0, 4)] * 3)
    assert (made.instance, made.num_landmarks) == (4, 8)


def test_name_masks_many_tracked_landmarks_outweigh_projection():
    (made,) = name([region(LEFT)], {3: LEFT}, [(0, 8)] * 8)
    # 1.5 for the tracked ones, 1 for the projection
    assert made.instance == 8
    assert made.score == pytest.approx(0.6, abs=0.02)


def test_name_masks_other_classes_stay_unassigned():
    tree = region(LEFT, 21001, 21)
    (made,) = name([tree], {3: LEFT}, [(0, 3)] * 6)
    assert (made.instance, made.class_id) == (0, 21)


def test_name_masks_mask_over_two_houses_goes_to_that_with_more_of_it():
    wide = region(wall(12.0, -4.0, 7.0))
    (made,) = name([wide], {3: LEFT, 8: wall(12.0, -4.0, -1.0)})
    assert made.instance == 3
    assert 0.5 < made.score < 0.9


def test_name_masks_every_mask_gets_one_assignment_in_order():
    regions = [region(LEFT, 11001), region(RIGHT, 11002), region(LEFT, 21001, 21)]
    for points in ({}, {3: LEFT}):
        assert [a.label for a in name(regions, points)] == [11001, 11002, 21001]
    assert name([], {3: LEFT}) == []
