from dataclasses import replace

import numpy as np
import pytest
from street_maker import SINGLE, STEREO, make_cluster, make_street, observe
from test_refinement import (
    jittered,
    path_m,
    poses,
    position_errors,
    scaled,
    state_of,
    step_errors,
)

from seg2d3d_ros.geometry import bundle, transforms
from seg2d3d_ros.mapping import state as states
from seg2d3d_ros.mapping.refinement import regions, sightings
from seg2d3d_ros.mapping.refinement.refinement import refine, retriangulate
from seg2d3d_ros.mapping.refinement.regions import refine_map
from seg2d3d_ros.mapping.refinement.sightings import observed, track_batches
from seg2d3d_ros.mapping.state import MapState

NO_IDS = np.zeros(0, dtype=np.int64)


@pytest.fixture
def short(monkeypatch):
    """Let 60 keyframes be a long drive: regions of 16, four of them."""
    for module in (regions, sightings):
        monkeypatch.setattr(module, "MOST_AT_ONCE", 20)
    monkeypatch.setattr(regions, "_REGION", 16)
    monkeypatch.setattr(regions, "_OVERLAP", 6)
    monkeypatch.setattr(regions, "_MARGIN", 6)
    monkeypatch.setattr(sightings, "_BATCH", 16)
    monkeypatch.setattr(sightings, "_SPAN", 10)
    monkeypatch.setattr(states, "BLOCK_FRAMES", 8)


@pytest.fixture(scope="module")
def street():
    return make_street(6, STEREO, num_points=40, turn_rad=0.002)


def test_refine_map_short_drive_is_adjusted_in_one_piece(street):
    a, b = (state_of(street, jittered(street, 0.03, 0.2), noise_px=0.3) for _ in range(2))
    found = refine_map(a, ())
    refine(b, ())
    np.testing.assert_array_equal(poses(a), poses(b))
    assert "refine_regions" not in found.counts


def test_refine_map_long_drive_is_as_good_as_in_one_piece_and_repeatable(street, short):
    T = jittered(street, 0.05, 0.3)
    parts, again, whole = (state_of(street, T, noise_px=0.3) for _ in range(3))
    found = refine_map(parts, ())
    at_once = refine(whole, ())
    assert found.counts["refine_regions"] == 4
    errors = [np.sqrt(np.mean(position_errors(s, street) ** 2)) for s in (parts, whole)]
    # twenty disparities of 7 px and 0.4 px of noise in each of sixty keyframes tell the scale to
    # 0.17 %: 10 cm at the end of 60 m, 5 cm on average, for either
    assert max(errors) < 0.1
    steps = [np.median(step_errors(s, street)) for s in (parts, whole)]
    assert steps[0] < 1.2 * steps[1]
    assert len(found.adjusted) > 0.95 * len(at_once.adjusted)
    assert refine_map(again, ()).counts == found.counts
    np.testing.assert_array_equal(poses(again), poses(parts))


def test_refine_map_exact_observations_give_exact_poses_across_the_seams(street, short):
    state = state_of(street, jittered(street, 0.03, 0.2))
    refine_map(state, ())
    assert position_errors(state, street).max() < 0.01
    step = np.linalg.norm(np.diff(poses(state)[::2, :3, 3], axis=0), axis=1)
    assert np.abs(step - 1.0).max() < 0.005


@pytest.mark.parametrize("bias", [0.97, 1.03])
def test_refine_map_cameras_that_overlap_correct_the_scale_of_a_long_drive(street, short, bias):
    state = state_of(street, *scaled(street, bias), odometry_scale=bias, noise_px=0.2)
    refine_map(state, ())
    assert path_m(poses(state)) == pytest.approx(path_m(street.T_world_base), rel=0.005)


def test_refine_map_gnss_places_a_long_drive_of_one_camera(short):
    street = make_street(6, SINGLE, num_points=40)
    off = transforms.exp([0, 0, 0.03, 1.0, -1.0, 0.5])
    state = state_of(
        street, off @ street.T_world_base, transforms.apply(off, street.points), noise_px=0.2
    )
    fixes = tuple(
        bundle.PositionPrior(k, street.T_world_base[k][:3, 3], np.eye(3) * 0.2**2)
        for k in range(0, len(state.frames), 4)
    )
    refine_map(state, fixes)
    errors = np.linalg.norm((poses(state) - street.T_world_base)[:, :3, 3], axis=1)
    assert errors.max() < 0.1


def test_regions_cover_every_keyframe_but_the_anchor_and_hold_what_is_around(street, short):
    state = state_of(street)
    skimmed = regions._skim(state, state.keyframes)
    found = list(regions._regions(60, skimmed, True))
    assert sorted({k for r in found for k in r.free}) == list(range(1, 60))
    assert found[0].free == tuple(range(1, 22))
    assert found[0].held[:7] == (0, *range(22, 28))
    assert found[1].free == tuple(range(16, 38))
    assert found[1].held[:12] == (*range(10, 16), *range(38, 44))
    # the end of a straight street is seen from its beginning
    assert set(found[1].held[12:]) <= {*range(10), *range(44, 60)}
    assert next(regions._regions(60, skimmed, is_anchored=False)).free == tuple(range(0, 22))


def came_back(street):
    """The same street once more from the start, with the landmarks of the first time."""
    state = state_of(street)
    again = make_cluster(street, observe(street), range(len(street.T_world_base)))
    frames = tuple(replace(f, stamp_ns=f.stamp_ns + 10**12) for f in again.frames)
    state.add(replace(again, frames=frames, sequence=1), np.eye(4))
    return state


def test_regions_hold_keyframes_that_came_back(street, short):
    state = came_back(street)
    keyframes = state.keyframes
    assert len(keyframes) == 120
    first, *_ = regions._regions(120, regions._skim(state, keyframes), True)
    back = [k for k in first.held if k >= 60]
    # the same stretch, sixty keyframes later
    assert set(range(66, 78)) <= set(back)


@pytest.mark.parametrize("kind", ["once", "came_back"])
def test_track_batches_hold_every_observation_once_and_each_landmark_in_one_batch(
    street, short, kind
):
    state = state_of(street) if kind == "once" else came_back(street)
    batches = list(track_batches(state))
    assert len(batches) == (4 if kind == "once" else 8)
    ids = np.concatenate([np.unique(b.ids) for b in batches])
    assert len(ids) == len(np.unique(ids))
    rows = [
        (np.array(b.keyframes)[b.frame], b.camera, b.ids, *b.uv_ideal_px.T)
        for b in (*batches, observed(state))
    ]
    *parts, everything = (np.stack(r, axis=1) for r in rows)
    together = np.concatenate(parts)
    np.testing.assert_array_equal(
        together[np.lexsort(together.T)], everything[np.lexsort(everything.T)]
    )


def test_retriangulate_a_long_drive_gives_the_points_of_a_short_one(street, request):
    whole = state_of(street, noise_px=0.2)
    num = retriangulate(whole, NO_IDS)
    request.getfixturevalue("short")
    parts = state_of(street, noise_px=0.2)
    assert retriangulate(parts, NO_IDS) == num
    ids = whole.landmark_ids()
    np.testing.assert_array_equal(parts.landmark_ids(), ids)
    np.testing.assert_allclose(parts.points(ids), whole.points(ids), atol=1e-9)


def test_refine_map_empty_map_has_nothing_to_adjust():
    found = refine_map(MapState(), ())
    assert len(found.adjusted) == 0
    assert found.counts == {}
