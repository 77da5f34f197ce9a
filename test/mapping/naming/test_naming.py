import numpy as np
import pytest
from street_maker import BUILDING, make_camera

from seg2d3d_ros.geometry import cameras, masks, transforms
from seg2d3d_ros.mapping.archive import FrameContent
from seg2d3d_ros.mapping.association.identities import Picture
from seg2d3d_ros.mapping.incidence import Incidence
from seg2d3d_ros.mapping.map_frame import MapFrame
from seg2d3d_ros.mapping.masks.mask_links import MaskLinks
from seg2d3d_ros.mapping.masks.visibility import LabelledPoints
from seg2d3d_ros.mapping.naming.agreement import name_masks
from seg2d3d_ros.mapping.naming.naming import weigh_picture
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Mask, Rig

CAMERA = make_camera("c")
BUILDINGS = frozenset({0, BUILDING})
NONE = np.zeros(0, dtype=np.int64)
NO_LINKS = MaskLinks(NONE, NONE, np.zeros(0))


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
    votes = weigh(regions, points_by_instance, tracked, sigma_m, range_m)
    return name_masks(np.arange(len(votes)), votes, NO_LINKS).names


def weigh(regions, points_by_instance, tracked=(), sigma_m=0.05, range_m=200.0):
    """Evidence for masks of one picture; `tracked` holds (mask, instance of its landmark)."""
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
    return weigh_picture(state, picture, labelled, instance_of, BUILDINGS, range_m)


LEFT, RIGHT = wall(12.0, 1.0, 7.0), wall(12.0, -7.0, -1.0)


def test_name_masks_tracked_landmarks_alone_name_a_mask():
    (made,) = name([region(LEFT)], {}, [(0, 4)] * 6)
    assert made.instance == 4
    assert made.score == pytest.approx(1.0)


def test_name_masks_projected_points_name_masks_without_landmarks():
    found = name([region(LEFT, 11001), region(RIGHT, 11002)], {3: LEFT, 8: RIGHT})
    assert [a.instance for a in found] == [3, 8]
    assert all(a.score > 0.9 for a in found)


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


def test_weigh_picture_landmarks_of_no_instance_do_not_vote():
    (votes,) = weigh([region(LEFT)], {}, [(0, 0)] * 5 + [(0, 4)] * 3)
    assert votes == {4: pytest.approx(0.75 / 2)}


def test_weigh_picture_whole_instance_in_the_mask_outweighs_few_points_of_another():
    # Building 3 fills its own mask, some of its points stray into that of 8.
    masks = [region(LEFT, 11001), region(RIGHT, 11002)]
    stray = wall(12.0, -2.0, -1.0)
    votes = weigh(masks, {3: np.concatenate([LEFT, stray]), 8: wall(12.0, -7.0, -6.0)})
    assert votes[0][3] > 1.5
    assert votes[1][8] > 1.0 > votes[1][3]


def test_weigh_picture_points_in_other_masks_do_not_cover_this_one():
    # A blank wall beside a house full of corners: the corners lie in the mask of the house.
    masks = [region(LEFT, 11001), region(wall(12.0, -1.0, 1.0), 11002)]
    votes = weigh(masks, {3: LEFT[LEFT[:, 1] > 1.5]})
    assert votes[0][3] > 1.5
    assert votes[1][3] == 0


def test_weigh_picture_tracked_landmarks_weigh_less_than_projection():
    (votes,) = weigh([region(LEFT)], {3: LEFT}, [(0, 8)] * 8)
    assert votes == {8: pytest.approx(0.75), 3: pytest.approx(2.0, abs=0.05)}


def test_name_masks_other_classes_stay_unassigned():
    tree = region(LEFT, 21001, 21)
    (made,) = name([tree], {3: LEFT}, [(0, 3)] * 6)
    assert made.instance == 0


def test_name_masks_mask_over_two_houses_goes_to_that_with_more_of_it():
    wide = region(wall(12.0, -4.0, 7.0))
    (made,) = name([wide], {3: LEFT, 8: wall(12.0, -4.0, -1.0)})
    assert made.instance == 3
    assert 0.5 < made.score < 0.9


def test_weigh_picture_every_mask_gets_evidence_in_order():
    regions = [region(LEFT, 11001), region(RIGHT, 11002), region(LEFT, 21001, 21)]
    assert weigh(regions, {}) == [{}, {}, {}]
    votes = weigh(regions, {3: RIGHT})
    assert [set(v) for v in votes] == [set(), {3}, set()]
    assert weigh([], {3: LEFT}) == []


def test_weigh_picture_what_shines_through_a_facade_with_fewer_corners_does_not_name_it():
    # A bare facade before one with more corners, a fifth farther away.
    bare = LEFT[::3]
    behind = wall(14.4, 1.3, 8.2, 0.3, 5.5)
    assert len(behind) > 2 * len(bare)
    (votes,) = weigh([region(LEFT)], {3: bare, 9: behind})
    assert votes[3] > 1.5 * votes[9]
    (other,) = weigh([region(LEFT)], {3: bare * [1.15, 1.0, 1.0], 9: behind})
    assert other[9] > other[3]


def test_weigh_picture_landmarks_too_uncertain_to_project_speak_where_they_were_followed():
    mask = region(LEFT)
    x0, y0, x1, y1 = mask.bbox_px
    u, v = np.meshgrid(np.linspace(x0 + 3, x1 - 3, 4), np.linspace(y0 + 3, y1 - 3, 4))
    uv = np.c_[u.ravel(), v.ravel()]
    rays = np.c_[cameras.normalize(CAMERA, uv), np.ones(len(uv))]
    points = transforms.apply(CAMERA.T_base_cam, rays * 12.0)
    ids = np.arange(len(uv))[::-1].copy()
    state = MapState()
    state.rig = Rig((CAMERA,))
    state._reserve(len(ids))
    content = FrameContent(ids, np.zeros_like(ids), uv.astype(np.float32), {0: (mask,)})
    state.frames.append(MapFrame(7, np.eye(4), True, (0,), (7,), "tracked", content))
    seen = Incidence(np.sort(ids), np.zeros_like(ids), NONE, NONE)
    picture = Picture(0, 0, seen, True)
    stray = LEFT[::9]  # well known points of a neighbour that shine into the mask
    labelled = LabelledPoints.of(stray, np.full(len(stray), 0.05), np.full(len(stray), 8))
    evidence = []
    for sigma_m in (5.0, 0.05):
        state.set_points(ids, points, np.full(len(ids), sigma_m))
        votes = weigh_picture(state, picture, labelled, np.full(16, 4), BUILDINGS, 200.0)
        evidence.append(votes[0])
    unsure, sure = evidence
    assert unsure[4] > unsure[8]
    # those that are known well enough are projected from the map, which holds none here
    assert sure[4] == pytest.approx(0.75)
    assert sure[8] > sure[4]
