from dataclasses import replace

import cv2
import numpy as np
import pytest
from test_facades import EDGE_M, wall
from test_filling import FOCAL_PX, LABEL, SIZE, SKY, add_keyframe, fused, landmarks, seen_by

from seg2d3d_ros.geometry import masks, transforms
from seg2d3d_ros.mapping.surface.facades import CELL_M, MeasuredSurface, find_facades
from seg2d3d_ros.mapping.surface.gables import guess_gables, is_gable
from seg2d3d_ros.mapping.surface.walls import raise_walls
from seg2d3d_ros.types import Mask, MaskAssignment

LENGTH_M, DEPTH_M, HEIGHT_M = 8.0, 8.0, 6.0
# to those who come along the front
FROM_LEFT = np.array([-0.6, -0.8, 0.0])
FRONT = wall([0.2, 0], [LENGTH_M - 0.2, 0], HEIGHT_M, noise=0.0)


def upright(start, end):
    """The corners (4, 3) of a wall over a line in the plan."""
    return np.array(
        [[*xy, z] for z, ends in ((0.0, (start, end)), (HEIGHT_M, (end, start))) for xy in ends]
    )


def dense(corners):
    """Many points around a wall: some may lie behind a camera."""
    share = np.linspace(0.0, 1.0, 41)[:, None]
    nexts = np.roll(corners, -1, axis=0)
    return np.concatenate([a + share * (b - a) for a, b in zip(corners, nexts, strict=True)])


GABLE = upright((0.0, 0.0), (0.0, DEPTH_M))


def surface(points, toward=FROM_LEFT):
    n = len(points)
    return MeasuredSurface(
        points, np.full(n, EDGE_M), np.full(n, EDGE_M**2), np.tile(toward, (n, 1))
    )


def house(points, *walls):
    """What is found of a house measured at points that shows these walls, and sky around it.

    The camera looks ahead and to the left, and comes along the wall at y = 0, 10 m before it.
    """
    w, h = SIZE
    state, names = seen_by(np.pi / 4), {}
    for k, x in enumerate(np.arange(-28.0, 9.0, 4.0)):
        shown = [Mask(SKY, SKY, 1.0, *masks.encode(np.ones((h, w), bool)))]
        add_keyframe(state, x, shown)
        picture = np.zeros((h, w), np.uint8)
        for corners in walls:
            p = transforms.apply(transforms.invert(state.T_world_cam(k, 0)), dense(corners))
            p = p[p[:, 2] > 0.5]
            if len(p):
                uv = np.round(p[:, :2] / p[:, 2:] * FOCAL_PX + state.cameras[0].K[:2, 2])
                cv2.fillConvexPoly(picture, cv2.convexHull(uv.astype(np.int32)), 1)
        if picture.any():
            shown.append(Mask(LABEL, 11, 1.0, *masks.encode(picture > 0)))
        names[k, 0] = [
            MaskAssignment(k, "c", m.label, 7 if m.label == LABEL else 0, 1.0, 9) for m in shown
        ]
    filled, _ = raise_walls(state, fused(points, 7, FROM_LEFT), landmarks(), names, 3.0)
    return filled


def behind(made):
    return made.points[made.points[:, 1] > 1.0]


def test_side_wall_on_which_nothing_was_measured_is_filled_as_far_as_masks_show_it():
    made = house(FRONT, upright((0, 0), (LENGTH_M, 0)), GABLE)
    side = behind(made)
    np.testing.assert_allclose(side[:, 0], 0.0, atol=CELL_M)
    assert side[:, 1].max() == pytest.approx(DEPTH_M, abs=2 * CELL_M)
    assert side[:, 2].max() == pytest.approx(HEIGHT_M, abs=2 * CELL_M)
    # two thirds of its cells and more
    assert len(side) > 0.66 * (DEPTH_M - 1.0) * HEIGHT_M / CELL_M**2
    # The front ends at the corner, though masks go on.
    assert made.points[:, 0].min() > -2 * CELL_M


def test_front_that_goes_on_beyond_what_was_measured_gets_no_side_wall():
    made = house(FRONT, upright((-2.0, 0), (LENGTH_M, 0)))
    assert not len(behind(made))
    assert made.points[:, 0].min() == pytest.approx(-2.0, abs=2 * CELL_M)


def test_guess_stands_where_the_front_ends_or_where_a_few_points_of_the_side_say():
    side = np.array([[-0.6, y, 2.0] for y in np.arange(2.0, 7.0)])
    for points, x in ((FRONT, 0.0), (np.concatenate([FRONT, side]), -0.6)):
        (gable,) = guess_gables(find_facades(surface(FRONT), 3.0, 0), surface(points))
        np.testing.assert_allclose(gable.normal, [-1.0, 0.0, 0.0], atol=1e-3)
        assert -gable.offset_m == pytest.approx(x, abs=CELL_M if x == 0.0 else 0.02)
        at = gable.centers()
        assert (at[:, 1] > 0.0).all() and at[:, 1].max() == pytest.approx(12.0, abs=CELL_M)
        assert at[:, 2].max() > HEIGHT_M + 3.0


def test_guess_is_made_at_ends_that_were_seen_from_beyond_alone_and_where_no_wall_is_known():
    seen = surface(FRONT, np.array([0.0, -1.0, 0.0]))
    assert guess_gables(find_facades(seen, 3.0, 0), seen) == []
    side = wall([0.0, 0.2], [0.0, DEPTH_M], HEIGHT_M, noise=0.0)
    corner = surface(np.concatenate([FRONT, side]))
    assert guess_gables(find_facades(corner, 3.0, 0), corner) == []


def test_guess_needs_a_front_that_draws_its_direction_or_holds_points_in_many_cells():
    seen = surface(FRONT)
    (front,) = find_facades(seen, 3.0, 0)
    few = front.dense & (np.cumsum(front.dense).reshape(front.dense.shape) <= 60)
    for is_fine, dense, num in ((True, few, 1), (False, front.dense, 1), (False, few, 0)):
        assert len(guess_gables([replace(front, is_fine=is_fine, dense=dense)], seen)) == num


def test_strip_behind_a_supposed_corner_is_no_gable_nor_is_all_that_pictures_tell_of():
    cells = np.zeros((30, 20), bool)
    cells[:7, :10] = True
    assert not is_gable(cells, num_told=300)
    cells[:20, :10] = True
    assert is_gable(cells, num_told=300)
    assert not is_gable(cells, num_told=220)
