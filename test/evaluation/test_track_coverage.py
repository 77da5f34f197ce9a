import numpy as np
import pytest

from seg2d3d_ros.evaluation.masks import build_mask_truth
from seg2d3d_ros.evaluation.track_coverage import find_sightings, score_track_coverage

# Three buildings are visible in ten pictures and have masks in eight, four and one of them.
NUM_MASKS = {1: 8, 2: 4, 3: 1}
VISIBLE = {(t, "c", b): 1000 for t in range(10) for b in NUM_MASKS}
ROWS = [(t, "c", 11000 + b, b, 1.0) for b, num in NUM_MASKS.items() for t in range(num)]
ROWS += [(t, "c", 11009, 0, 1.0) for t in range(10)]


def score(ids: dict[int, list[int]]) -> dict[str, float | int]:
    """Score ids given per building in order of time."""
    masks = build_mask_truth(ROWS)
    assignment = {
        (t, "c", 11000 + b): identity for b, row in ids.items() for t, identity in enumerate(row)
    }
    return score_track_coverage(find_sightings(masks, VISIBLE), masks.ids(assignment))


def test_score_track_coverage_by_hand() -> None:
    # Building 1: five pictures with id 7, three with id 8; building 2: id 7 all along; 3: none.
    result = score({1: [7] * 5 + [8] * 3, 2: [7] * 4, 3: [0]})
    assert result["track_coverage"] == pytest.approx((0.5 + 0.4 + 0.0) / 3)
    assert result["detection_recall"] == pytest.approx((0.8 + 0.4 + 0.1) / 3)
    assert result["adjusted_coverage"] == pytest.approx((5 / 8 + 1 + 0) / 3)
    assert result["num_visible_buildings"] == 3


def test_score_track_coverage_legacy_leaves_out_what_is_not_linked_and_adjusts_to_one() -> None:
    result = score({1: [7] * 5 + [8] * 3, 2: [7] * 4, 3: [0]})
    # Links: (7, 1) .5, (8, 1) .3, (7, 2) .4; building 3 does not exist for it.
    assert result["num_links"] == 3
    assert result["legacy_coverage"] == pytest.approx(0.4)
    assert result["legacy_adjusted_coverage"] == 1


def test_score_track_coverage_bad_ids_look_good_to_the_legacy_formula() -> None:
    result = score({1: [1, 2, 3, 4, 5, 6, 7, 8], 2: [9, 9, 9, 9], 3: [0]})
    assert result["track_coverage"] == pytest.approx((0.1 + 0.4 + 0) / 3)
    assert result["legacy_coverage"] == pytest.approx(0.4)


def test_find_sightings_undetected_building_is_counted_not_averaged() -> None:
    masks = build_mask_truth([(t, "c", 11001, 1, 1.0) for t in range(5)])
    visible = {(t, "c", b): 500 for t in range(5) for b in (1, 2)}
    result = score_track_coverage(find_sightings(masks, visible), np.full(5, 3))
    assert result["adjusted_coverage"] == 1
    assert result["track_coverage"] == 0.5
    assert result["num_undetected"] == 1


def test_find_sightings_with_pixels_asks_for_iou() -> None:
    masks = build_mask_truth([(0, "c", 11001, 1, 0.9), (1, "c", 11001, 1, 0.9)])
    visible = {(0, "c", 1): 1000, (1, "c", 1): 1000}
    # 0.9 * 800 = 720 of 800 + 1000 - 720 = 1080: IoU 0.67; 0.9 * 400 = 360 of 1040: IoU 0.35.
    mask_px = {(0, "c", 11001): 800, (1, "c", 11001): 400}
    assert find_sightings(masks, visible, mask_px).hit_mask.tolist() == [0]
    assert find_sightings(masks, visible).hit_mask.tolist() == [0, 1]


def test_find_sightings_tiny_and_unused_pictures_do_not_count() -> None:
    masks = build_mask_truth([(0, "c", 11001, 1, 1.0)])
    visible = {(0, "c", 1): 1000, (0, "c", 2): 10, (5, "c", 1): 1000}
    assert find_sightings(masks, visible).num_visible == {1: 1}
