import cv2
import numpy as np
import pytest
from bag_maker import (
    COMPRESSION,
    HEIGHT,
    OPTICAL_QUAT_XYZW,
    START_NS,
    STEP_NS,
    STORAGE,
    TF_STATIC,
    WIDTH,
    camera_info,
    compressed,
    drive,
    fix,
    odometry,
    picture,
    transforms_message,
    write_bag,
)

from seg2d3d_ros.config import InputsConfig
from seg2d3d_ros.errors import CalibrationError, InputError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.types import Fix, Frame, LabelImage, Odometry


def of(items, kind):
    return [i for i in items if isinstance(i, kind)]


@pytest.mark.parametrize(
    ("storage", "compression"),
    [(s, c) for s in ("mcap", "sqlite3") for c in (None, "file")]
    + [("mcap", "storage"), ("sqlite3", "message")],
)
def test_drive_in_every_storage_and_compression_gives_the_same_frames(
    tmp_path, storage, compression
):
    path = write_bag(
        tmp_path / "bag",
        drive(),
        getattr(STORAGE, storage),
        compression and getattr(COMPRESSION, compression),
    )
    source = open_source(path)
    frames = list(source)
    assert [f.stamp_ns for f in frames] == [START_NS + i * STEP_NS for i in range(5)]
    assert [int(f.image[0, 0, 0]) for f in frames] == [
        (f.stamp_ns // STEP_NS) % 251 for f in frames
    ]
    assert source.num_pictures == 5 and source.rig.cameras[0].name == "cam"


@pytest.mark.parametrize(("storage", "suffix"), [("mcap", ".mcap"), ("sqlite3", ".db3")])
def test_bare_file_without_metadata_is_read(tmp_path, storage, suffix):
    bag = write_bag(tmp_path / "bag", drive(), getattr(STORAGE, storage))
    bare = tmp_path / f"bare{suffix}"
    next(bag.glob(f"*{suffix}")).rename(bare)
    source = open_source(bare)
    assert source.name == "bare" and len(list(source)) == 5


def test_recording_called_bag_has_the_name_of_its_drive(tmp_path):
    assert open_source(write_bag(tmp_path / "morning" / "bag", drive())).name == "morning"
    assert open_source(write_bag(tmp_path / "evening", drive())).name == "evening"


def test_extrinsics_follow_the_chain_of_tf_static(tmp_path):
    source = open_source(write_bag(tmp_path / "bag", drive()))
    T = source.rig.cameras[0].T_base_cam
    np.testing.assert_allclose(T[:3, 3], [1.5, 0.25, 1.5], atol=1e-12)
    # the optical axis z looks along x of base_link, x of the picture to its right (-y)
    np.testing.assert_allclose(T[:3, :3] @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(T[:3, :3] @ [1, 0, 0], [0, -1, 0], atol=1e-12)
    assert source.rig.base == "tf"


def test_link_that_stands_still_in_tf_counts_as_static(tmp_path):
    messages = drive(tf=False)
    for i in range(3):
        t = START_NS + i * STEP_NS
        still = ("base_link", "cam_optical", (2, 0, 1), OPTICAL_QUAT_XYZW)
        moving = ("odom", "base_link", (i, 0, 0), (0, 0, 0, 1))
        messages.append(("/tf", t, transforms_message(still, moving)))
    source = open_source(write_bag(tmp_path / "bag", messages))
    np.testing.assert_allclose(source.rig.cameras[0].T_base_cam[:3, 3], [2, 0, 1], atol=1e-12)


def test_missing_link_is_an_error_that_names_frames_and_links(tmp_path):
    messages = drive(tf=False)
    link = ("base_link", "lidar", (0, 0, 1), (0, 0, 0, 1))
    messages.append(("/tf_static", START_NS, transforms_message(link)))
    with pytest.raises(CalibrationError) as caught:
        open_source(write_bag(tmp_path / "bag", messages))
    for said in ("cam_optical", "base_link", "base_link -> lidar"):
        assert said in str(caught.value)


@pytest.mark.parametrize("num", [1, 3])  # one that was told once may move all the same
def test_moving_link_in_tf_is_no_extrinsic(tmp_path, num):
    messages = drive(tf=False)
    for i in range(num):
        link = ("base_link", "cam_optical", (i * 0.1, 0, 1), OPTICAL_QUAT_XYZW)
        messages.append(("/tf", START_NS + i, transforms_message(link)))
    with pytest.raises(CalibrationError, match="cam_optical"):
        open_source(write_bag(tmp_path / "bag", messages))


def test_one_bare_camera_is_base_link_and_says_so(tmp_path):
    source = open_source(write_bag(tmp_path / "bag", drive(tf=False)))
    assert source.rig.base == "bare_camera"
    np.testing.assert_allclose(source.rig.cameras[0].T_base_cam[:3, 3], 0)
    np.testing.assert_allclose(
        source.rig.cameras[0].T_base_cam[:3, :3] @ [0, 0, 1], [1, 0, 0], atol=1e-12
    )
    assert any("level at the start" in r for r in source.rig.remarks)


def stereo(right_p):
    messages = []
    for i in range(3):
        t = START_NS + i * STEP_NS
        for side, p in (("left", None), ("right", right_p)):
            extra = {} if p is None else {"p": p}
            messages.append((f"/{side}/camera_info", t, camera_info(t, **extra)))
            messages.append((f"/{side}/image_rect", t, picture(t)))
    return messages


def test_bare_stereo_stands_by_the_baseline_in_p(tmp_path):
    p = np.array([21.0, 0, 7, -10.5, 0, 21, 5, 0, 0, 0, 1, 0])
    source = open_source(write_bag(tmp_path / "bag", stereo(p)))
    assert source.rig.base == "stereo_p"
    left, right = source.rig.cameras
    np.testing.assert_allclose(left.T_base_cam[:3, 3], 0, atol=1e-12)
    np.testing.assert_allclose(right.T_base_cam[:3, 3], [0, -0.5, 0], atol=1e-12)


def test_stereo_pair_whose_frame_is_that_of_its_left_camera_is_shifted_by_p(tmp_path):
    p = np.array([21.0, 0, 7.0, -21.0 * 0.5, 0, 21.0, 5.0, 0, 0, 0, 1, 0])
    source = open_source(write_bag(tmp_path / "bag", [TF_STATIC, *stereo(p)]))
    assert source.rig.base == "tf"
    left, right = source.rig.cameras
    apart = (np.linalg.inv(left.T_base_cam) @ right.T_base_cam)[:3, 3]
    np.testing.assert_allclose(apart, [0.5, 0, 0], atol=1e-12)  # right of it, in its own axes


def test_several_bare_cameras_without_baseline_are_an_error(tmp_path):
    with pytest.raises(CalibrationError, match="left, right"):
        open_source(write_bag(tmp_path / "bag", stereo(None)))


def test_rectified_topic_uses_p_and_raw_is_preferred(tmp_path):
    messages = [TF_STATIC]
    for name, topic in (("a", "image_rect_color"), ("b", "image_rect"), ("b", "image_raw")):
        messages.append((f"/{name}/{topic}", START_NS, picture(START_NS)))
        messages.append((f"/{name}/camera_info", START_NS, camera_info()))
    source = open_source(write_bag(tmp_path / "bag", messages))
    a, b = source.rig.cameras
    assert (a.K[0, 0], a.D.size) == (21.0, 0)
    assert (b.K[0, 0], b.D.size) == (20.0, 5)
    assert any("/b/image_rect" in r for r in source.rig.remarks)


def test_camera_names_come_from_namespaces_and_depth_and_labels_are_no_cameras(tmp_path):
    messages = [TF_STATIC]
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    for ns in ("", "/rig/left", "/depth", "/tof"):
        messages.append((f"{ns}/camera_info", START_NS, camera_info()))
    messages.append(("/image_raw", START_NS, picture(START_NS)))
    messages.append(("/rig/left/image", START_NS, picture(START_NS)))
    messages.append(("/rig/left/labels", START_NS, picture(START_NS, labels, "16UC1")))
    messages.append(("/depth/image_raw", START_NS, picture(START_NS)))
    messages.append(("/tof/image_raw", START_NS, picture(START_NS, labels, "16UC1")))
    source = open_source(write_bag(tmp_path / "bag", messages))
    assert [c.name for c in source.rig.cameras] == ["camera", "rig_left"]
    assert source.rig.has_labels == {"rig_left"}


def test_labels_come_after_their_picture_as_uint16(tmp_path):
    messages = drive()
    for i in range(5):
        t = START_NS + i * STEP_NS
        labels = np.full((HEIGHT, WIDTH), 11000 + i, np.uint16)
        messages.append(("/cam/labels", t - 1, picture(t, labels, "16UC1")))
    messages.sort(key=lambda m: m[1])
    items = list(open_source(write_bag(tmp_path / "bag", messages)))
    assert [type(i) for i in items] == [Frame, LabelImage] * 5
    assert [int(i.labels[0, 0]) for i in of(items, LabelImage)] == [11000 + i for i in range(5)]


def test_compressed_pictures_are_read(tmp_path):
    pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    png = cv2.imencode(".png", pixels)[1].tobytes()
    messages = [TF_STATIC, ("/cam/camera_info", START_NS, camera_info())]
    topic = "/cam/image_raw/compressed"
    messages += [(topic, START_NS + i, compressed(START_NS + i, png, "png")) for i in range(3)]
    items = list(open_source(write_bag(tmp_path / "bag", messages)))
    assert len(items) == 3 and (items[0].image == 90).all()


def test_header_stamps_order_across_topics_whatever_the_arrival(tmp_path):
    messages = [TF_STATIC]
    for i in range(20):
        t = START_NS + i * STEP_NS
        messages.append(("/a/camera_info", t, camera_info(t)))
        messages.append(("/b/camera_info", t, camera_info(t)))
        messages.append(("/a/image_raw", t + 3 * STEP_NS, picture(t)))  # 0.3 s late
        messages.append(("/b/image_raw", t + (i * 7 % 3) * STEP_NS, picture(t + 5)))
    messages.sort(key=lambda m: m[1])
    stamps = [i.stamp_ns for i in open_source(write_bag(tmp_path / "bag", messages))]
    assert stamps == sorted(stamps) and len(stamps) == 40


def test_odometry_of_another_frame_is_moved_to_base_link(tmp_path):
    messages = drive()
    link = ("base_link", "axle", (-1.0, 0.0, 0.0), (0, 0, 0, 1))
    messages.append(("/tf_static", START_NS, transforms_message(link)))
    quarter = (0, 0, np.sqrt(0.5), np.sqrt(0.5))
    messages.append(("/odom", START_NS, odometry(START_NS, (5, 0, 0), quarter, child="axle")))
    item = of(open_source(write_bag(tmp_path / "bag", messages)), Odometry)[0]
    # base_link is 1 m ahead of the axle, which looks along y
    np.testing.assert_allclose(item.T_odom_base[:3, 3], [5, 1, 0], atol=1e-12)
    assert item.twist_covariance is None


def test_odometry_covariance_follows_the_lever_arm(tmp_path):
    messages = drive()
    link = ("base_link", "axle", (-2.0, 0.0, 0.0), (0, 0, 0, 1))
    messages.append(("/tf_static", START_NS, transforms_message(link)))
    covariance = np.diag([0.01, 0.02, 0.03, 1e-4, 1e-4, 1e-4])
    message = odometry(START_NS, (0, 0, 0), child="axle", covariance=covariance)
    messages.append(("/odom", START_NS, message))
    found = of(open_source(write_bag(tmp_path / "bag", messages)), Odometry)[0].twist_covariance
    # 2 m ahead of the axle yaw rate moves sideways: 0.02 + 2² 1e-4
    np.testing.assert_allclose(np.diag(found)[:3], [0.01, 0.0204, 0.0304], atol=1e-12)
    # turning left moves the front left: cov(v_y, w_z) = 2e-4; pitching down moves it down
    np.testing.assert_allclose([found[1, 5], found[2, 4]], [2e-4, -2e-4], atol=1e-12)


def test_odometry_of_a_frame_without_link_is_an_error(tmp_path):
    messages = [*drive(), ("/odom", START_NS, odometry(START_NS, (0, 0, 0), child="wheel"))]
    with pytest.raises(CalibrationError, match="wheel"):
        open_source(write_bag(tmp_path / "bag", messages))


def test_ground_truth_odometry_is_the_last_choice(tmp_path):
    messages = [*drive(), ("/odom", START_NS, odometry(START_NS, (1, 0, 0)))]
    for i in range(9):
        messages.append(("/ground_truth/odom", START_NS + i, odometry(START_NS + i, (2, 0, 0))))
    source = open_source(write_bag(tmp_path / "bag", messages))
    assert [i.T_odom_base[0, 3] for i in of(source, Odometry)] == [1.0]
    assert any("/ground_truth/odom" in r for r in source.rig.remarks)


def test_fixes_bring_antenna_and_covariance_and_no_fix_is_counted(tmp_path):
    covariance = np.diag([1.0, 4.0, 9.0])
    messages = drive()
    for i, message in enumerate(
        [
            fix(START_NS, covariance=covariance),
            fix(START_NS + 1),
            fix(START_NS + 2, status=-1),
            fix(START_NS + 3, lat=np.nan),
            fix(START_NS + 4, covariance=np.zeros((3, 3))),
        ]
    ):
        messages.append(("/gps/fix", START_NS + i, message))
    source = open_source(write_bag(tmp_path / "bag", messages))
    fixes = of(source, Fix)
    assert [f.stamp_ns - START_NS for f in fixes] == [0, 1, 4]
    np.testing.assert_allclose(fixes[0].covariance_enu, covariance)
    assert fixes[1].covariance_enu is None and fixes[2].covariance_enu is None
    np.testing.assert_allclose(fixes[0].antenna_base, [-0.5, 0, 2])
    assert source.remarks() == (
        "1 messages not used: /gps/fix: no_fix",
        "1 messages not used: /gps/fix: not_finite",
    )


def test_fix_of_a_frame_without_link_is_taken_as_base_link_and_said(tmp_path):
    messages = [*drive(), ("/fix", START_NS, fix(START_NS, frame_id="roof"))]
    source = open_source(write_bag(tmp_path / "bag", messages))
    np.testing.assert_allclose(of(source, Fix)[0].antenna_base, 0)
    assert any("'roof'" in r for r in source.rig.remarks)


def test_inputs_choose_cameras_and_switch_odometry_off(tmp_path):
    messages = drive(namespace="/a") + drive(namespace="/b")[1:]
    messages.append(("/odom", START_NS, odometry(START_NS, (0, 0, 0))))
    path = write_bag(tmp_path / "bag", messages)
    source = open_source(path, InputsConfig(cameras=["b"], odometry_topic="none"))
    assert [c.name for c in source.rig.cameras] == ["b"] and not source.rig.has_odometry
    assert {type(i) for i in source} == {Frame}


@pytest.mark.parametrize(("hours", "is_used"), [(0, True), (1, False), (-1, False)])
def test_odometry_of_another_clock_is_not_used_and_said(tmp_path, hours, is_used):
    t = START_NS + hours * 3600 * 1_000_000_000
    messages = [*drive(), ("/odom", START_NS, odometry(t, (1, 0, 0)))]
    source = open_source(write_bag(tmp_path / "bag", messages))
    assert source.rig.has_odometry == is_used == bool(of(source, Odometry))
    assert any(f"{3600 * hours:+d} s off the pictures" in r for r in source.rig.remarks) != is_used


def test_inputs_transforms_stand_for_tf_that_was_not_recorded(tmp_path):
    messages = []
    for name in ("left", "right"):
        for i in range(3):
            t = START_NS + i * STEP_NS
            messages.append((f"/{name}/camera_info", t, camera_info(t, frame_id=name)))
            messages.append((f"/{name}/image_raw", t, picture(t, frame_id=name)))
    path = write_bag(tmp_path / "bag", messages)
    with pytest.raises(CalibrationError, match=r"inputs\.transforms"):
        open_source(path)
    links = [f"1 {y} 2 -0.5 0.5 -0.5 0.5 base_link {n}" for n, y in (("left", 1), ("right", -1))]
    rig = open_source(path, InputsConfig(transforms=links)).rig
    assert rig.base == "tf"
    expected = transforms.from_quaternion(OPTICAL_QUAT_XYZW, (1, 1, 2))
    np.testing.assert_allclose(rig.cameras[0].T_base_cam, expected, atol=1e-12)
    assert rig.cameras[1].T_base_cam[1, 3] == -1


def test_inputs_transforms_go_over_those_of_the_recording(tmp_path):
    path = write_bag(tmp_path / "bag", drive())
    link = "0.5 0.25 1.5 -0.5 0.5 -0.5 0.5 mast cam_optical"
    before, after = (
        open_source(path, inputs).rig.cameras[0].T_base_cam
        for inputs in (None, InputsConfig(transforms=[link]))
    )
    np.testing.assert_allclose((after - before)[:3, 3], [0, 0, 1], atol=1e-12)


def test_inputs_unknown_camera_names_the_nearest(tmp_path):
    path = write_bag(tmp_path / "bag", drive(namespace="/front"))
    with pytest.raises(InputError, match="did you mean 'front'"):
        open_source(path, InputsConfig(cameras=["frnt"]))


def test_describe_says_what_was_found(tmp_path):
    messages = [*drive(), ("/odom", START_NS, odometry(START_NS, (0, 0, 0)))]
    text = "\n".join(open_source(write_bag(tmp_path / "bag", messages)).describe())
    for said in (
        "16x12",
        "5 pictures",
        "/cam/image_raw",
        "/odom, 1",
        "GNSS: none",
        "3 fixed links",
    ):
        assert said in text
