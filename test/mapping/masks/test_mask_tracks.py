import numpy as np

from seg2d3d_ros.mapping.masks.mask_links import MaskLinks, mask_keys
from seg2d3d_ros.mapping.masks.mask_tracks import find_tracks

PICTURES = range(10)


def key(picture, mask):
    return int(mask_keys(picture, 0, np.array([mask]))[0])


def row(mask, overlap=0.8):
    """Links of a mask with itself in the next three pictures."""
    pairs = [(k, k + step) for step in (1, 2, 3) for k in PICTURES[:-step]]
    return [(key(a, mask), key(b, mask), overlap) for a, b in pairs]


def tracks(keys, triples):
    a, b, overlap = np.array(triples, dtype=float).reshape(-1, 3).T
    return find_tracks(np.array(keys), MaskLinks(a.astype(np.int64), b.astype(np.int64), overlap))


def test_find_tracks_one_false_link_does_not_join_neighbours():
    keys = [key(k, m) for m in (0, 1) for k in PICTURES]
    false = (key(4, 0), key(5, 1), 0.9)
    found = tracks(keys, [*row(0), *row(1), false])
    assert set(found[:10].tolist()).isdisjoint(found[10:].tolist())
    assert len(set(found.tolist())) == 2


def test_find_tracks_piece_of_a_mask_goes_with_the_whole_it_is_linked_to():
    # In picture 5 the mask is cut in two; both pieces overlap with the whole before and after.
    whole = [k for k in PICTURES if k != 5]
    links = [(key(a, 0), key(b, 0), 0.9) for a, b in zip(whole, whole[1:], strict=False)]
    pieces = [(key(5, m), key(k, 0), 0.5) for m in (1, 2) for k in (3, 4, 6, 7)]
    found = tracks([*(key(k, 0) for k in whole), key(5, 1), key(5, 2)], [*links, *pieces])
    assert len(set(found.tolist())) == 1


def test_find_tracks_mask_found_twice_is_of_one_track():
    twice = [(key(k, 0), key(k, 1), 1.0) for k in PICTURES]
    found = tracks([key(k, m) for m in (0, 1) for k in PICTURES], [*row(0), *row(1), *twice])
    assert len(set(found.tolist())) == 1


def test_find_tracks_weak_link_across_missed_masks_bridges_them():
    keys = [key(k, 0) for k in (0, 1, 4, 5)]
    near = [(keys[0], keys[1], 0.8), (keys[2], keys[3], 0.8)]
    assert len(set(tracks(keys, near).tolist())) == 2
    assert len(set(tracks(keys, [*near, (keys[1], keys[2], 0.4)]).tolist())) == 1


def test_find_tracks_order_of_masks_and_links_changes_nothing():
    rng = np.random.default_rng(4)
    keys = np.array([key(k, m) for m in range(3) for k in PICTURES])
    links = [(a, b, rng.uniform(0.3, 0.9)) for m in range(3) for a, b, _ in row(m)]
    links += [(key(k, 0), key(k + 1, 1), rng.uniform(0.3, 0.9)) for k in PICTURES[:-1]]
    first = tracks(keys, links)
    order = rng.permutation(len(keys))
    again = tracks(keys[order], links[::-1])
    pairs = set(zip(first[order].tolist(), again.tolist(), strict=True))
    assert len(pairs) == len(set(first.tolist())) == len(set(again.tolist()))


def test_find_tracks_masks_without_links_are_tracks_of_their_own():
    assert len(set(tracks([key(0, 0), key(0, 1), key(3, 0)], []).tolist())) == 3
