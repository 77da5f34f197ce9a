"""Models of COLMAP read as clusters, written from a map, and laid onto one."""

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pycolmap
import pytest
from full_disk import no_room_beyond
from landmark_drive_maker import RIG, STEP_M, Drive, facades, line

from seg2d3d_ros.accounts import RunReport
from seg2d3d_ros.clusters.descriptors import describe
from seg2d3d_ros.config import ClustersConfig, Config, to_tree
from seg2d3d_ros.errors import InputError, ResultError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.geometry.transforms import R_BODY_OPTICAL
from seg2d3d_ros.io.colmap_alignment import align_model, report_with
from seg2d3d_ros.io.colmap_export import write_colmap, write_pictures
from seg2d3d_ros.io.colmap_model import clusters_of, described, read_colmap
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.types import Frame

CONFIG = Config()
SCALE = 0.2


def mapped(drive, route):
    state = MapState()
    for cluster in drive.clusters(route):
        state.add(cluster, np.eye(4))
    return state


@pytest.fixture(scope="module")
def street():
    """Corners along 60 m, and the 40 m of it that a second drive sees."""
    route = line(60.0)
    points, looks = facades(route, np.random.default_rng(2))
    return route, points, looks, [r.copy() for r in route[12:45]]


@pytest.fixture(scope="module")
def written(street, tmp_path_factory):
    """A model of that second drive in a world and unit of its own, written by COLMAP's writer."""
    _, points, looks, route = street
    drive = Drive(points, looks, seed=8, stamp=1_700_000_000_000_000_000)
    folder = tmp_path_factory.mktemp("model")
    assert write_colmap(mapped(drive, route), folder).startswith("33 pictures, ")
    found = pycolmap.Reconstruction(str(folder))
    turned = pycolmap.Rotation3d(transforms.exp([0.3, -0.2, 1.1, 0, 0, 0])[:3, :3])
    found.transform(pycolmap.Sim3d(SCALE, turned, np.array([3.0, -1.0, 2.0])))
    found.write(str(folder))
    return folder, drive


def looking(model, drive, folder):
    """The model with the looks that its points have in the street."""
    found = pycolmap.Reconstruction(str(folder))
    ids = np.array(sorted(found.point3D_ids()))
    rows = np.array([drive.landmark_of[int(i) - 1] for i in ids])
    assert len(ids) == len(model.landmarks.ids)
    return replace(model, landmarks=replace(model.landmarks, descriptors=drive.descriptors[rows]))


def test_read_colmap_metric_rig_gives_back_what_was_written(street, tmp_path):
    _, points, looks, route = street
    drive = Drive(points, looks, seed=8, stamp=1_700_000_000_000_000_000)
    state = mapped(drive, route)
    write_colmap(state, tmp_path)
    model = read_colmap(tmp_path, is_metric=True)
    assert [f.stamp_ns for f in model.frames] == [f.stamp_ns for f in state.frames]
    for f, g in zip(model.frames, state.frames, strict=True):
        np.testing.assert_allclose(f.T_local_base, g.T_world_base, atol=1e-9)
    (camera,) = model.rig.cameras
    np.testing.assert_allclose(camera.T_base_cam, RIG.cameras[0].T_base_cam, atol=1e-9)
    np.testing.assert_allclose(camera.K, RIG.cameras[0].K, atol=1e-12)
    seen, first = model.observations, state.frames[0]
    rows = seen.frame == 0
    # what a frame saw of landmarks seen again: the very pixels, half a pixel taken back
    told = {tuple(np.round(uv, 3)) for uv in seen.uv_px[rows].tolist()}
    assert told <= {tuple(np.round(uv, 3)) for uv in first.uv_px.tolist()}
    assert len(told) > 0.8 * len(first.ids)
    # 0.3 px of noise at 320 px focal: points that several see are known to some per cent
    sigma = model.landmarks.sigma_m
    assert np.isfinite(sigma).mean() > 0.9
    assert 0.01 < np.median(sigma) < 3.0


def test_read_colmap_without_metres_gives_each_picture_a_pose_of_its_camera(written):
    model = read_colmap(written[0])
    found = pycolmap.Reconstruction(str(written[0]))
    (camera,) = model.rig.cameras
    np.testing.assert_allclose(camera.T_base_cam[:3, :3], R_BODY_OPTICAL)
    np.testing.assert_array_equal(camera.T_base_cam[:3, 3], 0.0)
    for f, name in zip(model.frames, model.files, strict=True):
        center = found.find_image_with_name(name).projection_center()
        np.testing.assert_allclose(f.T_local_base[:3, 3], center, atol=1e-9)
    step = np.diff([f.T_local_base[:3, 3] for f in model.frames], axis=0)
    np.testing.assert_allclose(np.linalg.norm(step, axis=1), SCALE * STEP_M, rtol=1e-6)
    # base_link looks ahead where the camera looks
    ahead = np.stack([f.T_local_base[:3, 0] for f in model.frames[:-1]])
    np.testing.assert_allclose(ahead, step / np.linalg.norm(step, axis=1)[:, None], atol=1e-6)


def renamed(folder, out, name_of):
    found = pycolmap.Reconstruction(str(folder))
    for n, i in enumerate(sorted(found.reg_image_ids())):
        found.image(i).name = name_of(n)
    out.mkdir()
    found.write(str(out))
    return out


def test_read_colmap_pictures_without_time_are_numbered_and_it_says_so(written, tmp_path):
    model = read_colmap(renamed(written[0], tmp_path / "m", lambda n: f"frame_{n:04d}.jpg"))
    assert [c.name for c in model.rig.cameras] == ["camera_1"]
    assert np.unique(np.diff([f.stamp_ns for f in model.frames])).tolist() == [100_000_000]
    assert any("tell no time" in r for r in model.rig.remarks)
    assert not any("tell no time" in r for r in read_colmap(written[0]).rig.remarks)


def test_read_colmap_seconds_in_names_are_stamps(written, tmp_path):
    model = read_colmap(
        renamed(written[0], tmp_path / "m", lambda n: f"cam/left/{1700000000 + n}.250000.png")
    )
    assert model.frames[3].stamp_ns == 1_700_000_003_250_000_000
    assert [c.name for c in model.rig.cameras] == ["cam_left"]


def test_read_colmap_folder_without_model_says_what_is_needed(tmp_path):
    with pytest.raises(InputError, match="cameras, images and points3D"):
        read_colmap(tmp_path)


def test_read_colmap_model_without_pictures_is_refused(tmp_path):
    pycolmap.Reconstruction().write(str(tmp_path))
    with pytest.raises(InputError, match="registered"):
        read_colmap(tmp_path)


def test_clusters_of_overlap_and_share_their_landmarks(written):
    model = read_colmap(written[0])
    clusters = clusters_of(model, ClustersConfig())
    assert [len(c.frames) for c in clusters] == [20, 20, 9]
    assert [c.num_overlap for c in clusters] == [0, 8, 8]
    assert [c.is_last for c in clusters] == [False, False, True]
    assert {c.scale for c in clusters} == {"unknown"}
    a, b = clusters[:2]
    assert [f.stamp_ns for f in a.frames[-8:]] == [f.stamp_ns for f in b.frames[:8]]
    assert len(np.intersect1d(a.landmarks.ids, b.landmarks.ids)) > 100
    # every observation of every frame, at the landmark it was of
    for c in clusters:
        where = c.landmarks.points_local[c.observations.landmark]
        whole = model.observations
        first = [f.stamp_ns for f in model.frames].index(c.frames[0].stamp_ns)
        rows = (whole.frame >= first) & (whole.frame < first + len(c.frames))
        np.testing.assert_array_equal(where, model.landmarks.points_local[whole.landmark[rows]])


def test_described_looks_are_those_of_our_landmarks(written, tmp_path):
    model = read_colmap(written[0])
    rng, camera = np.random.default_rng(0), model.rig.cameras[0]
    gray = cv2.GaussianBlur(rng.integers(0, 255, (480, 640), dtype=np.uint8), (0, 0), 2.0)
    for name in model.files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), gray)
    found = described(model, tmp_path)
    seen = model.observations
    depth = np.linalg.norm(
        model.landmarks.points_local[seen.landmark]
        - np.stack([f.T_local_base[:3, 3] for f in model.frames])[seen.frame],
        axis=1,
    )
    # half a metre of facade, if half of what is seen lies within twenty metres
    size = camera.K[0, 0] * 0.5 * (np.median(depth) / 20.0) / depth
    rows = np.flatnonzero(seen.frame == 0)
    told = describe(cv2.SIFT.create(), gray, seen.uv_px[rows].astype(float), size[rows])
    good = told.any(axis=1)
    assert good.sum() > 50
    np.testing.assert_array_equal(
        found.landmarks.descriptors[seen.landmark[rows[good]]], told[good]
    )
    assert found.landmarks.descriptors.any(axis=1).mean() > 0.9


def test_described_picture_missing_or_of_another_size_is_named(written, tmp_path):
    model = read_colmap(written[0])
    with pytest.raises(InputError, match="cannot read the picture .* if --recording was given"):
        described(model, tmp_path)
    (tmp_path / model.files[0]).parent.mkdir()
    cv2.imwrite(str(tmp_path / model.files[0]), np.zeros((10, 20), np.uint8))
    with pytest.raises(InputError, match="20x10 pixels; its camera has 640x480"):
        described(model, tmp_path)


@pytest.fixture(scope="module")
def aligned(street, written):
    route, points, looks, _ = street
    stage = MappingStage(CONFIG)
    for cluster in Drive(points, looks, seed=1).clusters(route):
        stage.push(replace(cluster, is_last=False))
    model = looking(read_colmap(written[0]), written[1], written[0])
    return stage, model, align_model(stage, model, CONFIG)


def test_align_model_finds_place_and_unit(street, aligned):
    stage, model, found = aligned
    # landmarks are exact, pixels noisy by 0.3 px: a hundred of them tell the unit to a per mille
    assert found.scale == pytest.approx(1.0 / SCALE, rel=5e-3)
    assert found.num_loops >= 5
    assert found.num_merged > 100
    assert found.residual_m < 0.05
    assert found.full.scale == "metric"
    assert found.counts["parts"] == 1
    true = np.stack(street[3])[:, :3, 3] + RIG.cameras[0].T_base_cam[:3, 3]
    told = np.stack([f.T_world_base[:3, 3] for f in stage.state.frames[-len(model.frames) :]])
    assert np.linalg.norm(told - true, axis=1).max() < 0.15
    # the map it was laid onto stays where it was
    before = np.stack([f.T_world_base for f in stage.state.frames[: len(street[0])]])
    assert np.linalg.norm((before - np.stack(street[0]))[:, :3, 3], axis=1).max() < 0.1


def test_report_with_counts_the_pictures_of_the_model(aligned, written):
    _, model, found = aligned
    report = RunReport("drive", "labels", {}, {}, {"x": 1.0}, 1.0, 1.0, 1.0, to_tree(CONFIG))
    told = report_with(report, model, found, written[0])
    assert (told.frames["front"].received, told.frames["front"].processed) == (33, 33)
    assert told.counts["x"] == 1.0
    assert told.counts["join_residual_m"] == found.residual_m
    assert "33 keyframes" in told.remarks[-1]


def test_align_model_of_another_street_is_refused(street, written):
    route, _, _, _ = street
    stage = MappingStage(CONFIG)
    points, looks = facades(route, np.random.default_rng(99))
    for cluster in Drive(points, looks, seed=1).clusters(route):
        stage.push(replace(cluster, is_last=False))
    model = looking(read_colmap(written[0]), written[1], written[0])
    with pytest.raises(InputError, match="three that agree are needed"):
        align_model(stage, model, CONFIG)


def test_write_colmap_points_reproject_to_where_they_were_seen(written):
    found = pycolmap.Reconstruction(str(written[0]))
    errors = []
    for i in found.reg_image_ids():
        image = found.image(i)
        seen = [p for p in image.points2D if p.has_point3D()]
        told = np.array([image.project_point(found.point3D(p.point3D_id).xyz) for p in seen])
        errors.append(np.linalg.norm(told - np.array([p.xy for p in seen]), axis=1))
    # two axes of 0.3 px
    assert np.sqrt(np.mean(np.concatenate(errors) ** 2)) == pytest.approx(0.42, abs=0.03)


def test_write_colmap_without_room_on_the_disk_says_so(street, tmp_path):
    _, points, looks, route = street
    state = mapped(Drive(points, looks, seed=8, stamp=1_700_000_000_000_000_000), route)
    with no_room_beyond(2_000), pytest.raises(ResultError, match="is the disk full"):
        write_colmap(state, tmp_path)


def test_write_colmap_empty_map_is_refused(tmp_path):
    with pytest.raises(ResultError, match="no landmarks"):
        write_colmap(MapState(), tmp_path)


def test_write_pictures_writes_those_of_the_keyframes(street, tmp_path):
    _, points, looks, route = street
    state = mapped(Drive(points, looks), route)
    stamps = [f.stamp_ns for f in state.frames]
    items = [Frame("front", s + d, np.zeros((8, 8), np.uint8)) for s in stamps for d in (0, 7)]
    assert write_pictures(state, items, tmp_path) == len(stamps)
    assert {int(p.stem) for p in (tmp_path / "front").iterdir()} == set(stamps)
    others = [Frame("front", s + 7, np.zeros((8, 8), np.uint8)) for s in stamps]
    with pytest.raises(InputError, match=f"none of the {len(stamps)} pictures"):
        write_pictures(state, others, tmp_path / "others")


def test_read_colmap_of_a_workspace_finds_the_model_in_sparse(written, tmp_path):
    shutil.copytree(written[0], tmp_path / "sparse" / "0")
    assert read_colmap(tmp_path).files == read_colmap(written[0]).files
