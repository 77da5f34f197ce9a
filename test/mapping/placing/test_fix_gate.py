import numpy as np
import pytest

from seg2d3d_ros.mapping.placing.fix_gate import agree_in_length, gate_fixes

SIGMA_M, STEP_M, NUM, DRIFT = 0.6, 6.0, 70, 0.03
MIDDLE = NUM // 2


def offsets(seed, noise_m=SIGMA_M):
    """What lies between noisy fixes, one a second, and a track that drifts by half a percent."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(size=(NUM, 2)) * 0.005 * STEP_M, axis=0)
    return (
        walk
        + STEP_M * np.outer(np.arange(NUM), [0.004, -0.005])
        + noise_m * rng.normal(size=(NUM, 2))
    )


def gate(offset_m, sigma_m=SIGMA_M):
    return gate_fixes(offset_m, np.full(NUM, sigma_m), STEP_M * np.arange(NUM), DRIFT)


@pytest.mark.parametrize("seed", range(8))
def test_gate_fixes_white_noise_and_drift_pass(seed):
    # 4 sigma in two dimensions: three in ten thousand
    assert (~gate(offsets(seed)).is_accepted).sum() <= 1


@pytest.mark.parametrize("size_m", [5.0, 50.0, 5000.0])
@pytest.mark.parametrize("bad", [[0], [NUM - 1], [0, 1, 2], list(range(MIDDLE, MIDDLE + 5))])
def test_gate_fixes_jump_is_found_and_nothing_else(bad, size_m):
    for seed in range(4):
        offset = offsets(seed)
        offset[bad] += size_m * np.array([0.6, 0.8])
        found = gate(offset)
        rejected = ~found.is_accepted
        assert rejected[bad].all()
        # three in ten thousand good ones are further than 4 sigma
        assert rejected.sum() <= len(bad) + 1
        # what the neighbours say of its size: their noise, and the drift over a few steps
        assert found.misfit_m[bad] == pytest.approx(np.full(len(bad), size_m), abs=2.5)


@pytest.mark.parametrize("seed", range(8))
def test_gate_fixes_slow_multipath_is_found_where_it_exceeds_the_noise(seed):
    # 10 m that come over five seconds and stay for five: faster than a track drifts
    along = np.arange(NUM) - MIDDLE
    bump = 10.0 * np.clip(along / 5, 0, 1) * np.clip((15 - along) / 5, 0, 1)
    offset = offsets(seed) + bump[:, None] * np.array([0.8, -0.6])
    rejected = ~gate(offset).is_accepted
    assert rejected[bump > 8 * SIGMA_M].all()
    assert not rejected[bump == 0.0].any()


def test_gate_fixes_scatter_beyond_the_covariance_is_told_and_not_gated():
    for seed in range(4):
        found = gate(offsets(seed, noise_m=3 * SIGMA_M))
        # a median of 69 steps is good to a fifth
        assert found.noise_ratio == pytest.approx(3.0, rel=0.3)
        assert (~found.is_accepted).sum() <= 1


def test_gate_fixes_honest_covariance_is_not_widened():
    assert np.mean([gate(offsets(seed)).noise_ratio for seed in range(20)]) < 1.1


def test_gate_fixes_precise_fixes_are_gated_more_strictly():
    offset = offsets(0, noise_m=0.05)
    offset[20] += [1.0, 0.0]
    assert np.flatnonzero(~gate(offset, sigma_m=0.05).is_accepted).tolist() == [20]
    assert gate(offset, sigma_m=0.6).is_accepted.all()


@pytest.mark.parametrize("num", [0, 1, 2])
def test_gate_fixes_too_few_to_compare_pass(num):
    found = gate_fixes(np.full((num, 2), 1e6), np.ones(num), np.arange(num, dtype=float), DRIFT)
    assert found.is_accepted.tolist() == [True] * num
    assert found.noise_ratio == 1.0


def test_gate_fixes_standing_still_averages_and_finds_the_jump():
    rng = np.random.default_rng(0)
    offset = 0.6 * rng.normal(size=(40, 2))
    offset[7] += [20.0, 0.0]
    found = gate_fixes(offset, np.full(40, 0.6), np.zeros(40), DRIFT)
    assert np.flatnonzero(~found.is_accepted).tolist() == [7]


@pytest.mark.parametrize("heading_deg", [0.0, 77.0, 180.0])
@pytest.mark.parametrize("bad", [[0], [3], [6]])
def test_agree_in_length_is_blind_to_heading_and_finds_the_bad_one(bad, heading_deg):
    rng = np.random.default_rng(1)
    track = np.c_[np.arange(0.0, 42.0, 6.0), np.zeros(7)]
    turn = np.deg2rad(heading_deg)
    R = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    fixes = track @ R.T + [1000.0, -500.0] + 0.6 * rng.normal(size=track.shape)
    fixes[bad] += [30.0, 40.0]
    found = agree_in_length(fixes, track, 0.6, DRIFT)
    assert np.flatnonzero(~found).tolist() == bad


@pytest.mark.parametrize("num", [10, 30, NUM])  # of few fixes neither half outweighs the other
def test_gate_fixes_two_halves_that_contradict_each_other_leave_one(num):
    for seed in range(4):
        offset, half = offsets(seed)[:num], num // 2
        offset[half:] += [30.0, 40.0]
        way_m = STEP_M * np.arange(num)
        is_accepted = gate_fixes(offset, np.full(num, SIGMA_M), way_m, DRIFT).is_accepted
        assert is_accepted[:half].mean() > 0.9 or is_accepted[half:].mean() > 0.9
        assert abs(int(is_accepted.sum()) - half) <= 3
