import hashlib

import cv2
import numpy as np
import pytest

from seg2d3d_ros.errors import ConfigError, InputError
from seg2d3d_ros.geometry import cameras, transforms
from seg2d3d_ros.simulation import SimulationOptions, simulate
from seg2d3d_ros.simulation.rig import build_rig
from seg2d3d_ros.types import Camera

CAMERAS = ("camera_front_left", "camera_front_right")
BARE = SimulationOptions(
    length_m=10.0, cameras="front", rate_hz=2.0, width_px=64, height_px=64, texture_px_per_m=4.0
)


def pictures(recording, camera):
    return [
        m.data.reshape(m.height, m.width, 3) for m in recording.messages[f"/{camera}/image_raw"]
    ]


def labels_of(recording, camera):
    return [
        m.data.view(np.uint16).reshape(m.height, m.width)
        for m in recording.messages[f"/{camera}/labels"]
    ]


# ----------------------------------------------------------------------------------------- the bag


def test_simulate_writes_the_topics_of_the_design(two_cameras):
    expected = {"/tf_static": "tf2_msgs/msg/TFMessage", "/odom": "nav_msgs/msg/Odometry"}
    for camera in CAMERAS:
        expected[f"/{camera}/image_raw"] = "sensor_msgs/msg/Image"
        expected[f"/{camera}/labels"] = "sensor_msgs/msg/Image"
        expected[f"/{camera}/camera_info"] = "sensor_msgs/msg/CameraInfo"
    assert two_cameras.types == expected
    num = {topic: len(two_cameras.messages[topic]) for topic in expected if "camera" in topic}
    assert set(num.values()) == {two_cameras.summary.num_pictures // 2}


def test_simulate_log_times_increase_and_lie_after_the_stamps(two_cameras):
    assert two_cameras.log_ns == sorted(two_cameras.log_ns)
    late = [log for topic, log, _ in two_cameras.raw if topic == "/camera_front_left/image_raw"]
    delays = np.subtract(late, two_cameras.stamps_ns("/camera_front_left/image_raw"))
    assert delays.min() > 0
    assert len(set(delays)) > 5


def test_simulate_cameras_fire_together_at_the_rate(two_cameras):
    left, right = (two_cameras.stamps_ns(f"/{c}/image_raw") for c in CAMERAS)
    assert left == right == two_cameras.stamps_ns("/camera_front_left/labels")
    assert set(np.diff(left)) == {100_000_000}


def test_simulate_camera_info_and_tf_describe_the_rig(two_cameras):
    rig = build_rig(SimulationOptions(width_px=320, height_px=192))
    frames = {t.child_frame_id: t for t in two_cameras.messages["/tf_static"][0].transforms}
    for camera in rig.cameras:
        info = two_cameras.messages[f"/{camera.name}/camera_info"][0]
        assert (info.width, info.height, info.distortion_model) == (320, 192, "plumb_bob")
        np.testing.assert_array_equal(info.k.reshape(3, 3), camera.K)
        np.testing.assert_array_equal(info.p.reshape(3, 4)[:, :3], camera.K)
        assert not info.d.any()
        sent = frames[info.header.frame_id]
        assert sent.header.frame_id == "base_link"
        q, t = sent.transform.rotation, sent.transform.translation
        T = transforms.from_quaternion([q.x, q.y, q.z, q.w], [t.x, t.y, t.z])
        np.testing.assert_allclose(T, camera.T_base_cam, atol=1e-12)


def test_simulate_pictures_look_like_pictures(two_cameras):
    for camera in CAMERAS:
        for image in pictures(two_cameras, camera)[::9]:
            assert 60 < image.mean() < 190
            assert image.std() > 25
            corners = cv2.goodFeaturesToTrack(
                cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), 300, 0.01, 5
            )
            assert len(corners) > 80


def test_simulate_labels_start_at_one_and_know_the_sky(two_cameras):
    for camera in CAMERAS:
        for labels in labels_of(two_cameras, camera):
            for class_id in (11, 21, 26):
                numbers = np.unique(labels[labels // 1000 == class_id]) % 1000
                assert list(numbers) == list(range(1, len(numbers) + 1))
            assert set(np.unique(labels[labels < 1000])) <= {0, 7, 8, 13, 17, 22, 23}
            assert 0.05 < (labels == 23).mean() < 0.5


def test_simulate_odometry_is_the_truth_but_for_its_noise(record):
    recording = record(seed=1, cameras="front", odometry_noise=0.0, labels=False, rate_hz=4.0)
    stamps, truth = recording.trajectory()
    odometry = dict(zip(recording.stamps_ns("/odom"), recording.messages["/odom"], strict=True))
    assert recording.messages["/odom"][0].child_frame_id == "base_link"
    shared = [
        (odometry[s].pose.pose.position, row)
        for s, row in zip(stamps, truth, strict=True)
        if s in odometry
    ]
    assert len(shared) > 8
    for position, row in shared:
        # rolling and pitching, which wheels do not see, move base_link by millimetres
        np.testing.assert_allclose([position.x, position.y], row[:2], atol=0.02)
    speeds = [m.twist.twist.linear.x for m in recording.messages["/odom"]]
    assert np.mean(speeds) == pytest.approx(20.0 / recording.summary.duration_s, rel=0.1)


# --------------------------------------------------------------------------------------- the truth


def test_truth_trajectory_has_every_published_stamp_and_starts_at_the_origin(two_cameras):
    stamps, poses = two_cameras.trajectory()
    assert stamps == two_cameras.stamps_ns("/camera_front_left/image_raw")
    np.testing.assert_allclose(poses[0], [0, 0, 0, 0, 0, 0, 1], atol=1e-9)
    travelled = np.linalg.norm(np.diff(poses[:, :3], axis=0), axis=1).sum()
    assert two_cameras.json("truth.json")["path_length_m"] == pytest.approx(20.0, rel=0.01)
    assert 0.95 * 20 < travelled <= 20.05


def test_truth_points_project_into_the_masks_of_their_building(record):
    recording = record(seed=6, cameras="front", mask_noise=0.0, rate_hz=2.0, trees_per_100m=0.0,
                       parked_per_100m=0.0, moving_cars=0)  # fmt: skip
    options = SimulationOptions(cameras="front", width_px=320, height_px=192)
    camera: Camera = build_rig(options).cameras[0]
    points, instances = recording.points()
    stamps, poses = recording.trajectory()
    owner = {
        (int(r["stamp_ns"]), int(r["label"])): int(r["building_id"])
        for r in recording.rows("masks.csv")
    }
    hits = total = 0
    for stamp, row, labels in zip(
        stamps, poses, labels_of(recording, "camera_front"), strict=True
    ):
        T_cam_map = transforms.invert(
            transforms.from_quaternion(row[3:], row[:3]) @ camera.T_base_cam
        )
        points_cam = transforms.apply(T_cam_map, points)
        uv_px, inside = cameras.project(camera, points_cam)
        near = inside & (points_cam[:, 2] < 15)
        seen = labels[tuple(np.rint(uv_px[near]).astype(int).T[::-1])]
        found = np.array([owner.get((stamp, int(label)), 0) for label in seen])
        hits, total = hits + int((found == instances[near]).sum()), total + int(near.sum())
    assert total > 5000
    # what remains are points behind another house, post or hedge, and the two pixels of an edge
    assert hits / total > 0.9


def test_truth_masks_and_visible_agree_without_noise(record):
    recording = record(seed=2, cameras="front", mask_noise=0.0, rate_hz=2.0)
    (labels, *_), first = labels_of(recording, "camera_front"), recording.trajectory()[0][0]
    visible = {
        int(r["building_id"]): int(r["num_px"])
        for r in recording.rows("visible.csv")
        if int(r["stamp_ns"]) == first
    }
    masks = [r for r in recording.rows("masks.csv") if int(r["stamp_ns"]) == first]
    assert {float(r["share"]) for r in masks} == {1.0}
    sizes = {int(r["building_id"]): int((labels == int(r["label"])).sum()) for r in masks}
    assert sizes == {b: n for b, n in visible.items() if n >= 60}


def test_truth_masks_list_exactly_the_published_building_masks(two_cameras):
    listed = {
        (int(r["stamp_ns"]), r["camera"], int(r["label"])) for r in two_cameras.rows("masks.csv")
    }
    published = set()
    for camera in CAMERAS:
        stamps = two_cameras.stamps_ns(f"/{camera}/labels")
        for stamp, labels in zip(stamps, labels_of(two_cameras, camera), strict=True):
            masks = np.unique(labels[labels // 1000 == 11])
            published |= {(stamp, camera, int(label)) for label in masks}
    assert listed == published


def test_truth_points_lie_on_the_outlines_of_their_buildings(two_cameras):
    from shapely import Point, Polygon

    points, instances = two_cameras.points()
    about = {b["id"]: b for b in two_cameras.json("buildings.json")["buildings"]}
    visible = {int(r["building_id"]) for r in two_cameras.rows("visible.csv")}
    assert 3 < len(set(instances)) <= len(visible)
    assert set(instances) <= visible
    for k in range(0, len(points), 97):
        outline = Polygon(about[instances[k]]["footprint_map"])
        assert outline.buffer(0.4).contains(Point(points[k, :2]))  # eaves overhang by 0.35 m
        top = about[instances[k]]["base_m"] + about[instances[k]]["height_m"] + 1.0  # chimney
        assert about[instances[k]]["base_m"] - 0.01 <= points[k, 2] <= top


def test_truth_points_are_spaced_evenly(two_cameras):
    from scipy.spatial import cKDTree

    points, _ = two_cameras.points()
    nearest = cKDTree(points).query(points, k=2)[0][:, 1]
    assert np.median(nearest) == pytest.approx(0.2, abs=0.01)


# ---------------------------------------------------------------------------- one option at a time


def test_simulate_same_seed_gives_the_same_bytes_and_another_seed_does_not(record):
    options = {"cameras": "front", "length_m": 12.0, "rate_hz": 5.0, "gnss": True, "dropped": 0.2}
    first, again, other = (record(seed=s, **options) for s in (8, 8, 9))
    assert first.raw == again.raw
    assert [r[2] for r in first.raw] != [r[2] for r in other.raw]
    for name in sorted(p.name for p in first.truth.iterdir()):
        digests = [
            hashlib.sha256((r.truth / name).read_bytes()).hexdigest() for r in (first, again)
        ]
        assert digests[0] == digests[1], name


def test_simulate_dropped_pictures_are_in_neither_bag_nor_truth(record):
    recording = record(seed=3, cameras="front", dropped=0.3, length_m=30.0)
    stamps = recording.stamps_ns("/camera_front/image_raw")
    num_all = int(recording.summary.duration_s * 10)
    assert recording.summary.num_dropped == num_all - len(stamps)
    # about 50 pictures: 0.3 +- 0.065
    assert 0.1 < recording.summary.num_dropped / num_all < 0.5
    assert recording.trajectory()[0] == stamps == recording.stamps_ns("/camera_front/labels")
    assert {int(r["stamp_ns"]) for r in recording.rows("visible.csv")} <= set(stamps)


def test_simulate_compressed_sqlite_with_side_camera_decodes_to_the_raw_picture(record):
    options = {
        "seed": 4,
        "cameras": "side",
        "length_m": 12.0,
        "rate_hz": 2.0,
        "distortion": "equidistant",
    }
    raw = record(**options)
    packed = record(**options, compressed=True, storage="sqlite3", jpeg_quality=95)
    assert list((packed.folder / "bag").glob("*.db3"))
    assert list((raw.folder / "bag").glob("*.mcap"))
    messages = packed.messages["/camera_right/image_raw/compressed"]
    assert "/camera_right/image_raw" not in packed.messages
    for message, image in zip(messages, pictures(raw, "camera_right"), strict=True):
        assert message.format == "bgr8; jpeg compressed bgr8"
        decoded = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
        assert np.abs(decoded.astype(int) - image).mean() < 4
    assert packed.messages["/camera_right/camera_info"][0].distortion_model == "equidistant"
    assert len(packed.messages["/camera_right/camera_info"][0].d) == 4


def test_simulate_gnss_map_is_enu_and_fixes_lie_on_the_path(record):
    recording = record(
        seed=1, cameras="front", gnss=True, gnss_sigma_m=0.0, gnss_rate_hz=5.0, labels=False
    )
    import pyproj

    origin = recording.json("truth.json")["origin"]
    to_enu = pyproj.Transformer.from_pipeline(
        "+proj=pipeline +step +proj=cart +ellps=WGS84 +step +proj=topocentric +ellps=WGS84 "
        f"+lat_0={origin['lat_deg']} +lon_0={origin['lon_deg']} +h_0={origin['alt_m']}"
    )
    fixes = recording.messages["/fix"]
    enu = np.array([to_enu.transform(f.longitude, f.latitude, f.altitude) for f in fixes])
    path = recording.trajectory()[1][:, :3]
    offset = np.linalg.norm(enu[:, None, :2] - path[None, :, :2], axis=2).min(axis=1)
    assert offset.max() < 0.6  # the antenna stands 0.4 m behind base_link
    np.testing.assert_allclose(enu[:, 2], 1.75, atol=0.05)
    frames = {t.child_frame_id for t in recording.messages["/tf_static"][0].transforms}
    assert frames == {"camera_front_optical_frame", fixes[0].header.frame_id}


def test_simulate_black_pictures_have_no_masks_and_show_nothing(record):
    recording = record(seed=1, cameras="front", black_from_s=1.0, black_s=0.5)
    images, labels = pictures(recording, "camera_front"), labels_of(recording, "camera_front")
    is_black = np.array([not image.any() for image in images])
    assert list(np.flatnonzero(is_black)) == [10, 11, 12, 13, 14]
    assert all(not labels[k].any() for k in range(10, 15))
    stamps = recording.trajectory()[0]
    assert len(stamps) == len(images)
    shown = {int(r["stamp_ns"]) for r in recording.rows("visible.csv")}
    assert shown == set(np.array(stamps)[~is_black].tolist())


def test_simulate_camera_that_stops_comes_back_when_asked(record):
    recording = record(seed=1, stop_camera="front_left", stop_s=1.0)
    stamps = np.array(recording.stamps_ns("/camera_front_left/image_raw"))
    gaps = np.diff(stamps) / 1e9
    assert gaps.max() == pytest.approx(1.1, abs=0.11)
    assert (gaps > 0.15).sum() == 1
    right = recording.stamps_ns("/camera_front_right/image_raw")
    assert len(right) - len(stamps) in (10, 11)


def test_simulate_later_cameras_and_rare_labels_keep_their_stamps(record):
    recording = record(seed=1, camera_offset_ms=30.0, label_every=3, length_m=12.0)
    left, right = (recording.stamps_ns(f"/{c}/image_raw") for c in CAMERAS)
    assert set(np.subtract(right, left)) == {30_000_000}
    assert recording.stamps_ns("/camera_front_left/labels") == left[::3]
    assert recording.trajectory()[0] == sorted(left + right)


def test_simulate_motion_blur_and_exposure_change_the_picture_as_named(record):
    options = {
        "seed": 1,
        "cameras": "side",
        "length_m": 12.0,
        "rate_hz": 2.0,
        "labels": False,
        "image_noise": 0.0,
    }
    sharp, smeared, bright = (
        pictures(record(**options, **more), "camera_right")
        for more in ({}, {"motion_blur_ms": 40.0}, {"exposure_stops": 1.0})
    )
    detail = [np.abs(np.diff(p[2].astype(int), axis=1)).mean() for p in (sharp, smeared)]
    assert detail[1] < 0.8 * detail[0]
    assert bright[2].mean() > 1.1 * sharp[2].mean()  # one second in, the swing rises


def test_simulate_into_a_used_folder_is_refused(tmp_path):
    (tmp_path / "truth").mkdir()
    with pytest.raises(InputError, match="exists already; choose another folder"):
        simulate(SimulationOptions(length_m=12.0), tmp_path)


def test_simulate_stopping_a_camera_that_is_not_there_is_refused(tmp_path):
    options = SimulationOptions(length_m=12.0, cameras="side", stop_camera="left")
    with pytest.raises(ConfigError, match="stop_camera is 'left'; the cameras are right"):
        simulate(options, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_simulate_interrupted_leaves_nothing(tmp_path):
    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(BARE, tmp_path / "new", interrupt)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "notes.txt").write_text("mine")
    with pytest.raises(KeyboardInterrupt):
        simulate(BARE, tmp_path / "old", interrupt)
    left = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")]
    assert sorted(left) == ["old", "old/notes.txt"]
    assert simulate(BARE, tmp_path / "old").num_pictures > 2  # can be tried again


def test_simulate_reports_progress_up_to_the_end(tmp_path):
    calls = []
    simulate(BARE, tmp_path / "new" / "folder", lambda done, total: calls.append((done, total)))
    assert calls == [(k + 1, len(calls)) for k in range(len(calls))]
    assert len(calls) >= 2
