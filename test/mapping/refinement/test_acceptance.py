from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from street_maker import SINGLE, STEREO, TURNED, make_street
from test_refinement import jittered, poses, state_of

from seg2d3d_ros.geometry import bundle, map_bundle, transforms
from seg2d3d_ros.mapping.refinement.acceptance import Factors, Judge, errors_px
from seg2d3d_ros.mapping.refinement.odometry_scale import odometry_factors
from seg2d3d_ros.mapping.refinement.refinement import SOLVER, refine, retriangulate
from seg2d3d_ros.mapping.refinement.sightings import observed


@pytest.fixture(scope="module")
def street():
    return make_street(3, STEREO, turn_rad=0.002)


def judge_of(state):
    seen = observed(state)
    return Judge(state, seen), np.ones(len(seen.ids), dtype=bool)


def fixes_at(street, sigma_m, seed=None):
    """GNSS at every fourth frame, exact without a seed."""
    rng = np.random.default_rng(seed)
    noise = 0.0 if seed is None else sigma_m
    return tuple(
        bundle.PositionPrior(
            k,
            street.T_world_base[k][:3, 3] + noise * rng.standard_normal(3),
            np.eye(3) * sigma_m**2,
        )
        for k in range(0, len(street.T_world_base), 4)
    )


def test_judge_worse_poses_are_refused_and_better_ones_accepted(street):
    state = state_of(street)
    known = Factors(odometry_factors(state, 1.0, 1.0), ())
    judge, used = judge_of(state)
    for f, T in zip(state.frames, jittered(street, 0.05, 0.3), strict=True):
        f.T_world_base = T
    refused = judge.compare(used, known, SOLVER)
    assert not refused.is_accepted
    assert "cost rose" in refused.reason
    worse, _ = judge_of(state)
    judge.put_back()
    np.testing.assert_array_equal(poses(state), street.T_world_base)
    accepted = worse.compare(used, known, SOLVER)
    assert accepted.is_accepted
    assert accepted.cost_after == pytest.approx(refused.cost_before)
    assert accepted.cost_before == pytest.approx(refused.cost_after)


def test_judge_map_that_fits_its_pictures_but_leaves_gnss_behind_is_refused(street):
    state = state_of(street, jittered(street, 0.02, 0.1))
    judge, used = judge_of(state)
    # exact up to a shift of 2 m, which no picture sees and GNSS of 0.3 m does
    shift = transforms.rigid(np.eye(3), [0.0, 2.0, 0.0])
    for f, T in zip(state.frames, street.T_world_base, strict=True):
        f.T_world_base = shift @ T
    ids = state.landmark_ids()
    state.set_points(ids, transforms.apply(shift, street.points[ids]))
    alone = judge.compare(used, Factors((), ()), SOLVER)
    assert alone.is_accepted
    verdict = judge.compare(used, Factors((), fixes_at(street, 0.3)), SOLVER)
    assert not verdict.is_accepted
    # 2 m in 0.3 m, over three axes
    assert "GNSS disagrees by 3.8 standard deviations, before 0.1" in verdict.reason


def test_judge_strain_that_was_there_before_and_hardly_grows_is_no_reason(street):
    def shifted(state, metres):
        shift = transforms.rigid(np.eye(3), [0.0, metres, 0.0])
        for f, T in zip(state.frames, street.T_world_base, strict=True):
            f.T_world_base = shift @ T
        ids = state.landmark_ids()
        state.set_points(ids, transforms.apply(shift, street.points[ids]))

    # GNSS of 0.3 m lies 2 m off the map: 3.8 standard deviations, and a twentieth more
    fixes = fixes_at(street, 0.3)
    for metres, is_accepted in ((2.1, True), (2.4, False)):
        state = state_of(street)
        shifted(state, 2.0)
        for f in state.frames:  # the poses before fit the pictures less
            f.T_world_base = f.T_world_base @ transforms.exp([0.004, 0, 0, 0, 0, 0])
        judge, used = judge_of(state)
        shifted(state, metres)
        verdict = judge.compare(used, Factors((), fixes), SOLVER)
        assert verdict.is_accepted == is_accepted, verdict.reason


def test_errors_px_of_landmarks_behind_the_camera_are_infinite(street):
    state = state_of(street)
    seen = observed(state)
    assert np.isfinite(errors_px(state, seen)).all()
    back = transforms.exp([0, 0, np.pi, 0, 0, 0])
    for f in state.frames:
        f.T_world_base = f.T_world_base @ back
    assert np.isinf(errors_px(state, seen)).all()


def test_judge_cost_is_that_of_the_solver(street):
    state = state_of(street, jittered(street, 0.03, 0.2), noise_px=0.3)
    known = Factors(odometry_factors(state, 1.0, 1.0), fixes_at(street, 0.3, seed=1))
    judge, used = judge_of(state)
    seen = observed(state)
    unique, point = np.unique(seen.ids, return_inverse=True)
    places = {k: i for i, k in enumerate(seen.keyframes)}
    problem = bundle.BundleProblem(
        cameras=street.rig.cameras,
        T_world_base=np.stack([state.frames[k].T_world_base for k in seen.keyframes]),
        is_constant=np.zeros(len(seen.keyframes), dtype=bool),
        points_world=state.points(unique),
        frame=seen.frame,
        camera=seen.camera,
        point=point,
        uv_ideal_px=seen.uv_ideal_px,
        relative=tuple(replace(r, i=places[r.i], j=places[r.j]) for r in known.relative),
        positions=tuple(replace(p, frame=places[p.frame]) for p in known.positions),
    )
    told = bundle.adjust(problem, replace(SOLVER, max_iterations=1)).initial_cost
    # landmarks seen once cost nothing in the solver; odometry's rotation is told to first order
    assert judge.compare(used, known, SOLVER).cost_before == pytest.approx(told, rel=0.02)


def test_refine_outcome_that_costs_more_is_put_back_and_reported(street, monkeypatch, caplog):
    state = state_of(street, jittered(street, 0.03, 0.2), noise_px=0.3)
    before, points = poses(state), state.points(state.landmark_ids())

    def bent(problem, options):
        T = problem.T_world_base.copy()
        T[:, 1, 3] += 0.002 * np.arange(len(T)) ** 2
        return bundle.BundleResult(T, problem.points_world, 2.0, 1.0)

    monkeypatch.setattr(map_bundle, "adjust", bent)
    found = refine(state, ())
    assert found.counts["refine_rejected"] == 1.0
    assert found.counts["refine_cost_after"] > found.counts["refine_cost_before"]
    assert len(found.adjusted) == 0
    assert "put back" in caplog.text
    np.testing.assert_array_equal(poses(state), before)
    np.testing.assert_array_equal(state.points(state.landmark_ids()), points)


def drifted(street, seed):
    """Poses as odometry that is 2 % long and turns a little too far would tell them."""
    rng = np.random.default_rng(seed)
    turn = rng.choice([-1.0, 1.0]) * np.deg2rad(0.05)
    out = [street.T_world_base[0]]
    for a, b in pairwise(street.T_world_base):
        step = transforms.invert(a) @ b
        step[:3, 3] *= 1.02
        noise = np.r_[0, 0, turn + np.deg2rad(0.05) * rng.standard_normal(), [0, 0, 0]]
        out.append(out[-1] @ step @ transforms.exp(noise))
    return np.stack(out)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("cameras", [TURNED, SINGLE], ids=["two cameras", "one camera"])
def test_refine_with_good_odometry_and_gnss_is_always_better_than_odometry(cameras, seed):
    street = make_street(3, cameras, num_points=30, seed=seed, turn_rad=0.003 * (seed - 2))
    raw = drifted(street, seed)
    state = state_of(street, raw, odometry_scale=1.02, noise_px=0.5)
    retriangulate(state, np.zeros(0, dtype=np.int64))
    found = refine(state, fixes_at(street, 0.1, seed))
    before = np.linalg.norm((raw - street.T_world_base)[:, :3, 3], axis=1)
    after = np.linalg.norm((poses(state) - street.T_world_base)[:, :3, 3], axis=1)
    assert found.counts["refine_rejected"] == 0.0
    # fifteen fixes of 10 cm settle position and heading of the whole to some 5 cm at its ends
    assert np.sqrt(np.mean(after**2)) < 0.4 * np.sqrt(np.mean(before**2))
    assert np.sqrt(np.mean(after**2)) < 0.15
