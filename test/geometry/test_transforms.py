import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from seg2d3d_ros.geometry import transforms

COORDINATE = st.floats(-100.0, 100.0)
# a rotation vector shorter than pi is what its rotation gives back
VECTOR = st.tuples(*[st.floats(-1.7, 1.7)] * 3).map(np.array)
POSE = st.builds(
    lambda r, t: transforms.exp(np.r_[r, t]), VECTOR, st.tuples(*[COORDINATE] * 3).map(np.array)
)


@given(POSE)
@settings(deadline=None)
def test_invert_any_pose_composes_to_identity(T):
    np.testing.assert_allclose(transforms.invert(T) @ T, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(transforms.invert(np.stack([T, T]))[1] @ T, np.eye(4), atol=1e-12)


@given(POSE)
@settings(deadline=None)
def test_quaternion_any_pose_comes_back_with_positive_w(T):
    quat_xyzw = transforms.to_quaternion(T)
    assert quat_xyzw[3] >= 0
    assert np.linalg.norm(quat_xyzw) == pytest.approx(1.0)
    np.testing.assert_allclose(transforms.from_quaternion(quat_xyzw, T[:3, 3]), T, atol=1e-12)


@pytest.mark.parametrize("rotvec", [(3.1, 0, 0), (0, 3.1, 0), (0, 0, 3.1), (0.1, 0.2, 0.3)])
def test_quaternion_any_component_largest_equals_scipy(rotvec):
    R = Rotation.from_rotvec(rotvec)
    T = np.stack([np.eye(4), transforms.rigid(R.as_matrix(), [1.0, 2.0, 3.0])])
    np.testing.assert_allclose(
        transforms.to_quaternion(T), [[0, 0, 0, 1], R.as_quat(canonical=True)], atol=1e-15
    )
    np.testing.assert_allclose(
        transforms.from_quaternion(3.0 * R.as_quat(), np.zeros(3))[:3, :3],
        R.as_matrix(),
        atol=1e-15,
    )


def test_from_quaternion_order_is_xyzw():
    T = transforms.from_quaternion([0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        transforms.apply(T, np.array([[1.0, 0, 0]])), [[1, 3, 3]], atol=1e-12
    )


def test_apply_similarity_carries_its_scale():
    S = transforms.rigid(2.0 * np.eye(3), [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(transforms.apply(S, np.array([[1.0, 1.0, 1.0]])), [[3, 2, 2]])


def test_body_optical_axes_follow_rep_103():
    right, down, forward = transforms.R_BODY_OPTICAL.T
    np.testing.assert_array_equal(forward, [1, 0, 0])
    np.testing.assert_array_equal(right, [0, -1, 0])
    np.testing.assert_array_equal(down, [0, 0, -1])


@given(VECTOR)
@settings(deadline=None)
def test_angle_any_rotation_equals_length_of_its_vector(rotvec):
    T = transforms.exp(np.r_[rotvec, 1.0, 2.0, 3.0])
    assert transforms.angle_rad(T) == pytest.approx(np.linalg.norm(rotvec), abs=1e-9)


@given(VECTOR, st.sampled_from([1.0, 1e-3, 1e-6, 1e-9, 1e-12]))
@settings(deadline=None)
def test_rotation_vector_any_length_comes_back(rotvec, scale):
    R = Rotation.from_rotvec(rotvec * scale).as_matrix()
    # a matrix holds 16 digits of 1, so that of a vector all but 1e-16 come back
    np.testing.assert_allclose(transforms.rotation_vector(R), rotvec * scale, atol=2e-15)


@pytest.mark.parametrize("short_of_pi", [0.0, 1e-9, 1e-3, 0.2])
def test_rotation_vector_about_half_a_turn_keeps_its_axis(short_of_pi):
    rotvec = (np.pi - short_of_pi) * np.array([0.6, 0.0, 0.8])
    R = Rotation.from_rotvec(rotvec).as_matrix()
    found = transforms.rotation_vector(R)
    np.testing.assert_allclose(Rotation.from_rotvec(found).as_matrix(), R, atol=1e-9)
    assert np.linalg.norm(found) == pytest.approx(np.pi - short_of_pi)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, np.pi - 1e-6, np.pi])
def test_angle_tiny_and_half_turn_keep_their_digits(angle):
    T = transforms.exp([0.0, angle, 0.0, 0.0, 0.0, 0.0])
    assert transforms.angle_rad(T) == pytest.approx(angle, rel=1e-9, abs=1e-15)


@given(POSE, POSE)
@settings(deadline=None)
def test_interpolate_ends_are_the_poses(T_i, T_j):
    np.testing.assert_allclose(transforms.interpolate(T_i, T_j, 0.0), T_i, atol=1e-9)
    np.testing.assert_allclose(transforms.interpolate(T_i, T_j, 1.0), T_j, atol=1e-9)


def test_interpolate_constant_rate_goes_on_beyond_the_ends():
    T_i = transforms.exp([0.0, 0.0, 0.2, 1.0, 0.0, 0.0])
    T_j = transforms.exp([0.0, 0.0, 0.4, 3.0, 0.0, 0.0])
    for ratio in (-1.0, 0.25, 2.0):
        expected = transforms.exp([0.0, 0.0, 0.2 + 0.2 * ratio, 1.0 + 2.0 * ratio, 0.0, 0.0])
        np.testing.assert_allclose(transforms.interpolate(T_i, T_j, ratio), expected, atol=1e-12)


def test_interpolate_many_agrees_with_interpolate_at_nanoseconds_since_1970():
    rng = np.random.default_rng(0)
    poses = np.stack([transforms.exp(x) for x in rng.uniform(-1, 1, (5, 6))])
    stamps_ns = 1_700_000_000_000_000_000 + np.array([0, 100, 250, 300, 600]) * 1_000_000
    query_ns = stamps_ns[0] + np.array([0, 50, 275, 599, 600]) * 1_000_000
    out = transforms.interpolate_many(stamps_ns, poses, query_ns)
    for stamp, T in zip(query_ns, out, strict=True):
        k = min(int(np.searchsorted(stamps_ns, stamp, side="right")), 4)
        ratio = (stamp - stamps_ns[k - 1]) / (stamps_ns[k] - stamps_ns[k - 1])
        expected = transforms.interpolate(poses[k - 1], poses[k], ratio)
        np.testing.assert_allclose(T, expected, atol=1e-9)


def test_interpolate_many_outside_is_held_and_one_pose_is_enough():
    poses = np.stack([np.eye(4), transforms.exp([0, 0, 0.1, 1.0, 0, 0])])
    out = transforms.interpolate_many([10, 20], poses, [0, 100])
    np.testing.assert_allclose(out, poses, atol=1e-15)
    np.testing.assert_array_equal(transforms.interpolate_many([10], poses[1:], [5])[0], poses[1])


@pytest.mark.parametrize("yaw", [-3.0, 0.0, 0.5, 3.0])
def test_yaw_level_pose_is_its_heading(yaw):
    assert transforms.yaw_rad(transforms.exp([0, 0, yaw, 5, 6, 7])) == pytest.approx(yaw)


def test_orthonormal_rounded_rotation_is_repaired():
    R = Rotation.from_rotvec([0.3, -0.2, 0.9]).as_matrix()
    repaired = transforms.orthonormal(R + 1e-7 * np.arange(9).reshape(3, 3))
    np.testing.assert_allclose(repaired @ repaired.T, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(repaired, R, atol=1e-6)
