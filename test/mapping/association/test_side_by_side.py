import numpy as np

from seg2d3d_ros.mapping.association.consensus import mask_key
from seg2d3d_ros.mapping.association.identities import Picture
from seg2d3d_ros.mapping.association.side_by_side import side_by_side
from seg2d3d_ros.mapping.incidence import Incidence
from seg2d3d_ros.mapping.masks.mask_links import MaskLinks, mask_keys

NONE = np.zeros(0, dtype=np.int64)
NUM = 12
PICTURES = [Picture(k + 3, 0, Incidence(NONE, NONE, NONE, NONE), True) for k in range(NUM)]


class Linker:
    """Links masks with those of the same number in the next two pictures."""

    def __init__(self, linked):
        """Take the masks that are linked: number -> pictures that it is there in."""
        self._linked = linked

    def among(self, pictures):
        frames = [f for f, _ in pictures]
        pairs = [
            (key(frames[a], m), key(frames[b], m))
            for m, there in self._linked.items()
            for a in there
            for b in (a + 1, a + 2)
            if b in there
        ]
        a, b = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        return MaskLinks(a, b, np.full(len(a), 0.8))


def key(frame, mask):
    return int(mask_keys(frame, 0, np.array([mask]))[0])


def votes(followed, linked):
    """Votes {(instance, instance): weight}; `followed` holds (picture, mask, instance)."""
    rows = np.array([mask_key(p, m) for p, m, _ in followed])
    owners = np.array([i for _, _, i in followed])
    instances = np.unique(owners)
    edges = side_by_side((rows, owners), instances, PICTURES, Linker(linked))
    ends = zip(instances[edges.first].tolist(), instances[edges.second].tolist(), strict=True)
    return dict(zip(ends, edges.weight.tolist(), strict=True))


def test_side_by_side_followed_at_different_times_in_two_masks_of_one_picture_are_apart():
    followed = [*((k, 0, 5) for k in range(4)), *((k, 1, 9) for k in range(7, NUM))]
    found = votes(followed, {0: range(NUM), 1: range(2, NUM)})
    assert found == {(5, 9): -2.5 * (NUM - 2)}


def test_side_by_side_followed_at_different_times_in_one_mask_says_nothing():
    followed = [*((k, 0, 5) for k in range(4)), *((k, 0, 9) for k in range(7, NUM))]
    assert votes(followed, {0: range(NUM), 1: range(NUM)}) == {}


def test_side_by_side_masks_that_were_never_seen_together_say_nothing():
    followed = [*((k, 0, 5) for k in range(4)), *((k, 1, 9) for k in range(7, NUM))]
    assert votes(followed, {0: range(5), 1: range(6, NUM)}) == {}


def test_side_by_side_mask_with_few_of_the_landmarks_of_an_instance_does_not_count():
    stray = [(8, 1, 5)]
    followed = [*((k, 0, 5) for k in range(6)), *stray, *((k, 0, 9) for k in range(6, NUM))]
    assert votes(followed, {0: range(NUM), 1: range(NUM)}) == {}


def test_side_by_side_without_links_only_masks_of_one_picture_are_apart():
    assert votes([(0, 0, 5), (1, 0, 9)], {}) == {}
    assert votes([(0, 0, 5), (0, 1, 9)], {}) == {(5, 9): -2.5}


def test_side_by_side_without_anything_followed_is_empty():
    found = side_by_side((NONE, NONE), NONE, [], Linker({}))
    assert (found.size, len(found.weight)) == (0, 0)
