from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from seg2d3d_ros.mapping.association.nearness import Nearness
from seg2d3d_ros.mapping.partition import Edges

NEVER = sparse.csr_array((3, 3), dtype=np.int64)


def wall(x, y, sigma_m):
    """Landmarks of a wall of 6 m that begins at (x, y), and their uncertainty."""
    along = np.linspace(0.0, 6.0, 13)
    points = np.stack([x + along, np.full(13, y), np.full(13, 2.0)], axis=1)
    return points, np.full(13, sigma_m)


def near(*walls, unit=1.0):
    """Nearness of instances 4, 7, ... with these walls; the last landmark is nobody's."""
    points = np.concatenate([*(p for p, _ in walls), np.zeros((1, 3))])
    sigma = np.concatenate([*(s for _, s in walls), [0.1]])
    state = SimpleNamespace(unit=unit, points=points.__getitem__, sigma=sigma.__getitem__)
    instances = 4 + 3 * np.arange(len(walls))
    owner = np.append(np.repeat(instances, 13), 0)
    return Nearness(state, instances, np.arange(len(points)), owner)


def joined(nearness, together=NEVER):
    found = nearness.at_one_place(together)
    assert (found.weight > 0.0).all()
    return list(zip(found.first.tolist(), found.second.tolist(), strict=True))


def test_at_one_place_walls_that_lie_upon_each_other_are_one():
    here, again, beside = wall(0, 10, 0.1), wall(0.4, 10.4, 0.1), wall(7, 10, 0.1)
    assert joined(near(here, again, beside)) == [(0, 1)]


def test_at_one_place_of_nothing_is_nothing():
    state = SimpleNamespace(unit=1.0, points=np.zeros((0, 3)).__getitem__)
    none = np.zeros(0, dtype=np.int64)
    found = Nearness(state, none, none, none).at_one_place(sparse.csr_array((0, 0)))
    assert (found.size, len(found.weight)) == (0, 0)


def test_at_one_place_uncertain_walls_may_lie_further_apart():
    assert joined(near(wall(0, 10, 0.1), wall(0, 13, 0.1), wall(60, 0, 0.1))) == []
    assert joined(near(wall(0, 10, 6.0), wall(0, 13, 6.0), wall(60, 0, 6.0))) == [(0, 1)]
    assert joined(near(wall(0, 10, 6.0), wall(0, 16, 6.0), wall(60, 0, 6.0))) == []


def test_at_one_place_what_was_seen_together_are_two():
    walls = wall(0, 10, 0.1), wall(0.4, 10.4, 0.1), wall(7, 10, 0.1)
    once = sparse.csr_array(np.array([[9, 1, 0], [1, 9, 0], [0, 0, 9]]))
    assert joined(near(*walls), once) == []


def test_at_one_place_goes_with_the_unit_of_the_map():
    walls = [(p * 0.1, s * 0.1) for p, s in (wall(0, 10, 0.1), wall(0, 12, 0.1), wall(60, 0, 0.1))]
    assert joined(near(*walls, unit=0.1)) == []
    assert joined(near(*walls, unit=1.0)) == [(0, 1)]


@pytest.mark.parametrize(("gap", "weight"), [(2.0, 5.0), (20.0, -5.0)])
def test_without_gaps_turns_votes_across_a_gap(gap, weight):
    nearness = near(wall(0, 10, 0.1), wall(6 + gap, 10, 0.1))
    votes = Edges(2, np.array([0]), np.array([1]), np.array([5.0]))
    assert nearness.without_gaps(votes, 6.0).weight.tolist() == [weight]
