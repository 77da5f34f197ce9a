from dataclasses import replace

import numpy as np
import pytest
from street_maker import SINGLE, STEREO, make_street
from test_refinement import state_of

from seg2d3d_ros.mapping.refinement.sightings import Observed, observed
from seg2d3d_ros.mapping.refinement.thinning import fire_in_turn, near_matches, num_across, thinned

NEAREST = 20


@pytest.fixture(scope="module")
def crowded():
    """A street whose pictures hold more landmarks than are kept; the left camera tracks them."""
    street = make_street(3, STEREO, num_points=800)
    state = state_of(street)
    seen = observed(state)
    tracked = np.isin(key(seen), key(seen)[seen.camera == 0])
    names = ("frame", "camera", "ids", "uv_ideal_px")
    return state, Observed(seen.keyframes, *(getattr(seen, n)[tracked] for n in names))


def key(seen):
    return seen.frame * 100_000 + seen.ids


def pictures(seen):
    return {(f, c): (seen.frame == f) & (seen.camera == c) for f in range(60) for c in (0, 1)}


def distances(state, seen):
    places = np.stack([state.frames[k].T_world_base[:3, 3] for k in seen.keyframes])
    return np.linalg.norm(state.points(seen.ids) - places[seen.frame], axis=1)


def test_near_matches_keep_the_nearest_of_each_picture_and_every_track(crowded):
    state, seen = crowded
    kept = near_matches(state, seen, 300)
    distance = distances(state, seen)
    for (_, camera), rows in pictures(seen).items():
        left = np.isin(key(seen)[rows], key(kept)[kept.camera == camera])
        if camera == 0:
            assert left.all()
        else:
            assert left.sum() == min(NEAREST, rows.sum())
            assert not rows.sum() > left.sum() or (
                distance[rows][left].max() <= distance[rows][~left].min()
            )


def test_thinned_prefers_what_was_matched_across(crowded):
    state, seen = crowded
    near, kept = near_matches(state, seen, 300), thinned(state, seen)
    matched = [
        np.unique(s.ids[np.isin(key(s), key(s)[s.camera == 1]) & (s.camera == 0)])
        for s in (near, kept)
    ]
    assert len(matched[1]) > 0.9 * len(matched[0])
    assert len(np.unique(kept.ids)) < 0.8 * len(np.unique(near.ids))


def test_thinned_landmarks_keep_their_first_and_last_and_few_other_views():
    state = state_of(make_street(3, SINGLE, num_points=800))
    seen = observed(state)
    kept = thinned(state, seen)
    assert num_across(kept) == 0
    ids, count = np.unique(kept.ids, return_counts=True)
    assert len(ids) >= 300
    assert count.max() <= 11  # nine, the first and the last
    for i in ids[::20]:
        before, after = seen.frame[seen.ids == i], kept.frame[kept.ids == i]
        assert (after.min(), after.max()) == (before.min(), before.max())
        assert len(after) >= min(len(before), 4)
    # different landmarks drop different views: every picture keeps its share
    share = np.bincount(kept.frame, minlength=60) / np.bincount(seen.frame, minlength=60)
    assert share[np.isfinite(share)].min() > 0.05


def test_thinned_order_of_rows_does_not_choose_the_landmarks(crowded):
    state, seen = crowded
    order = np.random.default_rng(0).permutation(len(seen.ids))
    mixed = Observed(
        seen.keyframes,
        *(a[order] for a in (seen.frame, seen.camera, seen.ids, seen.uv_ideal_px)),
    )
    np.testing.assert_array_equal(
        np.unique(thinned(state, mixed).ids), np.unique(thinned(state, seen).ids)
    )


def test_thinned_nothing_seen_leaves_nothing(crowded):
    state, seen = crowded
    none = np.zeros(0, dtype=np.int64)
    empty = Observed(seen.keyframes, none, none, none, np.zeros((0, 2)))
    assert len(thinned(state, empty).ids) == 0
    assert num_across(empty) == 0


def test_num_across_counts_both_sides_of_a_match():
    seen = Observed(
        [0, 1],
        np.array([0, 0, 1, 1, 1]),
        np.array([0, 1, 0, 1, 1]),
        np.array([7, 7, 7, 8, 9]),
        np.zeros((5, 2)),
    )
    assert num_across(seen) == 2


def test_num_across_cameras_that_fire_in_turn_match_at_other_moments():
    # landmark 7 is tracked by camera 0 and found twice by camera 1, landmark 8 seen by one alone
    frame, camera = np.array([0, 2, 4, 1, 3, 3]), np.array([0, 0, 0, 1, 1, 1])
    ids = np.array([7, 7, 7, 7, 7, 8])
    seen = Observed([0, 1, 2, 3, 4], frame, camera, ids, np.zeros((6, 2)))
    assert fire_in_turn(seen)
    assert num_across(seen) == 4
    # one moment that both share, and nothing is matched but at such
    frame[0] = 1
    assert not fire_in_turn(seen)
    assert num_across(seen) == 2


def test_fire_in_turn_drives_with_one_camera_each_do_not():
    frame = np.arange(8)
    drives = Observed(list(range(8)), frame, frame // 4, np.full(8, 7), np.zeros((8, 2)))
    assert not fire_in_turn(drives)
    assert num_across(drives) == 0
    assert fire_in_turn(replace(drives, camera=frame % 2))


def test_near_matches_of_cameras_that_fire_in_turn_are_the_nearest_of_each_picture(crowded):
    state, seen = crowded
    rows = seen.frame % 2 == seen.camera
    names = ("frame", "camera", "ids", "uv_ideal_px")
    turns = Observed(seen.keyframes, *(getattr(seen, n)[rows] for n in names))
    kept = near_matches(state, turns, 300)
    both = np.intersect1d(turns.ids[turns.camera == 0], turns.ids[turns.camera == 1])
    for (f, c), here in pictures(turns).items():
        there = (kept.frame == f) & (kept.camera == c)
        if not here.any():
            continue
        is_match = np.isin(turns.ids, both) & here & ~np.isin(turns.ids, home(turns, c))
        assert there.sum() == here.sum() - max(is_match.sum() - NEAREST, 0)
        left = is_match & ~np.isin(key(turns), key(kept)[kept.camera == c])
        if left.any():
            taken = np.isin(kept.ids, turns.ids[is_match]) & there
            assert distances(state, kept)[taken].max() <= distances(state, turns)[left].min()


def home(seen, camera):
    """Landmarks that this camera saw most often, the first one where two saw them as often."""
    ids = np.unique(seen.ids)
    num = np.stack([np.isin(seen.ids, ids) & (seen.camera == c) for c in (0, 1)])
    count = np.stack([np.bincount(seen.ids[n], minlength=ids.max() + 1)[ids] for n in num])
    return ids[count.argmax(axis=0) == camera]
