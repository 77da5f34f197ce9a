"""Faults of sensors seen from the mapping stage: what is found, mended and said."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from street_maker import SINGLE, STEREO, TURNED, DriveOptions, make_drive, make_street

from seg2d3d_ros.config import Config, MappingConfig, override
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.geodesy import enu_to_geodetic
from seg2d3d_ros.mapping import stage as stage_module
from seg2d3d_ros.mapping.refinement import sensor_check
from seg2d3d_ros.mapping.refinement.mounting_check import MountError
from seg2d3d_ros.mapping.refinement.odometry_scale import odometry_scale
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.types import Fix, Origin

ORIGIN = Origin(48.1, 11.6, 520.0)
SIGMA_M = 0.3


@cache
def drive(cameras=TURNED, has_odometry=True):
    """Clusters of a drive of 60 m whose pictures are off by 0.3 px."""
    street = make_street(6, cameras, num_points=30, turn_rad=0.003)
    return make_drive(street, DriveOptions(noise_px=0.3, has_odometry=has_odometry))


def mapped(clusters, **options):
    stage = MappingStage(override(Config(), {f"mapping.{k}": v for k, v in options.items()}))
    for cluster in clusters:
        stage.push(replace(cluster, segmentations=()))
    return stage, stage.finish()


def errors_m(full, street):
    """Distance of each position from the truth after alignment at the first pose."""
    T = full.trajectory.T_map_base
    to_truth = street.T_world_base[0] @ transforms.invert(T[0])
    return np.linalg.norm((to_truth @ T - street.T_world_base)[:, :3, 3], axis=1)


def with_fixes(clusters, street, shifts):
    """Add noisy fixes, two a second, with shifts (m,) by fix, east and north."""
    rng = np.random.default_rng(3)
    fixes = []
    for n, k in enumerate(range(0, len(street.T_world_base), 5)):
        enu = street.T_world_base[k][:3, 3] + SIGMA_M * rng.standard_normal(3)
        enu[:2] += shifts.get(n, (0.0, 0.0))
        lat, lon, alt = enu_to_geodetic(enu, ORIGIN)[0]
        fixes.append(Fix(int(street.stamps_ns[k]), lat, lon, alt, np.eye(3) * SIGMA_M**2))
    out = []
    for c in clusters:
        mine = tuple(f for f in fixes if f.stamp_ns <= c.frames[-1].stamp_ns)
        fixes = fixes[len(mine) :]
        out.append(replace(c, fixes=mine))
    return out


def test_finish_drive_without_faults_has_nothing_to_report():
    made = drive()
    stage, full = mapped(with_fixes(made.clusters, made.street, {}))
    assert stage.remarks == ()
    assert full.counts["fixes_gated"] == 0
    assert full.counts["fixes_used"] == 24
    assert full.counts["odometry_slips"] == full.counts["mounting_errors"] == 0


@pytest.mark.parametrize("bad", [(0,), (10, 11, 12)])
def test_finish_jump_of_gnss_by_50_m_is_gated_reported_and_harmless(bad):
    made = drive()
    shifts = dict.fromkeys(bad, (30.0, 40.0))
    stage, full = mapped(with_fixes(made.clusters, made.street, shifts))
    clean, good = mapped(with_fixes(made.clusters, made.street, {}))
    assert full.counts["fixes_gated"] == len(bad)
    assert f"{len(bad)} of 24 GNSS fixes contradict the track" in stage.remarks[0]
    # ENU starts at the first fix that is believed, which is as noisy as any
    first = np.array([0.0, 0.0, 0.0])
    if bad == (0,):
        assert full.origin != good.origin
        first = np.mean(
            full.trajectory.T_map_base[:, :3, 3] - good.trajectory.T_map_base[:, :3, 3], axis=0
        )
        assert np.linalg.norm(first[:2]) < 6.0
    moved = full.trajectory.T_map_base[:, :3, 3] - good.trajectory.T_map_base[:, :3, 3] - first
    # one to three fixes of 0.3 m less of twenty-four
    assert np.linalg.norm(moved, axis=1).max() < 0.25


def test_finish_wheels_that_slip_are_reported_and_do_not_stretch_the_map():
    made = drive()
    clusters = []
    for c in made.clusters:
        stamps = [f.stamp_ns for f in c.frames]
        slipping = made.street.stamps_ns[[50, 60]]
        odometry = []
        for r in c.odometry:
            T = r.T_i_j.copy()
            if slipping[0] <= stamps[r.frame_i] < slipping[1]:
                T[0, 3] += 1.0
            odometry.append(replace(r, T_i_j=T))
        clusters.append(replace(c, odometry=tuple(odometry)))
    stage, full = mapped(clusters)
    assert full.counts["odometry_slips"] == 1
    assert (
        "odometry tells 5.0 m more than the pictures between 5.0 s and 6.0 s" in stage.remarks[0]
    )
    assert errors_m(full, made.street).max() < 0.15


@pytest.mark.parametrize(
    ("angle_deg", "refine_extrinsics"), [(1.0, True), (-1.0, True), (1.0, False)]
)
def test_finish_camera_turned_by_a_degree_is_reported_and_turned_back(
    monkeypatch, angle_deg, refine_extrinsics
):
    calls, refine = [], stage_module.refine_map
    monkeypatch.setattr(
        stage_module, "refine_map", lambda *given: (calls.append(1), refine(*given))[1]
    )
    made = drive()
    cameras = list(made.street.rig.cameras)
    R = transforms.exp([0, 0, np.deg2rad(angle_deg), 0, 0, 0])[:3, :3]
    T = cameras[0].T_base_cam
    wrong = replace(cameras[0], T_base_cam=transforms.rigid(R @ T[:3, :3], T[:3, 3]))
    rig = replace(made.street.rig, cameras=(wrong, *cameras[1:]))
    stage, full = mapped(
        [replace(c, rig=rig) for c in made.clusters], refine_extrinsics=refine_extrinsics
    )
    assert full.counts["mounting_errors"] == 1
    # What a turned camera has bent is too far off for one adjustment.
    assert len(calls) == (2 if refine_extrinsics else 1)
    (remark,) = [r for r in stage.remarks if "mounting of left is off" in r]
    assert remark.endswith("; corrected" if refine_extrinsics else "; not corrected")
    told_deg = float(re.search(r"off by ([-+][\d.]+) deg about z", remark)[1])
    # scatter between stretches of these 60 m: about 0.1 deg
    assert told_deg == pytest.approx(-angle_deg, abs=0.2)
    worst = errors_m(full, made.street).max()
    # 60 m at what is left of the angle; two cameras at odds bend the way by a degree or so
    assert worst < 0.3 if refine_extrinsics else worst > 0.5


def test_finish_turned_camera_without_odometry_leaves_the_metres_in_doubt():
    made = drive(STEREO, has_odometry=False)
    cameras = list(made.street.rig.cameras)
    T = cameras[0].T_base_cam
    R = transforms.exp([0, np.deg2rad(1.0), 0, 0, 0, 0])[:3, :3]
    cameras[0] = replace(cameras[0], T_base_cam=transforms.rigid(R @ T[:3, :3], T[:3, 3]))
    rig = replace(made.street.rig, cameras=tuple(cameras))
    stage, _ = mapped([replace(c, rig=rig) for c in made.clusters])
    assert any("mounting of" in r for r in stage.remarks)
    assert any("metres" in r and "may be wrong" in r for r in stage.remarks)
    assert mapped(made.clusters)[0].remarks == ()


@pytest.mark.parametrize("is_turned", [True, False])
def test_compare_metres_of_turned_cameras_give_way_to_the_odometrys(monkeypatch, is_turned):
    stage = MappingStage(Config())
    for cluster in drive(SINGLE).clusters:
        stage.push(replace(cluster, segmentations=()))
    state = stage._state
    error = MountError((0,), (), np.array([0.0, 0.0, 0.01]), 0.001)
    monkeypatch.setattr(
        sensor_check, "find_mount_errors", lambda state: (error,) if is_turned else ()
    )
    check = sensor_check.SensorCheck(MappingConfig())
    check.check(state)
    state.transform(np.diag([1.1, 1.1, 1.1, 1.0]), 1.1)
    check.compare(state, odometry_scale(state))
    assert odometry_scale(state) == pytest.approx(1.0 if is_turned else 1.1, rel=0.02)
    said = "the map has the odometry's metres" if is_turned else "check its wheel radius"
    assert said in check.remarks[-1]


def test_finish_odometry_of_wrong_wheels_is_reported():
    made = drive(STEREO)
    clusters = [
        replace(
            c,
            odometry=tuple(
                replace(r, T_i_j=transforms.rigid(r.T_i_j[:3, :3], 1.1 * r.T_i_j[:3, 3]))
                for r in c.odometry
            ),
        )
        for c in made.clusters
    ]
    stage, full = mapped(clusters)
    assert full.counts["odometry_slips"] == 0
    assert any("odometry tells 10 % more way" in r for r in stage.remarks)


def unscaled(scale):
    """Clusters of one camera without odometry, in a unit of its own, on a road with texture."""
    street = make_street(6, SINGLE, num_points=30, turn_rad=0.003)
    rng = np.random.default_rng(0)
    road = np.c_[rng.uniform(2, 66, 300), rng.uniform(-3, 3, 300), np.zeros(300)]
    object.__setattr__(street, "points", np.concatenate([street.points, road]))
    made = make_drive(street, DriveOptions(noise_px=0.2, has_odometry=False))
    clusters = []
    mount = street.rig.cameras[0].T_base_cam[:3, 3]
    for c in made.clusters:
        frames = []
        for f in c.frames:
            T = f.T_local_base.copy()
            T[:3, 3] = scale * (T[:3, 3] + T[:3, :3] @ mount) - T[:3, :3] @ mount
            frames.append(replace(f, T_local_base=T))
        landmarks = replace(c.landmarks, points_local=scale * c.landmarks.points_local)
        clusters.append(replace(c, scale="unknown", frames=tuple(frames), landmarks=landmarks))
    return street, clusters


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_finish_one_camera_alone_takes_its_scale_from_its_height(scale):
    street, clusters = unscaled(scale)
    stage, full = mapped(clusters, camera_height_m=1.6)
    assert full.scale == "metric"
    assert any("scale from the camera's height of 1.60 m" in r for r in stage.remarks)
    way = [
        np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1).sum()
        for T in (full.trajectory.T_map_base, street.T_world_base)
    ]
    assert way[0] == pytest.approx(way[1], rel=0.02)


def test_finish_one_camera_alone_says_that_its_scale_is_unknown():
    _, clusters = unscaled(0.3)
    stage, full = mapped(clusters)
    assert full.scale == "unknown"
    assert stage.remarks == ()


@pytest.mark.parametrize("is_turned", [True, False])
def test_check_camera_that_is_turned_back_gives_the_map_its_odometrys_metres(
    monkeypatch, is_turned
):
    # A turn between cameras that overlap made the map a tenth too large.
    stage = MappingStage(Config())
    for cluster in drive(SINGLE).clusters:
        stage.push(replace(cluster, segmentations=()))
    state = stage._state
    state.transform(np.diag([1.1, 1.1, 1.1, 1.0]), 1.1)
    before = odometry_scale(state)
    assert before == pytest.approx(1.1, rel=0.02)
    error = MountError((0,), (), np.array([0.0, 0.0, 0.01]), 0.001)
    monkeypatch.setattr(
        sensor_check, "find_mount_errors", lambda state: (error,) if is_turned else ()
    )
    check = sensor_check.SensorCheck(MappingConfig())
    check.check(state)
    assert odometry_scale(state) == pytest.approx(1.0 if is_turned else before, rel=1e-3)
    assert check.has_turned_cameras == is_turned
