from collections import Counter

import numpy as np
import pytest

from seg2d3d_ros.mapping.masks.mask_links import MaskLinks, mask_keys
from seg2d3d_ros.mapping.naming.agreement import Name, name_masks


def links(*triples):
    """Links between masks: (a, b, overlap)."""
    a, b, overlap = np.array(triples, dtype=float).reshape(-1, 3).T
    return MaskLinks(a.astype(np.int64), b.astype(np.int64), overlap)


def instances(keys, votes, linked=()):
    """Instances of masks with votes {instance: weight}; `linked` holds (a, b, overlap)."""
    found = name_masks(np.asarray(keys), [Counter(v) for v in votes], links(*linked))
    return [n.instance for n in found.names]


def in_pictures(num, mask):
    """Keys of the same mask in pictures 0 to num."""
    return [int(mask_keys(k, 0, np.array([mask]))[0]) for k in range(num)]


def test_name_masks_track_shares_the_name_with_most_evidence():
    keys = in_pictures(4, 0)
    votes = [{3: 0.9}, {}, {8: 0.8, 3: 0.7}, {9: 1.0}]
    followed = [(keys[0], keys[1], 0.8), (keys[1], keys[2], 0.6)]
    assert instances(keys, votes, followed) == [3, 3, 3, 9]
    assert instances(keys, votes) == [3, 0, 8, 9]


def test_name_masks_evidence_that_is_weak_for_the_whole_track_does_not_name_it():
    keys = in_pictures(4, 0)
    followed = [(a, b, 0.8) for a, b in zip(keys, keys[1:], strict=False)]
    shining_through = in_pictures(4, 1)
    votes = [{3: 0.9}, {3: 0.3}, {}, {}]
    assert instances(keys, votes, followed) == [3] * 4
    owned = [{3: 2.0}] * 4
    assert instances([*keys, *shining_through], votes + owned, followed) == [0] * 4 + [3] * 4


def test_name_masks_order_and_numbering_of_masks_change_nothing():
    rng = np.random.default_rng(3)
    votes = [
        Counter({int(i): float(w) for i, w in zip((1, 2, 3), rng.random(3), strict=True)})
        for _ in range(40)
    ]
    keys = rng.permutation(10_000)[:40]
    pairs = [(keys[i], keys[i + 1], rng.uniform(0.3, 1.0)) for i in range(39)]
    first = dict(zip(keys.tolist(), name_masks(keys, votes, links(*pairs)).names, strict=True))
    order = rng.permutation(40)
    again = name_masks(keys[order], [votes[i] for i in order], links(*pairs[::-1])).names
    for key, found in zip(keys[order].tolist(), again, strict=True):
        assert (found.instance, found.score) == (
            first[key].instance,
            pytest.approx(first[key].score),
        )


def test_name_masks_links_to_unknown_masks_are_left_out():
    votes = [Counter({3: 1.0}), Counter()]
    found = name_masks(np.array([5, 6]), votes, links((5, 7, 0.9), (7, 6, 0.9))).names
    assert [n.instance for n in found] == [3, 0]


def test_name_masks_little_evidence_names_a_mask_that_nothing_contradicts():
    assert instances([3], [{4: 0.09}]) == [4]
    assert instances([3], [{4: 0.009}]) == [0]
    assert instances([3], [{4: 0.2, 5: 0.2}]) == [4]


def test_name_masks_links_overrule_what_a_single_mask_says():
    # Six masks of 3 that are sure; a sliver linked to them where points of 8 shine through.
    keys = in_pictures(7, 0)
    votes = [{3: 1.5}] * 6 + [{8: 0.4}]
    chained = [(a, b, 0.8) for a, b in zip(keys[:6], keys[1:6], strict=False)]
    assert instances(keys, votes, [*chained, (keys[5], keys[6], 0.45)])[6] == 3
    assert instances(keys, votes, chained)[6] == 8


def test_name_masks_mask_that_is_sure_leaves_the_name_of_its_track():
    # A mask over two houses is linked to both of them.
    keys = in_pictures(4, 0)
    votes = [{3: 2.5}, {3: 2.5}, {3: 1.4, 8: 1.3}, {8: 2.5}]
    followed = [(a, b, 0.6) for a, b in zip(keys, keys[1:], strict=False)]
    assert instances(keys, votes, followed) == [3, 3, 3, 8]
    assert instances(keys, [*votes[:3], {8: 1.5}], followed) == [3] * 4
    assert instances(keys, [*votes[:3], {8: 2.5, 3: 0.5}], followed) == [3] * 4


@pytest.mark.parametrize(
    ("follower", "num_sure", "name"),
    [
        ({8: 1.2, 3: 0.3}, 2, 8),
        ({8: 1.2, 3: 0.5}, 2, 3),  # too much speaks for the track
        ({8: 1.2, 9: 1.3, 3: 0.3}, 2, 3),  # and here more for a third one
        ({8: 0.4}, 2, 3),
        ({8: 1.2, 3: 0.3}, 1, 3),  # as many are not sure
    ],
)
def test_name_masks_mask_follows_those_of_its_track_that_are_sure(follower, num_sure, name):
    keys = in_pictures(12, 0)
    votes = [{3: 2.5}] * (11 - num_sure) + [{8: 2.5}] * num_sure + [follower]
    followed = [(a, b, 0.8) for a, b in zip(keys, keys[1:], strict=False)]
    found = instances(keys, votes, followed)
    assert found == [3] * (11 - num_sure) + [8] * num_sure + [name]


def test_name_masks_weak_evidence_for_an_instance_with_a_mask_there_means_its_neighbour():
    own, sliver = in_pictures(5, 0), in_pictures(5, 1)
    chained = [(a, b, 0.8) for keys in (own, sliver) for a, b in zip(keys, keys[1:], strict=False)]
    votes = [{3: 2.0}] * 5 + [{3: 0.3, 8: 0.02}] * 5
    assert instances(own + sliver, votes, chained) == [3] * 5 + [8] * 5
    # Where 3 shows nothing of its own, the sliver is 3.
    assert instances(sliver, votes[5:], chained[4:]) == [3] * 5


@pytest.mark.parametrize(("first", "last", "name"), [(3, 5, 0), (3, 10, 3), (5, 7, 3)])
def test_name_masks_weak_evidence_for_what_is_only_seen_beside_it_means_none(first, last, name):
    # 3 is known from a few pictures late on the way, and what lies beside it in most of those is
    # not its other part; where it is seen elsewhere, too, that is open
    own, sliver = in_pictures(10, 0)[first:last], in_pictures(5, 1)
    chained = [(a, b, 0.8) for keys in (own, sliver) for a, b in zip(keys, keys[1:], strict=False)]
    votes = [{3: 2.0}] * len(own) + [{3: 0.3}] * 5
    assert instances(own + sliver, votes, chained) == [3] * len(own) + [name] * 5


def test_name_masks_what_nothing_explains_are_orphans_by_group():
    own, sliver, far = (in_pictures(4, k) for k in range(3))
    chained = [
        (a, b, overlap)
        for keys, overlap in ((own, 0.8), (sliver, 0.4), (far, 0.8))
        for a, b in zip(keys, keys[1:], strict=False)
    ]
    votes = [Counter(v) for v in [{3: 2.0}] * 4 + [{3: 0.3}] * 4 + [{}] * 4]
    found = name_masks(np.array(own + sliver + far), votes, links(*chained))
    assert [n.instance for n in found.names] == [3] * 4 + [0] * 8
    assert [g.tolist() for g in found.orphans] == [[4, 5, 6, 7], [8, 9, 10, 11]]


def test_name_masks_no_evidence_at_all_leaves_only_orphans():
    found = name_masks(np.array([3, 9]), [Counter(), Counter()], links((3, 9, 0.7)))
    assert found.names == [Name(0, 0.0)] * 2
    assert [g.tolist() for g in found.orphans] == [[0, 1]]
    assert name_masks(np.zeros(0, dtype=np.int64), [], links()).orphans == []
