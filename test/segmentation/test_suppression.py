import numpy as np
import pytest

pytest.importorskip("torch", reason="the models extra is not installed")

from seg2d3d_ros.segmentation.network_backend import make_masks
from seg2d3d_ros.segmentation.networks.pipeline import Candidates
from seg2d3d_ros.segmentation.networks.suppression import suppress_boxes, suppress_masks
from seg2d3d_ros.segmentation.prompts import parse_prompt

SHAPE = (40, 60)


def box_mask(x0, y0, x1, y1):
    mask = np.zeros(SHAPE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def suppress(masks, classes, overlap=0.7):
    return suppress_masks(np.stack(masks), np.array(classes), overlap).tolist()


def test_suppress_boxes_same_class_overlap_keeps_the_better_one():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [20, 0, 30, 10]], np.float32)
    assert suppress_boxes(boxes, np.array([0, 0, 1, 0]), 0.7).tolist() == [0, 2, 3]


def test_suppress_boxes_exactly_at_the_threshold_both_stay():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 7]], np.float32)  # overlap 0.7
    assert suppress_boxes(boxes, np.zeros(2, int), 0.7).tolist() == [0, 1]


def test_suppress_boxes_none_stays_none():
    assert suppress_boxes(np.zeros((0, 4), np.float32), np.zeros(0, int), 0.7).tolist() == []


def test_suppress_masks_overlapping_neighbours_both_stay():
    assert suppress([box_mask(0, 0, 20, 20), box_mask(10, 0, 30, 20)], [11, 11]) == [0, 1]


def test_suppress_masks_door_in_a_house_goes():
    house, door = box_mask(0, 0, 30, 30), box_mask(10, 20, 15, 30)
    assert suppress([door, house], [11, 11]) == [1]


def test_suppress_masks_row_of_houses_goes_and_its_houses_stay():
    row = box_mask(0, 0, 60, 30)
    houses = [box_mask(x, 2, x + 19, 30) for x in (0, 20, 40)]
    assert suppress([row, *houses], [11, 11, 11, 11]) == [1, 2, 3]


def test_suppress_masks_car_before_a_house_stays():
    assert suppress([box_mask(0, 0, 40, 40), box_mask(5, 20, 20, 30)], [11, 26]) == [0, 1]


def test_suppress_masks_one_thing_under_two_classes_keeps_the_better_one():
    assert suppress([box_mask(0, 0, 30, 30), box_mask(0, 0, 30, 29)], [26, 27]) == [0]


def test_suppress_masks_empty_mask_goes():
    assert suppress([box_mask(0, 0, 30, 30), box_mask(0, 0, 0, 0)], [11, 26]) == [0]


def test_make_masks_stuff_is_united_and_things_are_numbered_by_score():
    prompt = parse_prompt(["building", "sky"])
    masks = [box_mask(x, 10, x + 8, 30) for x in (0, 10, 20)]
    masks += [box_mask(0, 0, 30, 5), box_mask(30, 0, 60, 5)]
    found = Candidates(
        np.stack(masks), np.array([0, 0, 0, 1, 1]), np.array([0.5, 0.9, 0.7, 0.4, 0.6], np.float32)
    )
    made = {m.label: m for m in make_masks(found, prompt, 0.7)}
    assert sorted(made) == [23, 11001, 11002, 11003]
    assert made[23].bbox_px == (0, 0, 60, 5)
    assert made[23].score == pytest.approx(0.6)
    assert [made[11000 + k].bbox_px[0] for k in (1, 2, 3)] == [10, 20, 0]
