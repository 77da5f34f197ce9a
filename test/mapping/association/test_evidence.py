from types import SimpleNamespace

import numpy as np

from seg2d3d_ros.mapping.association.evidence import Comparison, compare

A, B = np.arange(1, 5), np.arange(11, 15)


def picture(*masks):
    """A picture whose masks hold the landmarks given."""
    ids = np.concatenate([np.zeros(0, dtype=np.int64), *map(np.array, masks)]).astype(np.int64)
    mask = np.repeat(np.arange(len(masks)), [len(m) for m in masks])
    return SimpleNamespace(seen=SimpleNamespace(ids=ids, mask=mask))


def test_compare_hand_case_counts_views_and_shared_points():
    pictures = [
        picture([1, 2, 11, 12], [99]),  # one mask over both: it shows the first set, who has it
        picture([1, 2, 3], [11, 12]),  # two masks: against
        picture([90, 91], [1, 2], [11, 13, 14, 4]),  # against; landmark 4 in a mask of the others
        picture([1], [11, 12]),  # too few of the first set for a view
        picture([90, 91]),  # neither
        picture(),
    ]
    found = compare(pictures, A, B)
    # first set: 1 2 11 12, 1 2 3, 1 2; second: 11 12, 11 13 14 4, 11 12; shared: 11 12
    assert found == Comparison(5, 5, 2, views_for=1, views_against=2)
    assert found.jaccard == 2 / 8
    assert found.containment == 2 / 5


def test_compare_masks_that_hold_as_many_of_both_go_by_the_first():
    pictures = [picture([1, 2], [3, 4, 11, 12], [13, 14])]
    # both main masks are the first with two of theirs: 0 of the one, 1 of the other
    assert compare(pictures, A, B) == Comparison(6, 2, 0, views_for=0, views_against=1)


def test_compare_nothing_seen_is_nothing():
    assert compare([], A, B) == compare([picture()], A, B) == Comparison(0, 0, 0, 0, 0)
    assert compare([picture([90])], A, B).jaccard == 0.0
