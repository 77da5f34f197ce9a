import dataclasses

import numpy as np
import pytest

from seg2d3d_ros.simulation import SimulationOptions
from seg2d3d_ros.simulation.masks import mask_owners, publish_masks

CLASS_OF = np.array([23, *[11] * 8, 26, 7])
BUILDING_OF = np.array([0, *range(1, 9), 0, 0])
CAR, ROAD = 9, 10
PERFECT = SimulationOptions(mask_noise=0.0)


def street_picture():
    """Eight adjoining houses of 40 columns, sky above, road below, a car before the third."""
    picture = np.zeros((120, 320), np.int64)
    picture[20:100] = 1 + np.arange(320) // 40
    picture[100:] = ROAD
    picture[70:105, 90:115] = CAR
    return picture


def publish(seed, options):
    return publish_masks(np.random.default_rng(seed), street_picture(), CLASS_OF, options)


def only(**noise):
    """Return options with no other noise than the one given."""
    silent = dict.fromkeys(("missed", "split", "merged", "ragged_px", "holes"), 0.0)
    return SimulationOptions(**{**silent, **noise})


def building_masks(labels):
    return [int(x) for x in np.unique(labels) if x // 1000 == 11]


def owners_by_mask(labels):
    found = {}
    for owner in mask_owners(labels, BUILDING_OF[street_picture()]):
        found.setdefault(owner.label, {})[owner.building] = owner.share
    return found


def test_publish_without_noise_gives_every_object_its_exact_region():
    picture, labels = street_picture(), publish(0, PERFECT)
    for objects in (*range(1, 9), CAR):
        values = np.unique(labels[picture == objects])
        assert len(values) == 1
        assert values[0] // 1000 == CLASS_OF[objects]
        assert np.array_equal(labels == values[0], picture == objects)
    assert np.all(labels[picture == ROAD] == 7)
    assert np.all(labels[picture == 0] == 23)
    assert building_masks(labels) == list(range(11001, 11009))


def test_publish_numbers_carry_no_identity():
    numbers = [publish(seed, PERFECT)[60, 20] for seed in range(60)]
    assert len(set(numbers)) == 8


def test_publish_same_seed_gives_the_same_masks():
    options = SimulationOptions(mask_noise=2.0)
    assert np.array_equal(publish(3, options), publish(3, options))
    assert not np.array_equal(publish(3, options), publish(4, options))


@pytest.mark.parametrize("amount", [1.0, 2.0])
def test_publish_misses_the_share_asked_for_times_the_multiplier(amount):
    options = only(missed=0.1, mask_noise=amount)
    num = [len(building_masks(publish(seed, options))) for seed in range(150)]
    # 1200 trials: the rate is known to 0.01
    assert 1 - np.mean(num) / 8 == pytest.approx(0.1 * amount, abs=0.035)


def test_publish_splits_the_share_asked_for_into_pieces_of_one_owner():
    options = only(split=0.2)
    extra, pieces = 0, 0
    for seed in range(100):
        owners = owners_by_mask(publish(seed, options))
        assert all(len(o) == 1 for o in owners.values())
        per_building = np.bincount([next(iter(o)) for o in owners.values()], minlength=9)[1:]
        assert per_building.max() <= 3
        extra += int((per_building > 1).sum())
        pieces += len(owners)
    assert extra / 800 == pytest.approx(0.2, abs=0.045)
    assert pieces > 800 + extra - 1


def test_publish_merges_only_neighbours_and_their_owners_are_both():
    options = only(merged=0.2)
    num_merged = 0
    for seed in range(100):
        for shares in owners_by_mask(publish(seed, options)).values():
            if len(shares) > 1:
                a, b = sorted(shares)
                assert b == a + 1
                assert sum(shares.values()) == pytest.approx(1.0)
                num_merged += 1
    # each of at most eight masks that still has a free neighbour takes it with p = 0.2
    assert 0.08 < num_merged / 800 < 0.2


def test_publish_ragged_edges_move_by_the_pixels_asked_for():
    picture = street_picture()
    wrong = []
    for seed in range(20):
        labels = publish(seed, only(ragged_px=2.0))
        assert len(building_masks(labels)) == 8
        column = labels[40, :]
        edges = np.flatnonzero(np.diff(column.astype(int)))
        wrong += [np.abs(edges - e).min() for e in np.flatnonzero(np.diff(picture[40]))]
    assert 0.8 < np.mean(wrong) < 3.0
    assert max(wrong) > 2


def test_publish_holes_lie_inside_and_are_small():
    labels = publish(1, only(holes=3.0))
    picture = street_picture()
    is_hole = (labels == 0) & (picture >= 1) & (picture <= 8)
    assert 0.005 < is_hole.sum() / (picture > 0).sum() < 0.2


def test_publish_masks_below_the_minimum_are_missing():
    small = (street_picture() == 3).sum()
    assert len(building_masks(publish(0, only(min_mask_px=int(small))))) == 8
    assert len(building_masks(publish(0, only(min_mask_px=int(small) + 1)))) == 7


def test_mask_owners_counts_true_pixels_and_leaves_out_slivers():
    labels, building = np.zeros((10, 10), np.uint16), np.zeros((10, 10), np.int64)
    labels[:5] = 11003
    building[:5, :6], building[:5, 6:9], building[0, 9] = 4, 7, 2
    labels[7:] = 26001
    building[8:] = 5
    owners = {(o.label, o.building): o.share for o in mask_owners(labels, building)}
    # building 2 has 2 % and the ground 8 %: both below a tenth; cars are no building masks
    assert owners == {(11003, 4): pytest.approx(0.6), (11003, 7): pytest.approx(0.3)}


def test_mask_owners_mask_over_nothing_belongs_to_building_zero():
    labels = np.full((4, 4), 11001, np.uint16)
    (owner,) = mask_owners(labels, np.zeros((4, 4), np.int64))
    assert dataclasses.astuple(owner) == (11001, 0, 1.0)


def test_mask_owners_without_masks_is_empty():
    assert mask_owners(np.full((4, 4), 23, np.uint16), np.ones((4, 4), np.int64)) == []
