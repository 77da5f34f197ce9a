"""What is joined over a gap by uncertain landmarks alone is parted there."""

import numpy as np
import pytest
from scipy import sparse

from seg2d3d_ros.mapping.association.gaps import parted_by_gaps
from seg2d3d_ros.mapping.association.votes import cells_of, place_keys

VOXEL_M, GAP_VOXELS = 0.5, 16.0


def keys(points, sigma_m=0.1):
    ids = 1000 + np.arange(len(points))
    return place_keys(ids, np.asarray(points, dtype=float), np.full(len(points), sigma_m), VOXEL_M)


def facade(x_from, x_to, y=3.0):
    x = np.arange(x_from, x_to, VOXEL_M) + 0.1
    return np.stack([x, np.full(len(x), y), np.ones(len(x))], axis=1)


def parts(places, pairs=()):
    """Parts of places as sets of positions; `pairs` are votes (a, b, weight)."""
    size = len(places)
    a, b, weight = np.array(pairs, dtype=float).reshape(-1, 3).T
    ends = np.concatenate([a, b]).astype(int), np.concatenate([b, a]).astype(int)
    votes = sparse.coo_array((np.tile(weight, 2), ends), shape=(size, size)).tocsr()
    found = parted_by_gaps(np.arange(size), places, votes, GAP_VOXELS)
    assert sorted(np.concatenate(found).tolist()) == list(range(size))
    return [set(p.tolist()) for p in found]


def test_cells_are_those_that_keys_were_made_of():
    points = np.array([[-7.3, 0.2, 4.9], [120.0, -64.6, -0.1]])
    cells, is_sure = cells_of(np.concatenate([keys(points), keys(points[:1], sigma_m=2.0)]))
    np.testing.assert_array_equal(cells[:2], np.floor(points / VOXEL_M))
    assert is_sure.tolist() == [True, True, False]


@pytest.mark.parametrize("turned", [False, True])
def test_facades_far_apart_are_parted_and_what_is_uncertain_goes_where_most_votes_are(turned):
    near, far = facade(-30.0, -18.0), facade(4.0, 16.0)
    points = np.concatenate([near, far])[:, [1, 0, 2] if turned else [0, 1, 2]]
    places = np.concatenate([keys(points), keys([[-7.0, 3.0, 1.0]], sigma_m=5.0)])
    lone, n = len(places) - 1, len(near)
    first, second = set(range(n)), set(range(n, n + len(far)))
    assert parts(places, [(0, lone, 2), (n, lone, 27)]) == [first, second | {lone}]
    assert parts(places, [(0, lone, 27), (n, lone, 2)]) == [first | {lone}, second]


def test_facade_with_a_gap_that_votes_cross_stays_one():
    places = keys(np.concatenate([facade(0.0, 10.0), facade(17.0, 27.0)]))
    assert parts(places) == [set(range(len(places)))]


def test_few_places_beside_a_facade_are_no_building_of_their_own():
    places = keys(np.concatenate([facade(0.0, 10.0), facade(40.0, 42.0)]))
    assert parts(places, [(0, len(places) - 1, 3)]) == [set(range(len(places)))]


def test_uncertain_landmarks_alone_are_not_parted():
    places = keys(np.concatenate([facade(0.0, 10.0), facade(90.0, 99.0)]), sigma_m=5.0)
    assert parts(places, [(0, len(places) - 1, 1)]) == [set(range(len(places)))]
