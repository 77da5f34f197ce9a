import numpy as np
import pytest
from street_maker import make_drive, make_street

from seg2d3d_ros.config import Config
from seg2d3d_ros.mapping.association.association import Associator
from seg2d3d_ros.mapping.association.consensus import encounters
from seg2d3d_ros.mapping.association.shared_masks import SharedMasks
from seg2d3d_ros.mapping.state import MapState

BUILDINGS = frozenset({0, *Config().segmentation.building_classes})
VAGUE_M = 40.0


@pytest.fixture(scope="module")
def mapped():
    """A street with perfect masks, and the instance of each landmark."""
    state, associator = MapState(), Associator(Config())
    for cluster in make_drive(make_street(3)).clusters:
        associator.add(state, state.add(cluster, np.eye(4)).new_frames)
    owner = np.zeros(state.num_ids, dtype=np.int64)
    owner[state.landmark_ids()] = associator.instances_of(state, state.landmark_ids())
    return state, associator.pictures, owner


def split(state, owner):
    """Give every other landmark of the first instance to another one that is hardly known."""
    ids = state.landmark_ids()
    first = int(np.bincount(owner[owner > 0]).argmax())
    new = int(owner.max()) + 1
    some = ids[owner[ids] == first][::2]
    owner = owner.copy()
    owner[some] = new
    state.set_points(some, state.points(some), np.full(len(some), VAGUE_M))
    return owner, first, new


def test_uncertain_landmarks_meet_what_is_projected_into_the_masks_they_were_followed_in(mapped):
    state, pictures, owner = mapped
    owner, first, new = split(state, owner)
    shared = SharedMasks(state, pictures, owner.__getitem__, BUILDINGS)
    assert new not in shared.projected()[1]
    held, others = shared.uncertain()
    assert new in held[1]
    assert new not in others[1]
    instances = np.unique(owner[owner > 0])
    votes = encounters(held, others, instances)
    ends = zip(instances[votes.first].tolist(), instances[votes.second].tolist(), strict=True)
    found = dict(zip(ends, votes.weight.tolist(), strict=True))
    of_new = {a: weight for (a, b), weight in found.items() if b == new}
    assert of_new.pop(first) > 5.0
    assert of_new
    assert max(of_new.values()) < 0.0


def test_uncertain_of_a_map_without_uncertain_landmarks_is_nothing(mapped):
    state, pictures, owner = mapped
    ids = state.landmark_ids()
    state.set_points(ids, state.points(ids), np.full(len(ids), 0.01))
    held, others = SharedMasks(state, pictures, owner.__getitem__, BUILDINGS).uncertain()
    assert [len(v) for v in (*held, *others)] == [0, 0, 0, 0]
