import dataclasses

import numpy as np
import pytest

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.simulation import SimulationOptions
from seg2d3d_ros.simulation.rig import ANTENNA_BASE
from seg2d3d_ros.simulation.route import Drive, plan
from seg2d3d_ros.simulation.sensors import draw_origin, simulate_fixes, simulate_odometry
from seg2d3d_ros.simulation.truth import Place

QUIET = {
    "odometry_scale_bias": 0.0,
    "odometry_drift_deg_per_m": 0.0,
    "odometry_heading_walk_deg": 0.0,
    "odometry_walk_m": 0.0,
}


def drive_of(**options):
    options = SimulationOptions(**options)
    return Drive(plan(options)[1], options), options


def increments(samples):
    poses = np.array([s.T_odom_base for s in samples])
    steps = transforms.invert(poses[:-1]) @ poses[1:]
    return np.linalg.norm(steps[:, :2, 3], axis=1), np.array(
        [transforms.yaw_rad(s) for s in steps]
    )


def true_increments(drive, samples):
    poses = np.array([drive.pose_at(drive.distance_m(s.time_s), True) for s in samples])
    steps = transforms.invert(poses[:-1]) @ poses[1:]
    return np.linalg.norm(steps[:, :2, 3], axis=1), np.array(
        [transforms.yaw_rad(s) for s in steps]
    )


@pytest.mark.parametrize("quiet", [QUIET, {"odometry_noise": 0.0}])
def test_odometry_without_noise_is_exact(quiet):
    drive, options = drive_of(route="corner", length_m=80.0, **quiet)
    samples = simulate_odometry(drive, options)
    start = drive.pose_at(0.0, is_level=True)
    for s in samples[:: len(samples) // 7]:
        truth = transforms.invert(start) @ drive.pose_at(drive.distance_m(s.time_s), True)
        np.testing.assert_allclose(s.T_odom_base, truth, atol=1e-9)


def test_odometry_scale_bias_stretches_distances_and_nothing_else():
    drive, options = drive_of(length_m=80.0, **{**QUIET, "odometry_scale_bias": 0.03})
    samples = simulate_odometry(drive, options)
    distance, yaw = increments(samples)
    distance_gt, yaw_gt = true_increments(drive, samples)
    # rolling is along x; the millimetres across are not stretched
    np.testing.assert_allclose(distance, 1.03 * distance_gt, rtol=1e-3)
    np.testing.assert_allclose(yaw, yaw_gt, atol=1e-9)


def test_odometry_drift_bends_the_path_by_its_rate():
    drive, options = drive_of(length_m=80.0, **{**QUIET, "odometry_drift_deg_per_m": 0.1})
    samples = simulate_odometry(drive, options)
    turned = np.rad2deg(np.sum(increments(samples)[1] - true_increments(drive, samples)[1]))
    assert turned == pytest.approx(0.1 * drive.length_m, rel=0.02)


def test_odometry_random_walks_have_their_standard_deviation():
    drive, options = drive_of(
        length_m=600.0, **{**QUIET, "odometry_heading_walk_deg": 0.5, "odometry_walk_m": 0.02}
    )
    samples = simulate_odometry(drive, options)
    distance, yaw = increments(samples)
    distance_gt, yaw_gt = true_increments(drive, samples)
    root = np.sqrt(distance_gt)
    # about 2000 samples: the standard deviation is known to 1.6 %
    assert np.std(np.rad2deg(yaw - yaw_gt) / root) == pytest.approx(0.5, rel=0.08)
    assert np.std((distance - distance_gt) / root) == pytest.approx(0.02, rel=0.08)


def test_odometry_standing_adds_no_noise():
    drive, options = drive_of(length_m=40.0, standing_s=5.0, odometry_noise=3.0)
    distance, yaw = increments(simulate_odometry(drive, options))
    assert (distance == 0).sum() >= 5.0 * options.odometry_rate_hz - 2
    assert np.abs(yaw[distance == 0]).max() < 1e-12


def test_odometry_slip_adds_its_distance_half_way():
    drive, options = drive_of(length_m=60.0, odometry_slip_m=5.0, **QUIET)
    samples = simulate_odometry(drive, options)
    extra = np.cumsum(increments(samples)[0] - true_increments(drive, samples)[0])
    assert extra[len(extra) // 2 - 3] == pytest.approx(0.0, abs=1e-6)
    assert extra[-1] == pytest.approx(5.0, abs=0.15)


def to_enu(fixes, origin):
    import pyproj

    project = pyproj.Transformer.from_pipeline(
        "+proj=pipeline +step +proj=cart +ellps=WGS84 +step +proj=topocentric +ellps=WGS84 "
        f"+lat_0={origin.lat_deg} +lon_0={origin.lon_deg} +h_0={origin.alt_m}"
    )
    return np.array([project.transform(f.lon_deg, f.lat_deg, f.alt_m) for f in fixes])


def make_fixes(**options):
    drive, options = drive_of(gnss=True, **options)
    T = transforms.rigid(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]), [5.0, 7.0, 0.0])
    place = Place(T, draw_origin(options.seed))
    fixes = simulate_fixes(drive, place, options)
    antenna = [transforms.apply(T @ drive.pose(f.time_s), ANTENNA_BASE[None])[0] for f in fixes]
    return fixes, to_enu(fixes, place.origin), np.array(antenna), drive


def test_fixes_without_noise_are_the_antenna_on_the_ellipsoid():
    _, enu, antenna, _ = make_fixes(length_m=60.0, gnss_sigma_m=0.0)
    np.testing.assert_allclose(enu, antenna, atol=1e-6)


def test_fixes_noise_and_covariance_are_those_asked_for():
    fixes, enu, antenna, _ = make_fixes(length_m=300.0, gnss_sigma_m=0.6, gnss_rate_hz=20.0)
    error = enu - antenna
    # about 1000 fixes: the standard deviation is known to 2 %
    np.testing.assert_allclose(error.std(axis=0), [0.6, 0.6, 1.2], rtol=0.1)
    np.testing.assert_allclose(np.diag(fixes[0].covariance_enu), [0.36, 0.36, 1.44])


def test_fixes_jump_lasts_five_seconds_half_way():
    fixes, enu, antenna, drive = make_fixes(
        length_m=120.0, gnss_sigma_m=0.0, gnss_jump_m=50.0, gnss_rate_hz=2.0
    )
    off = np.linalg.norm(enu - antenna, axis=1)
    since = np.array([f.time_s for f in fixes]) - drive.duration_s / 2
    is_off = (since >= 0) & (since < 5)
    assert is_off.sum() == 10
    np.testing.assert_allclose(off, np.where(is_off, 50.0, 0.0), atol=1e-5)


def test_fixes_without_an_origin_are_refused():
    drive, options = drive_of(length_m=40.0)
    with pytest.raises(ValueError, match="no origin"):
        simulate_fixes(drive, Place(np.eye(4), None), dataclasses.replace(options, gnss=True))
