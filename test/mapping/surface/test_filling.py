from dataclasses import replace

import numpy as np
import pytest
from test_facades import EDGE_M, wall

from seg2d3d_ros.geometry import masks, transforms
from seg2d3d_ros.mapping.archive import FrameContent
from seg2d3d_ros.mapping.map_frame import MapFrame
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.mapping.surface.facades import CELL_M
from seg2d3d_ros.mapping.surface.filling import FacadeFiller
from seg2d3d_ros.mapping.surface.fusion import FIRST_ID, FusedPoints
from seg2d3d_ros.mapping.surface.walls import find_all_facades, surfaces_of
from seg2d3d_ros.mapping.tracks import TrackFinder
from seg2d3d_ros.types import Camera, Mask, MaskAssignment, PointCloud, Rig

FOCAL_PX, SIZE = 400.0, (640, 480)
LABEL, OTHER, SKY, TREE = 11003, 11004, 23, 21001
REACH_M = 3.0
NOWHERE = np.zeros((0, 3))


def fused(points, instance, toward=(0.0, -1.0, 0.0)):
    n = len(points)
    return FusedPoints(
        ids=FIRST_ID + np.arange(n),
        points=points,
        edge_m=np.full(n, EDGE_M),
        sigma_m=np.full(n, 0.05),
        num_views=np.full(n, 3),
        instances=np.full(n, instance),
        classes=np.full(n, 11),
        colors_rgb=np.full((n, 3), 90, np.uint8),
        toward=np.tile(toward, (n, 1)),
    )


def landmarks(points=NOWHERE, instance=7, sigma=0.1):
    n = len(points)
    return PointCloud(
        ids=np.arange(n),
        points_map=points,
        colors_rgb=np.zeros((n, 3), np.uint8),
        labels=np.full(n, 11, np.uint32),
        instances=np.full(n, instance, np.uint32),
        sigma_m=np.full(n, sigma, np.float32),
        num_views=np.full(n, 4, np.uint32),
    )


def mask_of(label, x, y):
    """A mask over columns x and rows y of the picture."""
    w, h = SIZE
    picture = np.zeros((h, w), bool)
    picture[slice(*y), slice(*x)] = True
    return Mask(label, label // 1000 or label, 1.0, *masks.encode(picture))


OWN = mask_of(LABEL, (120, 520), (120, 360))


def seen_by(yaw_rad):
    """A map without frames, of a camera that is turned to the left."""
    w, h = SIZE
    K = np.array([[FOCAL_PX, 0, (w - 1) / 2], [0, FOCAL_PX, (h - 1) / 2], [0, 0, 1]])
    turn = transforms.exp([0, 0, yaw_rad, 0, 0, 0])[:3, :3]
    state = MapState()
    T_base_cam = transforms.rigid(turn @ transforms.R_BODY_OPTICAL, np.zeros(3))
    state.rig = Rig((Camera("c", w, h, K, T_base_cam),))
    return state


def add_keyframe(state, x, found):
    """Add a keyframe 10 m before y = 0 that shows masks."""
    k, nothing = len(state.frames), np.zeros(0, dtype=np.int64)
    content = FrameContent(nothing, nothing, np.zeros((0, 2), np.float32), {0: found})
    pose = transforms.rigid(np.eye(3), [x, -10.0, 3.0])
    state.frames.append(MapFrame(k, pose, True, (0,), (k,), "tracked", content))


def street(*pictures):
    """Keyframes 4 m apart whose camera looks along y, 10 m in front of a wall at y = 0.

    The mask OWN covers 5 m to both sides and 3 m up and down.
    """
    state = seen_by(np.pi / 2)
    for k, found in enumerate(pictures):
        add_keyframe(state, 4.0 * k, found)
    return state


def look(state, points, instance=7, reach_m=REACH_M, known=None, owner_of=None):
    """Look at all keyframes; OWN is of instance 7, OTHER of 8."""
    owner_of = owner_of or {LABEL: 7, OTHER: 8}
    names = {
        (k, 0): [
            MaskAssignment(k, "c", m.label, owner_of.get(m.label, 0), 1.0, 9) for m in f.masks[0]
        ]
        for k, f in enumerate(state.frames)
    }
    measured, known = fused(points, instance), known or landmarks()
    found = find_all_facades(
        surfaces_of(state, measured, known), reach_m, TrackFinder(state, known, names)
    )
    filler = FacadeFiller(state, measured, found)
    filler.look(range(len(state.frames)), names)
    return filler


def fill(*args, **options):
    return look(*args, **options).filled()


LOW_WALL = wall([-4, 0], [4, 0], 2, noise=0.0)


def test_filled_mask_puts_points_on_the_plane_where_nothing_was_measured():
    made = fill(street((OWN,)), LOW_WALL)
    np.testing.assert_allclose(made.points[:, 1], 0.0, atol=1e-6)
    # 3 m beyond the highest measured point, and to the edges of the mask
    assert made.points[:, 2].max() == pytest.approx(4.9, abs=CELL_M)
    assert np.abs(made.points[:, 0]).max() == pytest.approx(5.0, abs=CELL_M)
    assert set(made.instances.tolist()) == {7}
    assert set(made.classes.tolist()) == {11}
    assert (made.colors_rgb == 90).all()
    np.testing.assert_allclose(made.toward, np.tile([0, -1, 0], (len(made.ids), 1)), atol=1e-6)


def test_filled_leaves_out_what_was_measured():
    made = fill(street((OWN,)), LOW_WALL)
    inner = (np.abs(made.points[:, 0]) < 3.8) & (made.points[:, 2] > 0.2)
    assert (made.points[inner, 2] > 1.9).all()
    assert (np.diff(made.ids) > 0).all()


def test_filled_without_reach_goes_no_farther_than_what_was_measured():
    assert len(fill(street((OWN,)), LOW_WALL, reach_m=0.1).ids) < 30


@pytest.mark.parametrize("owner", [{LABEL: 8}, {LABEL: 0}])
def test_filled_mask_of_another_or_of_nobody_stays_empty(owner):
    assert len(fill(street((OWN,)), LOW_WALL, owner_of=owner).ids) == 0


def test_filled_mask_of_unknown_class_stays_empty():
    assert len(fill(street((replace(OWN, class_id=0),)), LOW_WALL).ids) == 0


def test_filled_wall_out_of_range_stays_empty():
    assert len(fill(street((OWN,)), LOW_WALL + [0.0, 85.0, 0.0]).ids) == 0


def test_filled_wall_seen_from_behind_stays_empty():
    assert len(fill(street((OWN,)), LOW_WALL + [0.0, -15.0, 0.0]).ids) == 0


@pytest.mark.parametrize(("label", "is_left"), [(OTHER, False), (SKY, False), (TREE, True)])
def test_filled_stops_where_other_pictures_see_another_or_the_sky(label, is_left):
    """Three of four pictures show the right half to be another house, or the sky, or a tree."""
    u = [320 + 40 * k for k in (0, -4, -8, -12)]
    left = [mask_of(LABEL, (0, max(u_k, 1)), (120, 360)) for u_k in u]
    right = [mask_of(label, (max(u_k, 1), 640), (120, 360)) for u_k in u]
    pictures = [(OWN,), *zip(left[1:], right[1:], strict=True)]
    made = fill(street(*pictures), LOW_WALL)
    assert (made.points[:, 0] < -1.0).any()
    assert bool((made.points[:, 0] > 1.0).any()) == is_left


def test_filled_plane_that_was_seen_through_stays_empty():
    """Beyond its end at x = 0 the front wall hides a side wall that was measured behind it."""
    front = wall([-6, 0], [0, 0], 4, noise=0.0)
    behind = wall([0.5, 3], [6, 3], 4, noise=0.0)
    whole = mask_of(LABEL, (0, 640), (120, 360))
    alone = fill(street((whole,)), front)
    made = fill(street((whole,)), np.concatenate([front, behind]))
    hidden = [
        (m.points[:, 0] > 1.0) & (np.abs(m.points[:, 1]) < 0.1) & (abs(m.points[:, 2] - 2.0) < 1.2)
        for m in (alone, made)
    ]
    assert hidden[0].sum() > 20
    assert hidden[1].sum() == 0


def test_filled_landmarks_find_the_plane_where_no_depth_was_measured():
    rng = np.random.default_rng(0)
    corners = np.c_[rng.uniform(-4, 4, 40), rng.normal(0, 0.1, 40), rng.uniform(1, 4, 40)]
    elsewhere = wall([-4, 300], [4, 300], 2, noise=0.0)
    made = fill(street((OWN,)), elsewhere, 9, known=landmarks(corners))
    assert len(made.ids) > 100
    assert np.abs(made.points[:, 1]).max() < 0.15
    assert set(made.instances.tolist()) == {7}
    unsure = fill(street((OWN,)), elsewhere, 9, known=landmarks(corners, sigma=20.0))
    assert len(unsure.ids) == 0


def test_look_again_from_the_same_place_says_nothing_new():
    state = street((OWN,), (mask_of(OTHER, (0, 640), (0, 480)),) * 1)
    state.frames[1].T_world_base = state.frames[0].T_world_base
    np.testing.assert_array_equal(
        fill(state, LOW_WALL).points, fill(street((OWN,)), LOW_WALL).points
    )


def test_cells_are_those_measured_and_those_filled_without_strays():
    stray = np.array([[-6.5, 0.0, 4.5]])
    filler = look(street((OWN,)), np.concatenate([LOW_WALL, stray]))
    cells, made = filler.cells(), filler.filled()
    # 10 m wide, up to 3 m above the wall of 2 m
    assert len(cells.instances) == pytest.approx(10 * 5 / CELL_M**2, rel=0.12)
    assert len(cells.instances) - len(made.ids) == pytest.approx(16 / CELL_M**2, rel=0.1)
    assert np.abs(cells.centers[:, 0]).max() < 5.3
    np.testing.assert_allclose(cells.normals, np.tile([0, -1, 0], (len(cells.normals), 1)))


def test_cells_that_were_measured_but_are_denied_are_left_out():
    left = mask_of(LABEL, (0, 320), (0, 480)), mask_of(SKY, (320, 640), (0, 480))
    cells = look(street(left), LOW_WALL).cells()
    assert (cells.centers[:, 0] < CELL_M).all()
    assert len(cells.centers) > 100
