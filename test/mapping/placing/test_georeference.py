from dataclasses import replace

import numpy as np
import pytest

from seg2d3d_ros.config import MappingConfig
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.geodesy import enu_to_geodetic
from seg2d3d_ros.mapping.archive import FrameContent
from seg2d3d_ros.mapping.map_frame import MapFrame
from seg2d3d_ros.mapping.placing.georeference import GeoReference
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Fix, Origin

ORIGIN = Origin(48.1, 11.6, 520.0)
SECOND_NS = 1_000_000_000
ANTENNA = np.array([-0.5, 0.2, 1.4])
NONE = np.zeros(0, dtype=np.int64)


def drive(num=120, step_m=1.0, turn_rad=0.01):
    """A map of frames alone: a bend, with a slight climb, ten frames per second."""
    state = MapState()
    T = np.eye(4)
    for k in range(num):
        seen = np.zeros(1, dtype=np.int64)
        state.frames.append(
            MapFrame(
                k * SECOND_NS // 10,
                T,
                True,
                (0,),
                (k,),
                "tracked",
                FrameContent(seen, seen, np.zeros((1, 2))),
            )
        )
        T = T @ transforms.exp([0, 0, turn_rad, step_m, 0, 0.02])
    return state


def similarity(heading_deg, scale=1.0, shift=(30.0, -20.0, 5.0)):
    S = transforms.exp([0, 0, np.deg2rad(heading_deg), *shift])
    S[:3, :3] *= scale
    return S


def fixes(state, S_enu_world, sigma_m=0.0, every=10, seed=0, covariance=True, jump=()):
    """Fixes of an antenna at every n-th frame; those in `jump` are 50 m off."""
    rng = np.random.default_rng(seed)
    out = []
    for n, k in enumerate(range(0, len(state.frames), every)):
        T = state.frames[k].T_world_base
        enu = transforms.apply(S_enu_world, transforms.apply(T, ANTENNA[None]))[0]
        enu = enu + sigma_m * rng.standard_normal(3)
        enu[:2] += 35.0 * (n in jump)
        lat, lon, alt = enu_to_geodetic(enu, ORIGIN)[0]
        cov = np.eye(3) * max(sigma_m, 0.05) ** 2 if covariance else None
        out.append(Fix(state.frames[k].stamp_ns, lat, lon, alt, cov, ANTENNA))
    return out


def pushed(found):
    reference = GeoReference(MappingConfig())
    # the first fix only says where ENU stands, so that truth is known exactly
    reference.push(Fix(-1_000 * SECOND_NS, ORIGIN.lat_deg, ORIGIN.lon_deg, ORIGIN.alt_m))
    for fix in found:
        reference.push(fix)
    return reference


def position_errors(state, S, truth):
    p = np.stack([f.T_world_base[:3, 3] for f in state.frames])
    return np.linalg.norm(transforms.apply(S, p) - transforms.apply(truth, p), axis=1)


def heading_error_deg(S, truth):
    turn = S[:3, :3] @ np.linalg.inv(truth[:3, :3])
    return abs(np.rad2deg(np.arctan2(turn[1, 0], turn[0, 0])))


@pytest.mark.parametrize("heading_deg", [0.0, 35.0, 120.0, -170.0])
def test_fit_without_noise_is_exact(heading_deg):
    state, truth = drive(), similarity(heading_deg)
    S, scale = pushed(fixes(state, truth)).fit(state, with_scale=False)
    np.testing.assert_allclose(S, truth, atol=1e-5)
    assert scale == 1.0


def test_fit_noisy_fixes_give_heading_and_position_within_their_noise():
    state, truth = drive(), similarity(70.0)
    S, _ = pushed(fixes(state, truth, sigma_m=1.0, every=4)).fit(state, with_scale=False)
    # 30 fixes of 1 m over 100 m: 0.2 m in position and 0.4 degrees in heading
    assert position_errors(state, S, truth).max() < 1.2
    assert heading_error_deg(S, truth) < 1.2


def test_fit_vertical_stays_vertical():
    state, truth = drive(), similarity(70.0)
    S, _ = pushed(fixes(state, truth, sigma_m=2.0, every=4)).fit(state, with_scale=False)
    np.testing.assert_allclose(S[:3, 2], [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(S[2, :3], [0, 0, 1], atol=1e-9)


@pytest.mark.parametrize("scale", [0.4, 3.0])
def test_fit_unknown_scale_is_found(scale):
    state, truth = drive(), similarity(40.0, scale)
    S, found = pushed(fixes(state, truth, every=5)).fit(state, with_scale=True)
    assert found == pytest.approx(scale, rel=1e-4)
    np.testing.assert_allclose(S, truth, atol=1e-2)
    noisy = fixes(state, truth, sigma_m=0.5, every=5)
    S, found = pushed(noisy).fit(state, with_scale=True)
    # 24 fixes of 0.5 m over 40 m and more
    assert found == pytest.approx(scale, rel=0.02)
    assert position_errors(state, S, truth).max() < 1.0


@pytest.mark.parametrize("with_scale", [False, True])
def test_fit_jumps_of_50_m_hardly_matter(with_scale):
    state, truth = drive(), similarity(40.0)
    found = fixes(state, truth, sigma_m=0.3, every=5, jump=(21, 23))
    S, scale = pushed(found).fit(state, with_scale)
    assert heading_error_deg(S, truth) < 1.0
    assert scale == pytest.approx(1.0, abs=0.02)
    assert position_errors(state, S, truth).max() < 1.5


def test_fit_fixes_that_are_not_finite_are_ignored():
    state, truth = drive(), similarity(40.0)
    found = fixes(state, truth)
    bad = [replace(f, lat_deg=np.nan) for f in found] + [replace(f, alt_m=np.inf) for f in found]
    reference = GeoReference(MappingConfig())
    for fix in bad:
        reference.push(fix)
    assert reference.origin is None
    assert reference.fit(state, False) is None
    reference = pushed([f for pair in zip(bad[: len(found)], found, strict=True) for f in pair])
    assert len(reference.fixes) == len(found) + 1
    np.testing.assert_allclose(reference.fit(state, False)[0], truth, atol=1e-5)


@pytest.mark.parametrize("with_scale", [False, True])
@pytest.mark.parametrize("step_m", [0.0, 0.03])
def test_fit_standing_still_or_hardly_moving_tells_no_heading(step_m, with_scale):
    state = drive(step_m=step_m)
    for seed in range(10):
        # thirty fixes of 1 m lie 5 m apart by noise alone
        found = fixes(state, similarity(40.0), sigma_m=1.0, every=4, seed=seed)
        assert pushed(found).fit(state, with_scale) is None


def test_fit_receiver_that_repeats_its_first_fix_tells_no_heading_and_is_told():
    state = drive()
    found = fixes(state, similarity(40.0))
    reference = pushed([replace(found[0], stamp_ns=f.stamp_ns) for f in found])
    assert reference.fit(state, with_scale=False) is None
    assert any("stay within 0.0 m while the track spans" in r for r in reference.remarks)


def test_fit_extent_must_exceed_the_noise():
    state = drive(num=20)
    for sigma_m, is_enough in ((0.5, True), (10.0, False)):
        found = fixes(state, similarity(40.0), sigma_m, every=4)
        assert (pushed(found).fit(state, False) is not None) == is_enough


def test_fit_too_few_fixes_or_frames_tell_nothing():
    state, truth = drive(), similarity(40.0)
    assert pushed(fixes(state, truth)[:3]).fit(state, False) is None
    assert pushed(fixes(state, truth)).fit(MapState(), False) is None


def test_fit_fixes_outside_the_trajectory_are_not_used():
    state, truth = drive(), similarity(40.0)
    late = [
        replace(f, stamp_ns=f.stamp_ns + 3600 * SECOND_NS, lat_deg=f.lat_deg + 0.1)
        for f in fixes(state, truth)
    ]
    S, _ = pushed([*fixes(state, truth), *late]).fit(state, False)
    np.testing.assert_allclose(S, truth, atol=1e-5)


def test_factors_speak_of_base_link_at_keyframes():
    state = drive()
    for k, f in enumerate(state.frames):
        f.is_keyframe = k % 3 == 0
    found = pushed(fixes(state, np.eye(4), every=10)).factors(state)
    assert len(found) == 12
    for factor in found:
        assert state.frames[factor.frame].is_keyframe
        expected = state.frames[factor.frame].T_world_base[:3, 3]
        np.testing.assert_allclose(factor.position_world, expected, atol=1e-5)


def test_factors_many_fixes_per_second_weigh_like_one():
    state = drive()
    dense, sparse = (pushed(fixes(state, np.eye(4), every=n)).factors(state) for n in (1, 10))
    weight = [sum(1.0 / f.covariance[0, 0] for f in factors) for factors in (dense, sparse)]
    assert weight[0] == pytest.approx(weight[1], rel=0.15)


def test_factors_fix_without_covariance_has_the_configured_noise():
    state = drive()
    plain = fixes(state, np.eye(4), every=10, covariance=False)
    (factor, *_) = pushed(plain).factors(state)
    sigma = np.sqrt(np.diag(factor.covariance))
    # one fix per second; heights are twice as bad
    np.testing.assert_allclose(sigma, np.array([1.0, 1.0, 2.0]) * np.sqrt(12 / 11), rtol=1e-6)


def test_factors_of_a_map_that_never_saw_a_landmark_are_none():
    state = drive()
    for f in state.frames:
        f.held = FrameContent(NONE, NONE, np.zeros((0, 2)))
    assert pushed(fixes(state, np.eye(4))).factors(state) == ()
