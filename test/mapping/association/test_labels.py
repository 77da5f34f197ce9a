import numpy as np

from seg2d3d_ros.mapping.association.labels import LabelVotes
from seg2d3d_ros.mapping.incidence import Incidence

NONE = np.zeros(0, dtype=np.int64)


def votes(*pictures):
    """Votes of pictures given as {landmark: class}."""
    out = LabelVotes()
    for picture in pictures:
        ids = np.array(list(picture), dtype=np.int64)
        out.add(Incidence(NONE, NONE, ids, np.array(list(picture.values()), dtype=np.int64)))
    return out


def test_labels_class_with_most_votes_wins():
    found = votes({3: 11, 4: 21}, {3: 11, 4: 11}, {3: 26, 4: 21})
    assert found.of(np.array([4, 3])).tolist() == [21, 11]


def test_labels_landmark_in_no_mask_or_never_seen_is_unknown():
    found = votes({3: -1, 4: 11}, {3: -1})
    assert found.of(np.array([3, 2, 5, 100_000])).tolist() == [0, 0, 0, 0]


def test_labels_equal_votes_go_to_the_smaller_class():
    assert votes({3: 21}, {3: 11}).of(np.array([3])).tolist() == [11]


def test_labels_ids_may_grow_without_losing_votes():
    found = votes({3: 11}, {3: 11, 5_000: 21}, {3: 21, 70_000: 11})
    assert found.of(np.array([3, 5_000, 70_000])).tolist() == [11, 21, 11]


def test_labels_same_landmark_seen_by_two_cameras_counts_twice():
    out = votes({3: 21})
    out.add(Incidence(NONE, NONE, np.array([3, 3]), np.array([11, 11])))
    assert out.of(np.array([3])).tolist() == [11]


def test_is_building_asks_for_more_votes_than_any_other_class():
    found = votes({1: 11, 2: 21, 3: 0}, {1: 21, 2: 21}, {1: 11})
    ids = np.array([1, 2, 3, 4])
    assert found.is_building(ids, frozenset({0, 11})).tolist() == [True, False, True, False]


def test_labels_without_any_votes_are_unknown():
    assert LabelVotes().of(np.array([1, 2])).tolist() == [0, 0]
    assert not LabelVotes().is_building(np.array([1]), frozenset({0, 11})).any()
