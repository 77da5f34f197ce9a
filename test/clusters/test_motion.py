import numpy as np
import pytest

from seg2d3d_ros.clusters.motion import ConstantVelocity
from seg2d3d_ros.geometry import transforms

MS = 1_000_000
STEP = transforms.exp([0.0, 0.0, 0.02, 0.5, 0.01, 0.0])


def driven(moments, offset_of=None):
    """Poses at constant velocity, one each 50 ms; cameras see them with an offset of their own."""
    velocity, T = ConstantVelocity(num_cameras=2), np.eye(4)
    for k, cameras in enumerate(moments):
        shift = transforms.exp([0, 0, 0, *(offset_of or {}).get(cameras, (0, 0, 0))])
        velocity.add(50 * k * MS, T @ shift, cameras)
        T = T @ STEP
    return velocity


@pytest.mark.parametrize("moments", [[(0, 1)] * 4, [(0,), (1,)] * 3, [(0, 1), (0,), (0, 1)]])
def test_predict_goes_on_as_before(moments):
    end = 50 * (len(moments) - 1)
    motion = driven(moments).predict((end + 50) * MS)
    # half the chord of two steps points a hundredth of a radian aside
    np.testing.assert_allclose(motion.T_i_j, STEP, atol=0.006)
    half = driven(moments).predict((end + 25) * MS)
    assert transforms.angle_rad(half.T_i_j) == pytest.approx(0.01, abs=1e-4)
    assert half.T_i_j[0, 3] == pytest.approx(0.25, abs=2e-3)


def test_predict_offset_between_cameras_that_fire_in_turn_is_no_motion():
    offset_of = {(0,): (0.3, 0.1, 0.0), (1,): (-0.2, 0.0, 0.05)}
    for num in (6, 7):
        moments = [((k % 2),) for k in range(num)]
        motion = driven(moments, offset_of).predict(50 * num * MS)
        # 0.02 rad a step turn the offset itself by a centimetre at most
        np.testing.assert_allclose(motion.T_i_j[:3, 3], STEP[:3, 3], atol=0.012)


def test_predict_of_fewer_than_two_moments_is_none():
    assert driven([]).predict(0) is None
    assert driven([(0,)]).predict(50 * MS) is None
    velocity = driven([(0,)] * 3)
    velocity.clear()
    assert velocity.predict(200 * MS) is None


def test_predict_far_ahead_stops_at_three_steps():
    motion = driven([(0,)] * 4).predict(10_000 * MS)
    assert transforms.angle_rad(motion.T_i_j) == pytest.approx(0.06, abs=1e-6)


def test_predict_covariance_holds_the_acceleration_of_a_vehicle():
    velocity = driven([(0,)] * 4)
    near, far = (velocity.predict((150 + ahead) * MS).covariance for ahead in (50, 500))
    # half a metre per second squared over 50 ms is a millimetre, two over half a second 0.25 m
    assert 0.02 < np.sqrt(near[3, 3]) < 0.1
    assert np.sqrt(far[3, 3]) > 0.25
    assert np.linalg.eigvalsh(near).min() > 0
