import numpy as np
import pytest

from seg2d3d_ros.mapping.instances.edits import Edit, Edits
from seg2d3d_ros.types import EventKind

# ten landmarks along a street, one metre apart; -1 is one without a position
POINTS = np.column_stack([np.arange(10.0), np.zeros(10), np.zeros(10)])
IDS = np.arange(10)


def edit(kind, keeper, other, keeper_ids, other_ids, sequence=0):
    sets = (np.array(keeper_ids), np.array(other_ids))
    return Edit(kind, sequence, sequence, keeper, other, *sets)


def relabel(edits, owners, points=POINTS):
    made = Edits()
    made.journal += edits
    owners = np.array(owners)
    found = made.relabel(IDS, lambda ids: owners[ids], lambda ids: points[ids])
    return found.tolist()


def test_relabel_without_edits_is_the_automatic_decision():
    assert relabel([], [1] * 5 + [2] * 5) == [1] * 5 + [2] * 5


def test_relabel_merge_takes_landmarks_that_joined_later():
    made = edit(EventKind.MERGED, 1, 2, [0, 1], [8, 9])
    assert relabel([made], [1] * 5 + [2] * 5) == [1] * 10
    assert relabel([made], [0] + [1] * 4 + [2] * 4 + [0]) == [0] + [1] * 8 + [0]


def test_relabel_merge_follows_an_automatic_merge_into_an_older_one():
    # by hand 5 took 7; since then the association merged 5 into 3
    made = edit(EventKind.MERGED, 5, 7, [0, 1], [8, 9])
    assert relabel([made], [3] * 5 + [7] * 5) == [3] * 10


@pytest.mark.parametrize("owners", [[1] * 5 + [0] * 5, [0] * 10])
def test_relabel_merge_with_one_that_is_gone_changes_nothing(owners):
    assert relabel([edit(EventKind.MERGED, 1, 2, [0, 1], [8, 9])], owners) == owners


def test_relabel_split_sends_other_landmarks_to_the_nearer_side():
    made = edit(EventKind.SPLIT, 1, 4, [0, 1, 2], [7, 8])
    assert relabel([made], [1] * 10) == [1] * 5 + [4] * 5
    # landmarks of others stay theirs
    assert relabel([made], [1] * 3 + [2] * 3 + [1] * 4) == [1] * 3 + [2] * 3 + [4] * 4


def test_relabel_split_keeps_landmarks_without_position_with_the_keeper():
    lost = POINTS.copy()
    lost[[6, 8]] = np.nan
    made = edit(EventKind.SPLIT, 1, 4, [0, 1, 2], [7, 8])
    assert relabel([made], [1] * 10, lost) == [1] * 4 + [1, 4, 1, 4, 4, 4]


def test_relabel_split_that_the_association_found_too_keeps_the_id_given_by_hand():
    made = edit(EventKind.SPLIT, 1, 4, [0, 1], [8, 9])
    assert relabel([made], [1] * 5 + [6] * 5) == [1] * 5 + [4] * 5
    # the part joined an older neighbour: that one's id
    assert relabel([made], [1] * 5 + [3] * 5) == [1] * 5 + [3] * 5


def test_relabel_later_edits_work_on_what_earlier_ones_made():
    split = edit(EventKind.SPLIT, 1, 4, [0, 1], [8, 9], 0)
    merge = edit(EventKind.MERGED, 2, 4, [5], [8, 9], 1)
    assert relabel([split, merge], [1, 1, 1, 1, 2, 2, 1, 1, 1, 1]) == [1] * 4 + [2] * 6


def test_place_parts_points_named_by_masks_where_the_cut_is_and_joins_merged_ones():
    edits = Edits()
    edits.journal.append(edit(EventKind.SPLIT, 1, 4, [0, 1, 2], [7, 8]))
    edits.journal.append(edit(EventKind.MERGED, 2, 3, [0], [9], 1))
    owners = np.array([1] * 4 + [4, 0, 1, 1, 2, 3], dtype=np.uint32)
    found = edits.place(POINTS, owners, lambda ids: POINTS[ids])
    assert found.dtype == np.uint32
    assert found.tolist() == [1] * 5 + [0, 4, 4, 2, 2]


def test_owners_of_anchors_change_when_the_association_changes_its_mind():
    edits = Edits()
    edits.journal.append(edit(EventKind.MERGED, 1, 2, [0, 1], [8, 9]))
    before, after = np.array([1] * 5 + [2] * 5), np.array([1] * 5 + [3] * 5)
    assert edits.owners_of_anchors(lambda ids: before[ids]) == (1, 2)
    assert edits.owners_of_anchors(lambda ids: after[ids]) == (1, 3)
