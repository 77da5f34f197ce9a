import numpy as np
import pytest
from street_maker import FOCAL_PX, HEIGHT_PX, WIDTH_PX, make_camera

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.masks.mask_boxes import box_overlaps

CAMERA = make_camera("c")


def test_box_overlaps_camera_at_rest_are_those_of_the_boxes():
    boxes = np.array([[100.0, 50, 200, 150], [0.0, 0, 50, 50]])
    others = np.array([[150.0, 50, 250, 150], [100.0, 50, 200, 100], [60.0, 0, 90, 50]])
    found = box_overlaps(CAMERA, boxes, np.eye(3), others)
    assert found == pytest.approx(np.array([[1 / 3, 0.5, 0.0], [0.0, 0.0, 0.0]]))


def test_box_overlaps_camera_that_turned_boxes_move_the_other_way():
    shift_px = 60.0
    x, y = (WIDTH_PX - 1) / 2, (HEIGHT_PX - 1) / 2
    small = np.array([[x - 4, y - 4, x + 4, y + 4]])
    # a turn to the right about the axis that points down
    turn = transforms.exp([0.0, np.arctan(shift_px / FOCAL_PX), 0.0, 0.0, 0.0, 0.0])[:3, :3]
    R_now_then = turn.T
    moved = small - [shift_px, 0, shift_px, 0]
    # away from the middle a box is seen a tenth larger
    assert box_overlaps(CAMERA, small, R_now_then, moved)[0, 0] > 0.8
    assert box_overlaps(CAMERA, small, R_now_then, small)[0, 0] == 0.0


def test_box_overlaps_box_turned_out_of_the_picture_is_zero_not_nan():
    box = np.array([[0.0, 50, 40, 150]])
    about = transforms.exp([0.0, np.pi, 0.0, 0.0, 0.0, 0.0])[:3, :3]
    assert box_overlaps(CAMERA, box, about, box).tolist() == [[0.0]]
