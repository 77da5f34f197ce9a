import numpy as np
import pytest
from street_maker import SINGLE, STEREO, make_street
from test_refinement import state_of

from seg2d3d_ros.mapping.sightings import Observed, observed
from seg2d3d_ros.mapping.thinning import near_matches, num_across, thinned

QUARTER_OF_150 = 38


@pytest.fixture(scope="module")
def crowded():
    """A street whose pictures hold more landmarks than are kept; the left camera tracks them."""
    street = make_street(3, STEREO, num_points=400)
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


def test_near_matches_keep_the_nearest_quarter_of_each_picture_and_every_track(crowded):
    state, seen = crowded
    kept = near_matches(state, seen, 150)
    distance = distances(state, seen)
    for (_, camera), rows in pictures(seen).items():
        left = np.isin(key(seen)[rows], key(kept)[kept.camera == camera])
        if camera == 0:
            assert left.all()
        else:
            assert left.sum() == min(QUARTER_OF_150, rows.sum())
            assert not rows.sum() > left.sum() or (
                distance[rows][left].max() <= distance[rows][~left].min()
            )


def test_thinned_has_at_least_so_many_landmarks_in_every_picture_that_saw_them(crowded):
    state, seen = crowded
    kept = thinned(state, seen)
    near = pictures(near_matches(state, seen, 150))
    for picture, rows in pictures(kept).items():
        assert rows.sum() >= min(150, near[picture].sum())
    assert len(kept.ids) < 0.8 * len(seen.ids)


def test_thinned_prefers_what_was_matched_across(crowded):
    state, seen = crowded
    near, kept = near_matches(state, seen, 150), thinned(state, seen)
    assert len(kept.ids) < 0.6 * len(near.ids)
    assert num_across(kept) > 0.9 * num_across(near)


def test_thinned_landmark_of_one_camera_keeps_all_its_observations():
    state = state_of(make_street(3, SINGLE, num_points=400))
    seen = observed(state)
    kept = thinned(state, seen)
    assert 150 * 50 < len(kept.ids) < len(seen.ids)
    ids, count = np.unique(kept.ids, return_counts=True)
    all_ids, all_count = np.unique(seen.ids, return_counts=True)
    np.testing.assert_array_equal(count, all_count[np.isin(all_ids, ids)])


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
