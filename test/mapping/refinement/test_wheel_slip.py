from dataclasses import replace

import numpy as np
import pytest
from street_maker import SINGLE, STEREO, DriveOptions, make_cluster, make_street, observe

from seg2d3d_ros.mapping.refinement.odometry_scale import odometry_scale
from seg2d3d_ros.mapping.refinement.wheel_slip import distrust, find_slips
from seg2d3d_ros.mapping.state import MapState

NUM = 59


@pytest.fixture(scope="module")
def cluster():
    """A drive of 60 m, a keyframe each metre, seen by two cameras."""
    street = make_street(6, STEREO, num_points=30)
    seen = observe(street)
    return make_cluster(street, seen, range(len(street.T_world_base)), DriveOptions())


def state_of(cluster, extra_m, scale=1.0, noise_m=0.0, seed=0):
    """The map, with odometry that tells `extra_m` (59,) beyond the true way of each increment."""
    rng = np.random.default_rng(seed)
    noise = noise_m * rng.standard_normal(NUM)
    odometry = []
    for r, extra, error in zip(cluster.odometry, extra_m, noise, strict=True):
        T = r.T_i_j.copy()
        T[0, 3] = scale * T[0, 3] + extra + error
        odometry.append(replace(r, T_i_j=T))
    state = MapState()
    state.add(replace(cluster, odometry=tuple(odometry)), np.eye(4))
    return state


def spread(metres, start, num):
    extra = np.zeros(NUM)
    extra[start : start + num] = metres / num
    return extra


@pytest.mark.parametrize("scale", [0.95, 1.0, 1.05])
@pytest.mark.parametrize("noise_m", [0.0, 0.01, 0.05])
def test_find_slips_bias_and_noise_are_no_slip(cluster, scale, noise_m):
    for seed in range(5):
        assert find_slips(state_of(cluster, np.zeros(NUM), scale, noise_m, seed)) == ()


@pytest.mark.parametrize("metres", [2.0, 5.0, -4.0])
@pytest.mark.parametrize("start", [0, 20, NUM - 20])
def test_find_slips_run_is_found_with_its_size_and_time(cluster, metres, start):
    state = state_of(cluster, spread(metres, start, 8), scale=1.02, noise_m=0.02)
    (slip,) = find_slips(state)
    # noise of 8 increments of 2 cm, in units that the odometry's bias lengthens by 2 %
    assert slip.excess_m == pytest.approx(metres, abs=0.3)
    first, last = slip.keys[0][0], slip.keys[-1][1]
    assert abs(first - 2 * start) <= 2
    assert abs(last - 2 * (start + 8)) <= 2
    assert slip.start_ns == state.frames[first].stamp_ns
    text = slip.describe(state.frames[0].stamp_ns)
    assert f"{abs(slip.excess_m):.1f} m {'more' if metres > 0 else 'less'}" in text
    assert f"between {0.1 * first:.1f} s and {0.1 * last:.1f} s" in text


def test_find_slips_slow_slip_that_no_increment_betrays_is_found(cluster):
    # 12 cm on each metre for 16 m, where increments scatter by 2 cm
    (slip,) = find_slips(state_of(cluster, spread(2.0, 20, 16), noise_m=0.02))
    assert slip.excess_m == pytest.approx(2.0, abs=0.4)


@pytest.mark.parametrize("end", [0, 1])
def test_find_slips_increments_of_frames_that_saw_little_take_no_part(cluster, end):
    state = state_of(cluster, spread(5.0, 20, 1))
    (slip,) = find_slips(state)
    (key,) = slip.keys
    coasted = state.frames[key[end]]
    coasted.status = "coasted"
    assert find_slips(state) == ()


def test_find_slips_two_of_them_are_two(cluster):
    extra = spread(3.0, 10, 5) + spread(-3.0, 40, 5)
    first, second = find_slips(state_of(cluster, extra, noise_m=0.01))
    assert first.excess_m == pytest.approx(3.0, abs=0.2)
    assert second.excess_m == pytest.approx(-3.0, abs=0.2)
    assert first.end_ns < second.start_ns


def test_find_slips_nothing_is_said_where_pictures_do_not_see(cluster):
    state = state_of(cluster, spread(5.0, 20, 5))
    for f in state.frames[40:52]:
        f.status = "coasted"
    assert find_slips(state) == ()


@pytest.fixture(scope="module")
def cluster_of_one(cluster):
    """The same drive, seen by one camera."""
    street = make_street(6, SINGLE, num_points=30)
    return make_cluster(street, observe(street), range(len(street.T_world_base)), DriveOptions())


@pytest.mark.parametrize("start", [15, NUM - 15])
def test_find_slips_unit_of_one_camera_that_changes_is_no_slip(cluster_of_one, start):
    # from there on pictures tell a ninth more way, 1.5 m by the end of the shorter stretch
    drift = np.where(np.arange(NUM) < start, 0.0, -0.1)
    assert find_slips(state_of(cluster_of_one, drift, noise_m=0.02)) == ()


@pytest.mark.parametrize("metres", [2.0, -4.0])
@pytest.mark.parametrize("start", [0, 20, NUM - 20])
def test_find_slips_run_is_found_by_one_camera_whose_unit_drifts(cluster_of_one, metres, start):
    drift = 0.1 * np.linspace(-1.0, 1.0, NUM)
    (slip,) = find_slips(state_of(cluster_of_one, drift + spread(metres, start, 8)))
    # the unit changes by 7 % over the increments that each is held against
    assert slip.excess_m == pytest.approx(metres, abs=0.6)


def test_distrust_takes_the_weight_from_slips_alone(cluster):
    state = state_of(cluster, spread(5.0, 20, 5), noise_m=0.01)
    before = {k: r.covariance[3, 3] for k, r in state.odometry.items()}
    (slip,) = find_slips(state)
    distrust(state, (slip,))
    for key, r in state.odometry.items():
        if key in slip.keys:
            assert r.covariance[3, 3] > 25.0
            assert np.linalg.eigvalsh(r.covariance).min() > 0
        else:
            assert r.covariance[3, 3] == before[key]


def test_find_slips_empty_map_has_none():
    assert find_slips(MapState()) == ()


def test_distrust_slip_says_nothing_of_the_odometrys_scale(cluster):
    # 15 % more than the way, as at the edges of a slip: too little to stand out on its own
    state = state_of(cluster, spread(3.0, 20, 20), scale=1.02)
    assert odometry_scale(state) < 0.95
    slips = find_slips(state)
    assert len(slips) == 1
    distrust(state, slips)
    # the twenty that slipped weigh a thousandth of the others
    assert odometry_scale(state) == pytest.approx(1.0 / 1.02, rel=2e-3)
