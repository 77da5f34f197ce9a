import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg2d3d_ros.evaluation.identity import count_id_switches, score_identity

# Ten masks of building 1, five of 2, four of 3 (too few to be judged), one of none.
# id 7: six of 1, one of 2; id 8: two of 1; id 9: three of 2, four of 3, the one of none.
BUILDING = np.array([1] * 10 + [2] * 5 + [3] * 4 + [0])
PREDICTED = np.array([7] * 6 + [8] * 2 + [0] * 2 + [7] + [9] * 3 + [0] + [9] * 4 + [9])


def test_score_identity_by_hand() -> None:
    score = score_identity(BUILDING, PREDICTED)
    assert score["coverage"] == pytest.approx((6 / 10 + 3 / 5) / 2)
    assert score["coverage_one_to_one"] == pytest.approx((6 / 10 + 3 / 5) / 2)
    # id 7: 6 of 7, id 8: 2 of 2, id 9: main building is 3 with 4 of 8.
    assert score["purity"] == pytest.approx((6 + 2 + 4) / 17)
    # Building 1: ids 7 and 8; building 2: id 9 alone (one mask of id 7 is below two).
    assert score["fragments"] == pytest.approx((2 + 1) / 2)
    # Best pairing 1-7 (6), 3-9 (4): IDTP 10 of 19 true and 17 assigned.
    assert score["idf1"] == pytest.approx(2 * 10 / (19 + 17))
    assert score["idp"] == pytest.approx(10 / 17)
    assert score["idr"] == pytest.approx(10 / 19)
    assert score["id_switches"] == 2
    assert score["num_buildings"] == 2
    assert score["num_instances"] == 3
    assert score["num_masks"] == 20
    assert score["num_assigned"] == 17


def test_score_identity_one_id_for_two_buildings_halves_one_to_one_coverage_only() -> None:
    building = np.array([1] * 5 + [2] * 5)
    score = score_identity(building, np.ones(10, dtype=np.int64))
    assert score["coverage"] == 1
    assert score["coverage_one_to_one"] == 0.5
    assert score["purity"] == 0.5


def test_score_identity_nothing_assigned_scores_zero() -> None:
    score = score_identity(np.array([1] * 6), np.zeros(6, dtype=np.int64))
    assert [score[k] for k in ("coverage", "purity", "idf1", "fragments")] == [0, 0, 0, 0]


def test_score_identity_no_masks_scores_zero() -> None:
    empty = np.zeros(0, dtype=np.int64)
    score = score_identity(empty, empty)
    assert score["coverage"] == 0
    assert score["num_masks"] == 0


def test_score_identity_one_id_per_mask_has_full_purity_and_no_fragment() -> None:
    building = np.repeat([1, 2], 10)
    score = score_identity(building, np.arange(1, 21))
    assert score["purity"] == 1
    assert score["coverage"] == pytest.approx(0.1)
    assert score["fragments"] == 0  # no id holds two masks


def test_fragments_twentieth_of_many_masks_counts_from_five_per_cent() -> None:
    building = np.ones(100, dtype=np.int64)
    predicted = np.array([1] * 91 + [2] * 5 + [3] * 4)
    assert score_identity(building, predicted)["fragments"] == 2


def test_count_id_switches_two_cameras_with_own_ids_is_no_switch() -> None:
    building = np.array([1, 1, 1, 1, 1])
    predicted = np.array([5, 6, 5, 6, 7])
    stream = np.array([0, 1, 0, 1, 0])
    assert count_id_switches(building, predicted, stream) == 1
    assert count_id_switches(building, predicted, np.zeros(5, dtype=np.int64)) == 4


def test_count_id_switches_gap_without_id_is_bridged() -> None:
    building = np.array([1, 1, 1, 2])
    assert count_id_switches(building, np.array([5, 0, 5, 9]), np.zeros(4, np.int64)) == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=60))
def test_score_identity_renamed_ids_scores_the_same(rows: list[tuple[int, int]]) -> None:
    building = np.array([r[0] for r in rows])
    predicted = np.array([r[1] for r in rows])
    names = np.array([0, 90, 12, 55, 3, 71])
    assert score_identity(building, names[predicted]) == pytest.approx(
        score_identity(building, predicted)
    )


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=60))
def test_score_identity_true_owner_is_the_best_there_is(rows: list[tuple[int, int]]) -> None:
    building = np.array([r[0] for r in rows])
    best = score_identity(building, building)
    score = score_identity(building, np.array([r[1] for r in rows]))
    for name in ("coverage", "coverage_one_to_one", "idf1"):
        assert score[name] <= best[name] + 1e-12
    assert score["coverage_one_to_one"] <= score["coverage"] + 1e-12
