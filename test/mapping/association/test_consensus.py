from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seg2d3d_ros.mapping.association.consensus import (
    MaskTable,
    companions,
    count_pairs,
    encounters,
    main_masks,
    majority,
    mask_key,
)


def landmarks(*pictures):
    """Mask and instance of landmarks, from pictures of masks given as {instance: landmarks}."""
    rows = [
        (int(mask_key(k, np.array(m))), i)
        for k, masks in enumerate(pictures)
        for m, mask in enumerate(masks)
        for i, n in mask.items()
        for _ in range(n)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 2).T


def table(*masks):
    """Masks of one picture after the other."""
    return MaskTable(*landmarks(*([m] for m in masks)))


def test_count_pairs_most_frequent_comes_first_and_zero_is_left_out():
    a = np.array([4, 4, 4, 9, 9, 9, 2, 7, 7])
    b = np.array([3, 1, 1, 3, 0, 3, 0, 8, 5])
    found = [v.tolist() for v in count_pairs(a, b)]
    assert found == [[4, 4, 7, 7, 9], [1, 3, 5, 8, 3], [2, 1, 1, 1, 2]]
    assert [v.tolist() for v in majority(a, b)] == [[4, 7, 9], [1, 5, 3]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=40))
def test_majority_is_the_most_frequent_and_the_smaller_of_equals(pairs):
    a, b = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    counts = {}
    for x, y in pairs:
        if y:
            counts.setdefault(x, Counter())[y] += 1
    expected = {x: min(c, key=lambda y: (-c[y], y)) for x, c in counts.items()}
    found = majority(a * (1 << 59), b)  # as large as places get
    assert found[0].tolist() == [x * (1 << 59) for x in sorted(expected)]
    assert found[1].tolist() == [expected[x] for x in sorted(expected)]


def test_mask_table_of_nothing_has_no_weakest():
    assert table().weakest() is None


def test_mask_key_masks_of_different_pictures_differ():
    keys = [mask_key(k, np.arange(64)) for k in range(5)]
    assert len(np.unique(keys)) == 5 * 64


def test_weakest_instances_that_own_their_masks_stay():
    assert table({1: 9}, {1: 8, 2: 2}, {2: 7}, {2: 5, 1: 1}).weakest() is None


def test_weakest_instance_in_the_masks_of_one_other_is_its_guest():
    # 2 lies in four masks, three of them of 1, and owns one: 25 %
    assert table({1: 9, 2: 2}, {1: 8, 2: 3}, {1: 6, 2: 2}, {2: 4}).weakest() == (2, 1)


def test_weakest_instance_spread_over_many_has_no_host():
    # 9 owns nothing, and no other holds 60 % of its masks
    found = table({1: 9, 9: 2}, {2: 8, 9: 3}, {3: 6, 9: 2}, {1: 9}, {2: 9}, {3: 9}).weakest()
    assert found == (9, 0)


def test_weakest_owning_35_percent_is_enough():
    masks = [{1: 9, 2: 2}] * 13 + [{2: 5}] * 7
    assert table(*masks).weakest() is None
    assert table({1: 9, 2: 2}, *masks).weakest() == (2, 1)


def test_weakest_smallest_share_comes_first():
    assert table(*[{1: 9, 2: 1, 3: 1}] * 4, {2: 5}).weakest() == (3, 1)


def test_weakest_equal_landmarks_belong_to_the_older():
    assert table({1: 4, 2: 4}, {1: 4, 2: 4}, {1: 4, 2: 4}).weakest() == (2, 1)


def test_reassign_guest_that_became_its_host_makes_it_strong():
    # 2 owns one mask in four; as 1 it owns all of them, and 3 is still a guest of it
    found = table({1: 9, 2: 2}, {1: 8, 2: 3}, {1: 6, 2: 2}, {2: 4, 3: 1})
    assert found.weakest() == (3, 2)
    found.reassign(2, 1)
    assert found.weakest() == (3, 1)
    found.reassign(3, 0)
    assert found.weakest() is None


def test_reassign_without_a_host_leaves_the_masks_to_the_others():
    # 9 outnumbers 1 in three masks and is forgotten: 1 owns them then
    found = table(*[{1: 2, 9: 3}] * 3, {1: 5, 9: 1})
    assert found.weakest() == (1, 9)
    found.reassign(9, 0)
    assert found.weakest() is None


WORLDS = st.lists(
    st.dictionaries(st.integers(1, 6), st.integers(1, 4), min_size=1, max_size=4), max_size=12
)


@settings(deadline=None, max_examples=80)
@given(WORLDS, st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), max_size=5))
def test_mask_table_kept_up_equals_one_counted_anew(masks, changes):
    found = table(*masks)
    for instance, host in changes:
        if instance == host:
            continue
        found.reassign(instance, host)
        after = []
        for row in masks:
            row = dict(row)
            num = row.pop(instance, 0)
            if num and host:
                row[host] = row.get(host, 0) + num
            after += [row] if row else []
        masks = after
        assert found.weakest() == table(*masks).weakest()


def test_reassign_looks_only_at_the_masks_of_the_instance(monkeypatch):
    """Judgements of masks: as many on a long street as on a short one."""
    judged = []
    judge = MaskTable._judge
    monkeypatch.setattr(
        MaskTable, "_judge", lambda self, row, sign: (judged.append(1), judge(self, row, sign))
    )
    counts = []
    for num_houses in (10, 200):
        street = [m for i in range(num_houses) for m in [{2 * i + 1: 9, 2 * i + 2: 2}] * 5]
        found = table(*street)
        judged.clear()
        for i in range(5):
            assert found.weakest() is not None
            found.reassign(2 * i + 2, 2 * i + 1)
        counts.append(len(judged))
    assert counts[0] == counts[1] == 5 * 5 * 2


def compared(*pictures, followed=()):
    """Votes about pairs of instances as {(a, b): votes}; `pictures` hold what is projected."""
    instances, votes = companions(
        main_masks(*landmarks(*followed)), main_masks(*landmarks(*pictures))
    )
    ends = zip(instances[votes.first].tolist(), instances[votes.second].tolist(), strict=True)
    return dict(zip(ends, votes.weight.tolist(), strict=True))


def test_companions_vote_for_each_picture_in_one_mask_and_against_each_in_two():
    assert compared([{1: 5, 2: 4}], [{1: 5, 2: 4}], [{1: 5}, {2: 4}]) == {(1, 2): 1.0}


def test_companions_single_landmark_says_nothing():
    assert compared([{1: 5, 2: 1}]) == {}


def test_companions_of_nothing_are_none():
    assert compared() == {}


def test_companions_instance_in_two_masks_counts_in_that_with_more_of_it():
    found = compared([{1: 5, 2: 2}, {2: 6, 3: 4}])
    assert found == {(1, 2): -1.0, (1, 3): -1.0, (2, 3): 1.0}


def test_companions_what_was_followed_outvotes_what_is_projected():
    # A facade that hides its neighbour: projected, the neighbour lies in its mask.
    hidden = [[{1: 5, 2: 4}]] * 6
    assert compared(*hidden) == {(1, 2): 6.0}
    assert compared(*hidden, followed=[[{1: 5}, {2: 4}]] * 3)[1, 2] < 0.0
    assert compared(*hidden, followed=[[{1: 5, 2: 4}]])[1, 2] > 6.0
    assert compared(followed=[[{1: 5}, {2: 4}]])[1, 2] < 0.0


def met(one, other):
    """Votes of `encounters` as {(a, b): votes}; each picture is a list of masks."""
    instances = np.arange(1, 6)
    votes = encounters(main_masks(*landmarks(*one)), main_masks(*landmarks(*other)), instances)
    ends = zip(instances[votes.first].tolist(), instances[votes.second].tolist(), strict=True)
    return dict(zip(ends, votes.weight.tolist(), strict=True))


def test_encounters_compare_one_kind_with_the_other_and_neither_with_itself():
    one = [[{1: 3, 2: 3}, {}], [{1: 2}, {2: 2}]]
    other = [[{4: 5, 5: 5}, {}], [{4: 5}, {5: 5}]]
    assert met(one, other) == {(1, 4): 2.0, (2, 5): 2.0}


def test_encounters_of_an_instance_with_itself_or_in_other_pictures_are_none():
    assert met([[{1: 3}]], [[{1: 3}]]) == {}
    assert met([[{1: 3}], []], [[], [{2: 3}]]) == {}


def test_encounters_count_both_ways():
    assert met([[{1: 3, 2: 3}]], [[{1: 3, 2: 3}]]) == {(1, 2): 2.0}
