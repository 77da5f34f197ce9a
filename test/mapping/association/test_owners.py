import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg2d3d_ros.mapping.association.owners import PlaceOwners

STEPS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4)), max_size=40)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_owners_know_both_ways_what_a_dict_knows_one_way(steps):
    owners, plain = PlaceOwners(), {}
    for place, instance in steps:
        if instance:
            owners[place] = plain[place] = instance
        else:
            assert owners.pop(place, None) == plain.pop(place, None)
    assert dict(owners) == plain
    assert len(owners) == len(plain)
    for instance in range(1, 5):
        assert owners.places(instance) == sorted(p for p, i in plain.items() if i == instance)
        assert owners.is_alive(instance) == (instance in plain.values())


@settings(max_examples=100, deadline=None)
@given(STEPS, STEPS)
def test_owners_note_every_place_that_changed_hands(before, after):
    owners = PlaceOwners({place: instance for place, instance in before if instance})
    former = dict(owners)
    owners.changed.clear()
    for place, instance in after:
        if instance:
            owners[place] = instance
        else:
            owners.pop(place, None)
    changed = {p for p in range(9) if former.get(p) != owners.get(p)}
    assert changed <= owners.changed
    assert owners.changed <= {place for place, _ in after}


def test_owners_same_owner_again_is_no_change():
    owners = PlaceOwners({1: 7})
    owners.changed.clear()
    owners[1] = 7
    assert owners.changed == set()


def test_owners_unknown_place_is_a_key_error():
    with pytest.raises(KeyError):
        PlaceOwners()[3]
    with pytest.raises(KeyError):
        del PlaceOwners()[3]
