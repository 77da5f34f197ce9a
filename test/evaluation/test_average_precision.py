import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg2d3d_ros.evaluation.average_precision import (
    THRESHOLDS,
    build_overlap,
    score_instances,
)


def label(*parts: tuple[int, int]) -> np.ndarray:
    """Vertices in order: (id, how many)."""
    return np.concatenate([np.full(num, value) for value, num in parts])


def test_thresholds_leave_out_095() -> None:
    assert np.round(THRESHOLDS, 2).tolist() == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9]


def test_score_instances_truth_itself_is_one_everywhere() -> None:
    gt = label((1, 200), (2, 300))
    score = score_instances(build_overlap(gt, gt, {1: 0.3, 2: 0.9}))
    for name in ("ap", "ap50", "ap25", "ar", "rc50", "rc25", "ap_uniform", "precision50"):
        assert score[name] == pytest.approx(1), name


def test_score_instances_one_of_two_found_by_hand() -> None:
    # Building 1 found with IoU 160 / 200 = 0.8; building 2 missed; one false alarm on void.
    gt = label((1, 200), (2, 200), (0, 150))
    est = label((5, 160), (0, 40), (0, 200), (6, 150))
    overlap = build_overlap(gt, est, {5: 0.9, 6: 0.5})
    score = score_instances(overlap)
    # The false alarm lies wholly on void and is ignored: P = 1, R = 1/2, AP = R (1 + P) / 2.
    assert score["ap50"] == pytest.approx(0.5)
    assert score["rc50"] == pytest.approx(0.5)
    # IoU must be greater than the threshold: 0.8 passes the six thresholds below it.
    assert score["ar"] == pytest.approx(6 / 9 * 0.5)
    assert score["ap"] == pytest.approx(6 / 9 * 0.5)


def test_score_instances_low_score_false_alarm_costs_less_than_a_high_one() -> None:
    # Building 1 is found; the larger rest of building 2 is claimed by two halves, both false.
    gt = label((1, 200), (2, 300))
    est = label((5, 200), (6, 150), (7, 150))
    low = score_instances(build_overlap(gt, est, {5: 0.9, 6: 0.2, 7: 0.1}))
    high = score_instances(build_overlap(gt, est, {5: 0.1, 6: 0.9, 7: 0.8}))
    # Halves have IoU 0.5, which is not above 0.5: TP 1, FP 2, FN 1.
    # Low: (recall, precision) (.5, 1/3) (.5, 1/2) (.5, 1) (0, 1), steps 0, 0, .25, .25.
    assert low["ap50"] == pytest.approx(0.5 * (1 + 1) / 2)
    # High: (.5, 1/3) (0, 0) (0, 0) (0, 1): recall falls at once, step 0.25 at 1/3 and 0.25 at 0.
    assert high["ap50"] == pytest.approx(0.25 / 3)
    assert low["ap50_uniform"] == high["ap50_uniform"] == pytest.approx(0.5 * (1 + 1 / 3) / 2)
    assert low["precision50"] == pytest.approx(1 / 3)
    assert (
        low["rc25"] == 1
    )  # IoU 0.5 is above 0.25: one half matches, the other is a false positive
    assert low["ap25_uniform"] == pytest.approx(1 * (1 + 2 / 3) / 2)


def test_score_instances_second_hit_is_false_with_the_lower_score() -> None:
    gt = label((1, 300))
    est = label((5, 150), (6, 150))
    overlap = build_overlap(gt, est, {5: 0.4, 6: 0.9})
    score = score_instances(overlap)
    # At 0.25 both hit: true with 0.9, false with 0.4: (1, 1/2) (1, 1) (0, 1).
    assert score["ap25"] == pytest.approx(1.0)
    assert score["ap25_uniform"] == pytest.approx(0.75)


def test_score_instances_small_true_instance_is_neither_missed_nor_false() -> None:
    gt = label((1, 200), (2, 99))
    est = label((5, 200), (6, 99 + 21))[: len(gt)]
    score = score_instances(build_overlap(gt, est, {5: 1.0, 6: 1.0}))
    assert score["num_gt"] == 1
    assert score["ap50"] == pytest.approx(1)


def test_score_instances_prediction_on_small_truth_alone_is_ignored() -> None:
    gt = label((1, 200), (2, 99), (3, 99))
    est = label((5, 200), (6, 198))
    score = score_instances(build_overlap(gt, est, {5: 0.5, 6: 1.0}))
    assert score["num_est"] == 2
    assert score["ap50"] == pytest.approx(1)


def test_score_instances_without_truth_is_none_not_zero() -> None:
    score = score_instances(build_overlap(label((0, 300)), label((1, 300)), {1: 1.0}))
    assert score["ap"] is None
    assert score["num_gt"] == 0


def test_score_instances_nothing_predicted_is_zero() -> None:
    score = score_instances(build_overlap(label((1, 300)), label((0, 300)), {}))
    assert score["ap"] == score["ap25"] == score["rc25"] == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 300)),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 3),
)
def test_score_instances_uniform_scores_give_half_recall_times_one_plus_precision(
    parts: list[tuple[int, int, int]], seed: int
) -> None:
    gt = label(*[(a, n) for a, _, n in parts])
    est = label(*[(b, n) for _, b, n in parts])
    scores = dict(enumerate(np.random.default_rng(seed).random(5).tolist()))
    score = score_instances(build_overlap(gt, est, scores))
    if score["num_gt"] == 0:
        return
    expected = score["rc50"] * (1 + score["precision50"]) / 2
    assert score["ap50_uniform"] == pytest.approx(expected)
