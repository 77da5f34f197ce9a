import numpy as np
import pytest

from seg2d3d_ros.evaluation.boxes import (
    Box,
    corner_error,
    count_overlaps,
    enclose,
    score_boxes,
    transform_box,
    yaw_error_deg,
)
from seg2d3d_ros.geometry.transforms import exp


def box(x0: float = 0, y0: float = 0, x1: float = 10, y1: float = 4, top: float = 6) -> Box:
    return Box(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float), 0.0, top)


def test_enclose_turned_wall_is_its_box() -> None:
    rng = np.random.default_rng(0)
    local = rng.uniform([0, 0, 1], [10, 4, 7], (40000, 3))
    T = exp([0, 0, 0.4, 20.0, -5.0, 0.0])
    made = enclose(local @ T[:3, :3].T + T[:3, 3], 0.4)
    truth = transform_box(T, box())
    # half a hundredth is cut off at each end: 5 cm of 10 m
    np.testing.assert_allclose(made.footprint, truth.footprint, atol=0.08)
    assert (made.bottom_m, made.top_m) == pytest.approx((1.0, 7.0), abs=0.05)


def test_enclose_leaves_a_stray_point_out() -> None:
    points = np.r_[np.random.default_rng(0).uniform(0, 5, (1000, 3)), [[90.0, -70.0, 50.0]]]
    assert enclose(points, 0.0).footprint.max() < 5.0


def test_corner_error_takes_the_order_that_suits() -> None:
    shifted = Box(box().footprint + [0.3, -0.4], 0.0, 6.0)
    turned = Box(np.roll(shifted.footprint, 2, axis=0)[::-1], 0.0, 6.0)
    assert corner_error(turned, box()) == pytest.approx(0.5)
    # both right corners lie 2 m off
    assert corner_error(box(x1=12), box()) == pytest.approx(1.0)


@pytest.mark.parametrize(("turn_deg", "error_deg"), [(0, 0), (3, 3), (90, 0), (-85, 5), (178, 2)])
def test_yaw_error_is_that_up_to_right_angles(turn_deg: float, error_deg: float) -> None:
    turned = transform_box(exp([0, 0, np.deg2rad(turn_deg), 0, 0, 0]), box())
    assert yaw_error_deg(turned, box()) == pytest.approx(error_deg, abs=1e-6)


def test_transform_box_scales_and_lifts() -> None:
    S = np.diag([2.0, 2.0, 2.0, 1.0])
    S[:3, 3] = [1, 1, 5]
    made = transform_box(S, box())
    np.testing.assert_allclose(made.footprint[2], [21, 9])
    assert (made.bottom_m, made.top_m) == pytest.approx((5.0, 17.0))


def test_count_overlaps_needs_a_third_of_the_smaller() -> None:
    whole, small = box().footprint, box(9, 1, 12, 2).footprint
    assert count_overlaps([whole, small]) == 1  # 1 of 3 m² lies inside
    assert count_overlaps([whole, box(9.5, 1, 12, 2).footprint]) == 0  # 0.5 of 2.5
    assert count_overlaps([whole, box(10, 0, 20, 4).footprint]) == 0
    assert count_overlaps([whole] * 3) == 3


def test_score_boxes_by_hand() -> None:
    pairs = [(box(), box()), (box(x1=12, top=7), box()), (box(x1=16), box())]
    score = score_boxes(pairs, {1: box(), 2: box(20, 0, 30, 4)})
    assert score["num"] == 3
    assert score["corner_error_m"] == pytest.approx(1.0)
    assert score["within_1m"] == pytest.approx(1 / 3)
    assert score["height_error_m"] == pytest.approx(0.0)
    assert score["yaw_error_deg"] == pytest.approx(0.0)
    assert score["num_overlapping"] == 0


def test_score_boxes_of_nothing_is_none() -> None:
    assert score_boxes([], {})["corner_error_m"] is None
