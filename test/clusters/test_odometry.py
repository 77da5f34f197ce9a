import numpy as np
import pytest

from seg2d3d_ros.clusters.odometry import OdometryBuffer
from seg2d3d_ros.config import ClustersConfig
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Odometry

MS = 1_000_000
TURN = transforms.exp([0.0, 0.0, 0.01, 0.1, 0.0, 0.0])


def pose(steps):
    return np.linalg.matrix_power(TURN, steps)


@pytest.fixture
def buffer():
    """Odometry every 20 ms over 2 s, 0.1 m and 0.01 rad a step, far from its own origin."""
    out = OdometryBuffer(ClustersConfig(wait_s=1.5))
    far = transforms.exp([0.0, 0.0, 2.0, 1000.0, -500.0, 3.0])
    for k in range(101):
        out.push(Odometry(20 * k * MS, far @ pose(k)))
    return out


def test_increment_at_stamps_of_messages_is_exact(buffer):
    np.testing.assert_allclose(buffer.increment(200 * MS, 600 * MS), pose(20), atol=1e-9)


def test_increment_backwards_is_the_inverse(buffer):
    back = buffer.increment(600 * MS, 200 * MS)
    np.testing.assert_allclose(back @ pose(20), np.eye(4), atol=1e-9)


def test_increment_between_messages_is_interpolated(buffer):
    half = buffer.increment(200 * MS, 210 * MS)
    assert transforms.angle_rad(half) == pytest.approx(0.005)
    # the chord of an arc of 0.1 m and 0.01 rad is straight to 1e-6
    assert np.linalg.norm(half[:3, 3]) == pytest.approx(0.05, abs=1e-6)


def test_increment_does_not_depend_on_the_odometry_frame(buffer):
    other = OdometryBuffer(ClustersConfig())
    for k in range(101):
        other.push(Odometry(20 * k * MS, pose(k)))
    i, j = 333 * MS, 1477 * MS
    np.testing.assert_allclose(buffer.increment(i, j), other.increment(i, j), atol=1e-9)


@pytest.mark.parametrize("stamp_ms", [-201, 2201])
def test_increment_beyond_the_slack_is_none(buffer, stamp_ms):
    assert buffer.increment(stamp_ms * MS, 500 * MS) is None
    assert buffer.increment(500 * MS, stamp_ms * MS) is None


def test_increment_just_beyond_the_end_goes_on_at_the_last_rate(buffer):
    ahead = buffer.increment(2000 * MS, 2100 * MS)
    assert transforms.angle_rad(ahead) == pytest.approx(0.05)
    assert ahead[0, 3] == pytest.approx(0.5, rel=0.01)


def test_increment_without_messages_is_none():
    assert OdometryBuffer(ClustersConfig()).increment(0, 1) is None


def test_increment_of_a_single_message_is_none():
    buffer = OdometryBuffer(ClustersConfig())
    buffer.push(Odometry(0, pose(3)))
    assert buffer.increment(0, 100 * MS) is None


def test_odometry_is_over_once_others_went_on_without_it_but_not_while_it_only_lags(buffer):
    assert not buffer.is_over(2201 * MS)
    buffer.go_on(3500 * MS)  # the 1.5 s that inputs are waited for
    assert not buffer.is_over(2201 * MS)
    buffer.go_on(3501 * MS)
    assert [buffer.is_over(t * MS) for t in (-500, 1000, 2200, 2201)] == [False] * 3 + [True]
    buffer.push(Odometry(2020 * MS, pose(101)))
    assert not buffer.is_over(3500 * MS)
    assert not OdometryBuffer(ClustersConfig()).is_over(0)


def test_odometry_has_begun_once_it_tells_of_a_stamp(buffer):
    assert [buffer.has_begun(t * MS) for t in (-201, -200, 0, 9000)] == [False, True, True, True]
    assert not OdometryBuffer(ClustersConfig()).has_begun(0)


@pytest.mark.parametrize("stamp_ms", [2000, 1990, 0])
def test_push_repeated_or_old_stamp_changes_nothing(buffer, stamp_ms):
    queries = (1995 * MS, 2000 * MS, 2100 * MS)
    before = [buffer.increment(100 * MS, q) for q in queries]
    buffer.push(Odometry(stamp_ms * MS, np.eye(4)))
    after = [buffer.increment(100 * MS, q) for q in queries]
    np.testing.assert_array_equal(after, before)


def test_push_nan_pose_is_bridged(buffer):
    buffer.push(Odometry(2020 * MS, np.full((4, 4), np.nan)))
    buffer.push(Odometry(2040 * MS, transforms.exp([0, 0, 2.0, 1000, -500, 3]) @ pose(102)))
    np.testing.assert_allclose(buffer.increment(2000 * MS, 2040 * MS), pose(2), atol=1e-9)
    assert np.isfinite(buffer.increment(2000 * MS, 2020 * MS)).all()


def test_push_hours_of_driving_keeps_a_minute_whole_and_some_way_before():
    buffer = OdometryBuffer(ClustersConfig())
    for k in range(10_000):
        buffer.push(Odometry(100 * k * MS, pose(k)))
    np.testing.assert_allclose(buffer.increment(940_000 * MS, 999_900 * MS), pose(599), atol=1e-9)
    assert buffer.increment(400_000 * MS, 999_900 * MS) is None
    assert len(buffer._stamps) < 4096 + 1201


def at_rest(minutes):
    """Two seconds of driving, a rest with messages every 50 ms, and two seconds of driving."""
    out = OdometryBuffer(ClustersConfig())
    arrived = [(20 * k, k) for k in range(101)]
    rest = [(2000 + 50 * k, 100) for k in range(1, 1200 * minutes + 1)]
    leaves = [(rest[-1][0] + 20 * k, 100 + k) for k in range(1, 101)]
    for stamp_ms, steps in arrived + rest + leaves:
        out.push(Odometry(stamp_ms * MS, pose(steps)))
    return out, rest[-1][0]


def test_increment_over_a_stop_of_five_minutes_is_exact():
    buffer, left_ms = at_rest(5)
    over = buffer.increment(1000 * MS, (left_ms + 1000) * MS)
    np.testing.assert_allclose(over, pose(100), atol=1e-9)
    # the vehicle did not creep through its rest
    np.testing.assert_allclose(buffer.increment(2000 * MS, left_ms * MS), np.eye(4), atol=1e-9)


def test_push_at_rest_needs_memory_that_does_not_grow():
    assert len(at_rest(15)[0]._stamps) <= len(at_rest(5)[0]._stamps) + 1200


def test_increment_over_a_slow_drift_at_rest_keeps_the_drift():
    buffer = OdometryBuffer(ClustersConfig())
    step = transforms.exp([0.0, 0.0, 1e-4, 0.0, 0.0, 0.0])
    for k in range(6000):
        buffer.push(Odometry(100 * k * MS, np.linalg.matrix_power(step, k)))
    told = transforms.yaw_rad(buffer.increment(0, 599_900 * MS))
    assert told == pytest.approx(0.5999)
    # poses that turned less than 0.05 deg, nine steps, count as one
    halfway = transforms.yaw_rad(buffer.increment(0, 200_000 * MS))
    assert halfway == pytest.approx(0.2, abs=1e-3)


def test_clear_forgets_so_that_time_may_start_again(buffer):
    buffer.clear()
    assert buffer.increment(100 * MS, 200 * MS) is None
    buffer.push(Odometry(0, pose(0)))
    buffer.push(Odometry(100 * MS, pose(5)))
    np.testing.assert_allclose(buffer.increment(0, 100 * MS), pose(5), atol=1e-12)


def test_clear_keeps_what_came_after_time_went_back(buffer):
    for k in range(5):
        buffer.push(Odometry(1000 * MS + 20 * k * MS, pose(k)))
    buffer.clear()
    np.testing.assert_allclose(buffer.increment(1000 * MS, 1080 * MS), pose(4), atol=1e-9)
    assert buffer.increment(0, 200 * MS) is None
    buffer.clear()
    assert buffer.increment(1000 * MS, 1080 * MS) is None


def test_clear_does_not_keep_what_was_merely_late(buffer):
    buffer.push(Odometry(1000 * MS, pose(7)))
    buffer.push(Odometry(2020 * MS, pose(101)))
    buffer.clear()
    assert not buffer.has_begun(5000 * MS)


def test_covariance_grows_with_the_way_and_is_positive():
    config = ClustersConfig(odometry_sigma_translation=0.05, odometry_sigma_rotation_deg=0.3)
    buffer = OdometryBuffer(config)
    one, four = (buffer.covariance(transforms.rigid(np.eye(3), [d, 0, 0])) for d in (1.0, 4.0))
    # variances of a random walk grow with the way
    np.testing.assert_allclose(four, 4.0 * one)
    assert np.sqrt(one[3, 3]) == pytest.approx(0.05)
    assert np.sqrt(one[2, 2]) == pytest.approx(np.deg2rad(0.3))
    assert (np.linalg.eigvalsh(buffer.covariance(np.eye(4))) > 0).all()
