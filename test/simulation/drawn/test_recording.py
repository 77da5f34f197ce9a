import dataclasses
from collections import Counter

import drive_maker
import numpy as np
import pytest

from seg2d3d_ros.errors import InputError
from seg2d3d_ros.evaluation import read_truth
from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.simulation import SimulationOptions
from seg2d3d_ros.simulation.drawn.recording import record
from seg2d3d_ros.types import Fix, Frame, LabelImage, Odometry

EXACT = {"mask_noise": 0.0, "min_mask_px": 30, "gnss": True, "gnss_rate_hz": 5.0}


@pytest.fixture(scope="module")
def exact(tmp_path_factory, survey, drawing):
    out = tmp_path_factory.mktemp("exact")
    summary = record(survey, drawing, out, SimulationOptions(**EXACT))
    return out, summary, list(open_source(out / "bag")), read_truth(out / "truth")


def of(items, kind):
    return [i for i in items if isinstance(i, kind)]


def test_record_pictures_and_calibration_are_those_of_the_drive(exact, survey):
    out, summary, items, _ = exact
    given = {(f.camera, f.stamp_ns): f.image for f, _ in survey.frames()}
    found = {(f.camera, f.stamp_ns): f.image for f in of(items, Frame)}
    assert given.keys() == found.keys() and summary.num_pictures == len(given)
    assert all((found[key] == given[key]).all() for key in given)
    for camera in open_source(out / "bag").rig.cameras:
        same = survey.camera(camera.name)
        np.testing.assert_allclose(camera.K, same.K)
        np.testing.assert_allclose(camera.T_base_cam, same.T_base_cam, atol=1e-9)


def test_record_odometry_is_that_of_the_drive(exact, survey):
    given = {o.stamp_ns: o.T_odom_base for o in of(survey.source, Odometry)}
    found = of(exact[2], Odometry)
    assert len(found) == drive_maker.NUM_PICTURES
    for o in found:
        np.testing.assert_allclose(o.T_odom_base, given[o.stamp_ns], atol=1e-9)


def test_record_without_mask_noise_every_mask_has_one_owner(exact):
    *_, truth = exact
    assert set(truth.masks.share_building.tolist()) == {1, 2, 3, 4}
    assert truth.masks.share.min() == pytest.approx(1.0)
    of_picture = Counter((s, c) for s, c, _ in truth.masks.keys)
    assert max(of_picture.values()) <= 4


def test_record_masks_lie_on_the_pixels_of_their_house(exact):
    _, _, items, truth = exact
    images = {(f.camera, f.stamp_ns): f.image for f in of(items, Frame)}
    labels = {(i.camera, i.stamp_ns): i.labels for i in of(items, LabelImage)}
    assert labels.keys() == images.keys()
    for (stamp_ns, camera, label), house in zip(
        truth.masks.keys, truth.masks.building.tolist(), strict=True
    ):
        under = images[camera, stamp_ns][labels[camera, stamp_ns] == label]
        assert (under == drive_maker.BGR[house]).all(axis=1).mean() > 0.85


def test_record_trajectory_and_visible_are_of_the_pictures(exact, survey):
    _, summary, items, truth = exact
    stamps = sorted({f.stamp_ns for f in of(items, Frame)})
    assert truth.trajectory.stamps_ns.tolist() == stamps
    np.testing.assert_allclose(truth.trajectory.T_world_body, survey.poses(stamps), atol=1e-6)
    assert truth.origin == drive_maker.ORIGIN
    assert {b for _, _, b in truth.visible} == {1, 2, 3, 4}
    assert summary.path_length_m == pytest.approx(8.0 * 1.5, rel=0.01)
    assert summary.num_buildings == 4


def test_record_fixes_scatter_around_the_truth_as_asked(tmp_path, survey, drawing):
    options = SimulationOptions(
        gnss=True, gnss_rate_hz=20.0, gnss_sigma_m=0.6, labels=False, seed=3
    )
    record(survey, drawing, tmp_path, options)
    fixes = of(open_source(tmp_path / "bag"), Fix)
    from seg2d3d_ros.geometry.geodesy import geodetic_to_enu

    places = geodetic_to_enu(
        np.array([[f.lat_deg, f.lon_deg, f.alt_m] for f in fixes]), drive_maker.ORIGIN
    )
    error = places - survey.poses([f.stamp_ns for f in fixes])[:, :3, 3]
    # 25 and more fixes: their spread lies within 40 % of sigma by more than 4 sigma
    assert len(fixes) >= 25
    assert np.abs(error[:, :2].std(axis=0) / 0.6 - 1).max() < 0.4
    assert np.abs(error[:, 2].std() / 1.2 - 1) < 0.4


def test_record_faults_of_masks_come_as_asked(tmp_path, survey, drawing):
    options = SimulationOptions(missed=0.7, split=0.0, merged=0.0, min_mask_px=30)
    record(survey, drawing, tmp_path / "missed", options)
    num_left = len(read_truth(tmp_path / "missed" / "truth").masks.keys)
    # about 120 draws: 0.3 of them within five sigma
    assert 0.1 < num_left / (2 * drive_maker.NUM_PICTURES * 4) < 0.5
    options = SimulationOptions(missed=0.0, split=1.0, merged=0.0, min_mask_px=5, holes=0.0)
    record(survey, drawing, tmp_path / "split", options)
    masks = read_truth(tmp_path / "split" / "truth").masks
    num = Counter((s, c, b) for (s, c, _), b in zip(masks.keys, masks.building, strict=True))
    assert np.mean(list(num.values())) > 1.8


def test_record_twice_gives_the_same_bytes(tmp_path, survey, drawing):
    for name in ("a", "b"):
        record(survey, drawing, tmp_path / name, SimulationOptions(seed=4, gnss=True))
    for file in sorted((tmp_path / "a").rglob("*")):
        if file.is_file():
            assert (
                file.read_bytes()
                == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()
            )


def test_record_pictures_outside_the_drawing_stay_out(tmp_path, survey, drawing):
    start = drive_maker.START_NS
    part = dataclasses.replace(drawing, pictures_ns=(start + 300_000_000, start + 700_000_000))
    summary = record(survey, part, tmp_path, SimulationOptions())
    assert summary.num_pictures == 2 * 5
    never = dataclasses.replace(drawing, pictures_ns=(0, 1))
    with pytest.raises(InputError, match="is it the drive that was drawn"):
        record(survey, never, tmp_path / "never", SimulationOptions())
    assert not (tmp_path / "never").exists()


def test_record_into_a_recording_raises(exact, survey, drawing):
    with pytest.raises(InputError, match="exists already"):
        record(survey, drawing, exact[0], SimulationOptions())


def test_record_dropped_pictures_are_counted_and_missing(tmp_path, survey, drawing):
    summary = record(survey, drawing, tmp_path, SimulationOptions(dropped=0.5, labels=False))
    num = 2 * drive_maker.NUM_PICTURES
    assert summary.num_pictures + summary.num_dropped == num
    assert 4 <= summary.num_dropped <= 28
    assert len(of(open_source(tmp_path / "bag"), Frame)) == summary.num_pictures
