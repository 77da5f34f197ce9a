"""What is adjusted around a loop that was just closed, and what is not."""

from dataclasses import replace

import numpy as np
import pytest
from landmark_drive_maker import Drive, facades, ring
from test_closer import LAP_M, RADIUS_M, feed, miss_m

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.bundle import PositionPrior
from seg2d3d_ros.mapping.loops import closer as closers
from seg2d3d_ros.mapping.loops import neighbourhood
from seg2d3d_ros.mapping.loops.neighbourhood import settle

LAP = round(LAP_M / 1.2)
NO_IDS = np.zeros(0, dtype=np.int64)


@pytest.fixture(scope="module")
def bent():
    """A lap and a quarter, closed by the pose graph alone, and what that moved."""
    rng = np.random.default_rng(3)
    route = ring(1.25 * LAP_M, RADIUS_M)
    drive = Drive(*facades(ring(LAP_M, RADIUS_M), rng), drift_deg_per_m=0.006)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closers, "settle", lambda *_: None)
        state, closer = feed(drive.clusters(route))
    assert closer.counts["loop_regions_rejected"] >= 1
    return route, state, closer


@pytest.fixture
def closed(bent):
    """The bent map, to be changed: put back afterwards."""
    route, state, closer = bent
    kept = [f.T_world_base.copy() for f in state.frames], state._points.copy()
    yield route, state, closer
    for f, T in zip(state.frames, kept[0], strict=True):
        f.T_world_base = T
    state._points[:] = kept[1]


def seam_m(state, route):
    """Median error of a pose of the second pass, seen from the first pass beside it."""
    late = range(LAP + 4, len(route) - 1)
    return np.median([miss_m(state, route, k - LAP, k) for k in late])


def no_bend(state):
    return np.tile(np.eye(4), (len(state.frames), 1, 1))


def loops_of(closer):
    return closer._ledger.of(sorted(closer._ledger.kept))


def test_settle_brings_the_two_passes_together(closed):
    route, state, closer = closed
    before = seam_m(state, route)
    assert settle(state, loops_of(closer), no_bend(state), ()) is not None
    # pixels of 0.3 px and 320 px focal, some hundred corners 5 to 30 m away: millimetres
    assert before > 0.02
    assert seam_m(state, route) < min(0.5 * before, 0.02)


def test_settle_moves_the_ends_and_leaves_the_rest_where_it_was(closed, monkeypatch):
    route, state, closer = closed
    monkeypatch.setattr(neighbourhood, "_REACH", 5)
    places = np.stack([f.T_world_base for f in state.frames])
    loop = loops_of(closer)[0]
    motion = settle(state, [loop], no_bend(state), ())
    now = np.stack([f.T_world_base for f in state.frames])
    moved = np.flatnonzero(np.abs(now - places).max(axis=(1, 2)) > 1e-9)
    ends = {*range(loop.old - 5, loop.old + 6), *range(loop.new - 5, loop.new + 6)}
    assert len(moved) > 5
    assert set(moved.tolist()) <= ends
    # what is told is what was done
    np.testing.assert_allclose(motion @ places, now, atol=1e-9)


def test_settle_is_bounded_however_many_loops_there_are(closed, monkeypatch):
    _, state, closer = closed
    monkeypatch.setattr(neighbourhood, "_MOST_FREE", 30)
    asked = []
    real = neighbourhood.region_problem
    monkeypatch.setattr(neighbourhood, "region_problem", lambda *a: asked.append(a[2]) or real(*a))
    settle(state, loops_of(closer), no_bend(state), ())
    assert 5 < len(asked[0].free) <= 30
    assert not set(asked[0].free) & set(asked[0].held)
    assert 0 not in asked[0].free  # without GNSS the first keyframe is the anchor


def test_settle_frees_what_the_pose_graph_bent_most(closed, monkeypatch):
    _, state, closer = closed
    bend = no_bend(state)
    # all frames from the 110th on were shifted against those before
    bend[110:] = transforms.rigid(np.eye(3), [0.0, 0.4, 0.0])
    asked = []
    monkeypatch.setattr(neighbourhood, "region_problem", lambda *a: asked.append(a[2]))
    assert settle(state, [loops_of(closer)[-1]], bend, ()) is None
    assert 110 in asked[0].free
    assert {109, 111} <= set(asked[0].held)


def test_settle_outcome_that_gnss_contradicts_is_put_back(closed, monkeypatch):
    _, state, closer = closed
    before = [f.T_world_base.copy() for f in state.frames]
    points = state._points.copy()
    loop = loops_of(closer)[0]
    # GNSS agrees with the map as it is, to a millimetre
    tight = 1e-6 * np.eye(3)
    told = [
        PositionPrior(k, f.T_world_base[:3, 3].copy(), tight) for k, f in enumerate(state.frames)
    ]
    monkeypatch.setattr(neighbourhood, "adjust_region", lambda s, p: shift(s, p.seen.keyframes))
    assert settle(state, [loop], no_bend(state), told) is None
    np.testing.assert_array_equal(before, [f.T_world_base for f in state.frames])
    np.testing.assert_array_equal(points, state._points)


def shift(state, keyframes):
    """What a bad adjustment would do: move keyframes by a metre."""
    for k in keyframes:
        state.frames[k].T_world_base = state.frames[k].T_world_base @ transforms.rigid(
            np.eye(3), [1.0, 0.0, 0.0]
        )


def test_settle_without_observations_does_nothing(closed):
    _, state, closer = closed
    held = [f.held for f in state.frames]
    try:
        for f in state.frames:
            f.held = replace(
                f.content,
                ids=NO_IDS,
                camera=NO_IDS,
                uv_px=np.zeros((0, 2), np.float32),
            )
        assert settle(state, loops_of(closer)[:1], no_bend(state), ()) is None
    finally:
        for f, h in zip(state.frames, held, strict=True):
            f.held = h
