from collections import Counter

import numpy as np

from seg2d3d_ros.mapping.consensus import (
    build_table,
    companions,
    mask_key,
    reassign,
    weakest,
)


def table(*masks):
    """Masks given as {instance: landmarks}, all of one picture after the other."""
    return {int(mask_key(k, np.array(0))): Counter(row) for k, row in enumerate(masks)}


def test_build_table_counts_landmarks_by_mask_and_instance():
    mask = np.array([4, 4, 4, 9, 9, 9, 2])
    instance = np.array([1, 1, 3, 3, 0, 3, 0])
    assert build_table(mask, instance) == {4: {1: 2, 3: 1}, 9: {3: 2}}


def test_build_table_of_nothing_is_empty():
    none = np.zeros(0, dtype=np.int64)
    assert build_table(none, none) == {}
    assert weakest({}) is None


def test_mask_key_masks_of_different_pictures_differ():
    keys = [mask_key(k, np.arange(64)) for k in range(5)]
    assert len(np.unique(keys)) == 5 * 64


def test_weakest_instances_that_own_their_masks_stay():
    assert weakest(table({1: 9}, {1: 8, 2: 2}, {2: 7}, {2: 5, 1: 1})) is None


def test_weakest_instance_in_the_masks_of_one_other_is_its_guest():
    # 2 lies in four masks, three of them of 1, and owns one: 25 %
    found = weakest(table({1: 9, 2: 2}, {1: 8, 2: 3}, {1: 6, 2: 2}, {2: 4}))
    assert found == (2, 1)


def test_weakest_instance_spread_over_many_has_no_host():
    # 9 owns nothing, and no other holds 60 % of its masks
    found = weakest(table({1: 9, 9: 2}, {2: 8, 9: 3}, {3: 6, 9: 2}, {1: 9}, {2: 9}, {3: 9}))
    assert found == (9, 0)


def test_weakest_owning_35_percent_is_enough():
    masks = [{1: 9, 2: 2}] * 13 + [{2: 5}] * 7
    assert weakest(table(*masks)) is None
    assert weakest(table({1: 9, 2: 2}, *masks)) == (2, 1)


def test_weakest_smallest_share_comes_first():
    masks = [{1: 9, 2: 1, 3: 1}] * 4 + [{2: 5}]
    assert weakest(table(*masks)) == (3, 1)


def test_weakest_equal_landmarks_belong_to_the_older():
    assert weakest(table({1: 4, 2: 4}, {1: 4, 2: 4}, {1: 4, 2: 4})) == (2, 1)


def test_reassign_adds_the_guest_to_its_host():
    before = table({1: 9, 2: 2}, {2: 4}, {3: 1})
    after = reassign(before, 2, 1)
    assert list(after.values()) == [{1: 11}, {1: 4}, {3: 1}]
    assert before == table({1: 9, 2: 2}, {2: 4}, {3: 1})


def test_reassign_without_a_host_forgets_the_guest():
    assert list(reassign(table({1: 9, 2: 2}, {2: 4}), 2, 0).values()) == [{1: 9}]


def test_weakest_and_reassign_until_none_is_weak_come_to_an_end():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 200, 3000)
    found = build_table(rows, rng.integers(1, 40, 3000))
    for _ in range(40):
        if (verdict := weakest(found)) is None:
            break
        found = reassign(found, *verdict)
    assert weakest(found) is None


def picture(number, *masks):
    return {int(mask_key(number, np.array(k))): Counter(row) for k, row in enumerate(masks)}


def test_companions_vote_for_each_picture_in_one_mask_and_against_each_in_two():
    rows = picture(0, {1: 5, 2: 4}) | picture(1, {1: 5, 2: 4}) | picture(2, {1: 5}, {2: 4})
    assert companions(rows) == {1: {2: 1.0}, 2: {1: 1.0}}


def test_companions_single_landmark_says_nothing():
    assert companions(picture(0, {1: 5, 2: 1})) == {}


def test_companions_instance_in_two_masks_counts_in_that_with_more_of_it():
    rows = picture(0, {1: 5, 2: 2}, {2: 6, 3: 4})
    assert companions(rows) == {1: {2: -1.0, 3: -1.0}, 2: {1: -1.0, 3: 1.0}, 3: {1: -1.0, 2: 1.0}}
