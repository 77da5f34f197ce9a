"""Masks as evidence for loops: streets that look alike, houses that are cut otherwise."""

import numpy as np
import pytest
from landmark_drive_maker import Drive, facades, line, pose

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.mapping.loops.closer import LoopCloser
from seg2d3d_ros.mapping.loops.mask_witness import one_to_one
from seg2d3d_ros.mapping.state import MapState

BUILDING, VEGETATION = 11, 21
BUILDINGS = frozenset({BUILDING})


def houses_of(points, length_m, first_m=0.0):
    """Return the house (n,) of corners along x: houses of a length, on both sides of the road."""
    along = np.floor((points[:, 0] - first_m) / length_m).astype(int)
    return 2 * along + (points[:, 1] > 0)


def two_sessions(houses, classes=(BUILDING, BUILDING), masks=BUILDINGS):
    """Drive a street, then, nothing known between, one that looks the same; return the closer.

    Args:
        houses: How each of the two is cut into houses: length and start of the first, metres.
        classes: Classes of their masks.
        masks: Classes that count as houses; empty for a map that heeds no masks.
    """
    rng = np.random.default_rng(4)
    route = line(70.0)
    drive = Drive(*facades(route, rng))
    state = MapState()
    closer = LoopCloser(state, 0, masks)
    T_world_local = np.eye(4)
    for session, (cut, class_id) in enumerate(zip(houses, classes, strict=True)):
        drive.houses = houses_of(drive.points, *cut) if cut else None
        drive.class_id = class_id
        start = pose(200.0 * session, 0.0, 0.5 * session)
        for cluster in drive.clusters(route, session, start, is_last=session == 1):
            cluster = state.renamed(cluster)
            frames = state.add(cluster, T_world_local).frames
            motion = closer.push(cluster, frames)
            T_world_local = T_world_local if motion is None else motion @ T_world_local
    closer.finish()
    return state, closer


@pytest.mark.parametrize("cuts", [((12.0,), (12.0,)), ((12.0,), None), (None, None)])
def test_push_street_seen_again_is_joined_with_masks_or_without(cuts):
    state, closer = two_sessions(cuts)
    assert closer.counts["parts"] == 1
    assert closer.counts["loops_contradicted"] == 0
    num = len(line(70.0))
    gap = transforms.invert(state.frames[10].T_world_base) @ state.frames[num + 10].T_world_base
    # Pixels are off by 0.3, landmarks some ten metres away.
    assert np.linalg.norm(gap[:3, 3]) < 0.1


@pytest.mark.parametrize("cut", [(12.0, 6.0), (5.0, 0.0)])
def test_push_equal_facades_cut_into_other_houses_stay_apart(cut):
    # Corner by corner the streets look the same, so all else agrees to their being one.
    _, unheeded = two_sessions(((12.0,), cut), masks=frozenset())
    assert unheeded.counts["parts"] == 1
    _, closer = two_sessions(((12.0,), cut))
    assert closer.counts["parts"] == 2
    assert closer.counts["loops_contradicted"] > 10
    assert closer.counts["loops_kept"] == 0


def test_push_hedge_that_looks_like_a_facade_stays_apart():
    _, closer = two_sessions(((12.0,), (12.0,)), (BUILDING, VEGETATION))
    assert closer.counts["parts"] == 2
    assert closer.counts["loops_contradicted"] > 10


def test_one_to_one_split_and_merged_houses_lose_their_smaller_parts():
    old = np.repeat([1, 2, 3], 10)
    # The first is split 7 : 3, the other two are one mask in the later picture.
    new = np.r_[np.repeat([5, 6], [7, 3]), np.full(20, 8)]
    assert one_to_one(old, new) == pytest.approx((7 + 10) / 30)


def test_one_to_one_other_names_for_the_same_houses_is_one():
    old = np.repeat([1, 2, 3], 10)
    assert one_to_one(old, np.array([9, 4, 0])[old - 1]) == 1.0


@pytest.mark.parametrize("num, houses", [(11, 2), (40, 1)])
def test_one_to_one_too_few_or_a_single_house_says_nothing(num, houses):
    old = np.arange(num) % houses
    assert one_to_one(old, old) is None
