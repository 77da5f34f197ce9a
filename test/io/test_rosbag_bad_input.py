"""Malformed recordings: a named error, or a counted drop with its reason; never a traceback."""

import os
import shlex
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from bag_maker import (
    COMPRESSION,
    HEIGHT,
    START_NS,
    STEP_NS,
    STORAGE,
    TF_STATIC,
    WIDTH,
    camera_info,
    drive,
    odometry,
    picture,
    transforms_message,
    write_bag,
)

from seg2d3d_ros.errors import CalibrationError, InputError
from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.types import Dropped, Frame, Odometry


def outcomes(path):
    return [i.reason if isinstance(i, Dropped) else "frame" for i in open_source(path)]


def replaced(index, message):
    """Return a drive of five pictures with one of them exchanged."""
    messages = drive()
    at = [i for i, m in enumerate(messages) if m[0].endswith("image_raw")][index]
    messages[at] = (messages[at][0], messages[at][1], message)
    return messages


T2 = START_NS + 2 * STEP_NS


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (picture(T2, data=np.zeros(30, np.uint8)), "bad_size"),
        (picture(T2, encoding="vendor_secret"), "unknown_encoding"),
        (picture(T2, np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8)), "size_mismatch"),
        (picture(T2, np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8)), "size_mismatch"),
        (picture(START_NS + STEP_NS), "duplicate_stamp"),
        (picture(0), "no_stamp"),
    ],
)
def test_one_bad_picture_is_dropped_with_its_reason(tmp_path, message, reason):
    found = outcomes(write_bag(tmp_path / "bag", replaced(2, message)))
    assert Counter(found) == {"frame": 4, reason: 1}


def test_stamps_that_go_back_are_dropped_until_time_goes_on(tmp_path):
    messages = [TF_STATIC, ("/cam/camera_info", START_NS, camera_info())]
    seconds = [100, 101, 102, 50, 51, 103, 104]
    for i, s in enumerate(seconds):
        stamp = START_NS + s * 1_000_000_000
        messages.append(("/cam/image_raw", START_NS + i, picture(stamp)))
    found = outcomes(write_bag(tmp_path / "bag", messages))
    assert Counter(found) == {"frame": 5, "stamp_back": 2}


def test_one_stamp_far_ahead_costs_only_itself(tmp_path):
    ahead = picture(START_NS + 3600 * 1_000_000_000)
    messages = drive(num=60)
    at = [i for i, m in enumerate(messages) if m[0].endswith("image_raw")][2]
    messages[at] = (messages[at][0], messages[at][1], ahead)
    found = outcomes(write_bag(tmp_path / "bag", messages))
    assert Counter(found) == {"frame": 59, "stamp_ahead": 1}


def test_one_camera_that_stops_leaves_the_other_whole(tmp_path):
    messages = drive(num=10, namespace="/a") + drive(num=3, namespace="/b")[1:]
    messages.sort(key=lambda m: m[1])
    source = open_source(write_bag(tmp_path / "bag", messages))
    assert Counter(i.camera for i in source) == {"a": 10, "b": 3}


def test_message_that_cannot_be_parsed_is_dropped(tmp_path):
    messages = drive()
    third = [i for i, m in enumerate(messages) if m[0].endswith("image_raw")][2]
    path = write_bag(
        tmp_path / "bag", messages, mangle=lambda i, data: data[:40] if i == third else data
    )
    assert Counter(outcomes(path)) == {"frame": 4, "decode_error": 1}


def test_pictures_binned_by_two_get_half_the_focal_length(tmp_path):
    small = np.zeros((HEIGHT // 2, WIDTH // 2, 3), np.uint8)
    messages = [TF_STATIC, ("/cam/camera_info", START_NS, camera_info())]
    messages += [("/cam/image_raw", START_NS + i, picture(START_NS + i, small)) for i in range(3)]
    source = open_source(write_bag(tmp_path / "bag", messages))
    assert source.rig.cameras[0].K[0, 0] == 10.0 and source.rig.cameras[0].width_px == WIDTH // 2
    assert all(isinstance(i, Frame) for i in source)


def test_no_camera_info_at_all_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"'cam' .* no camera_info"):
        open_source(write_bag(tmp_path / "bag", drive(info=False)))


def test_camera_without_camera_info_beside_a_good_one_is_left_out_and_said(tmp_path):
    messages = drive(namespace="/good") + drive(namespace="/bare", info=False)[1:]
    source = open_source(write_bag(tmp_path / "bag", messages))
    assert [c.name for c in source.rig.cameras] == ["good"]
    assert any("'bare'" in r and "no camera_info" in r for r in source.rig.remarks)
    assert Counter(i.camera for i in source) == {"good": 5}


def test_nan_calibration_of_the_only_camera_is_an_error(tmp_path):
    messages = drive(info=False)
    messages.append(("/cam/camera_info", START_NS, camera_info(k=np.full(9, np.nan))))
    with pytest.raises(CalibrationError, match=r"'cam'.*NaN"):
        open_source(write_bag(tmp_path / "bag", messages))


def test_nan_calibration_beside_a_good_camera_is_left_out_and_said(tmp_path):
    messages = drive(namespace="/good") + drive(namespace="/bad", info=False)[1:]
    messages.append(("/bad/camera_info", START_NS, camera_info(k=np.full(9, np.nan))))
    source = open_source(write_bag(tmp_path / "bag", messages))
    assert [c.name for c in source.rig.cameras] == ["good"]
    assert any("'bad'" in r and "NaN" in r for r in source.rig.remarks)


@pytest.mark.parametrize("pitch_deg", [-80, -90, -100])
def test_camera_whose_frame_is_not_the_optical_one_is_an_error_that_says_so(tmp_path, pitch_deg):
    half = np.deg2rad(pitch_deg + 90) / 2  # of a body whose x is ahead: its z is up
    link = ("base_link", "cam_optical", (1, 0, 1), (0, np.sin(half), 0, np.cos(half)))
    messages = [("/tf_static", START_NS, transforms_message(link)), *drive(tf=False)]
    with pytest.raises(CalibrationError, match=r"'cam' looks up, [89]0 deg .*'cam_optical'"):
        open_source(write_bag(tmp_path / "bag", messages))


def test_odometry_without_one_usable_message_is_not_used_and_said(tmp_path):
    messages = drive()
    for i in range(5):
        t = START_NS + i * STEP_NS
        messages.append(("/odom", t, odometry(t, (np.nan, 0, 0), vw=(1.0, 0.0))))
    source = open_source(write_bag(tmp_path / "bag", messages))
    assert not source.rig.has_odometry
    assert any(r.startswith("odometry of /odom is not used: not one") for r in source.rig.remarks)


def test_odometry_whose_first_messages_are_nan_is_used(tmp_path):
    messages = drive()
    for i in range(5):
        t = START_NS + i * STEP_NS
        messages.append(("/odom", t, odometry(t, (np.nan if i < 3 else i, 0, 0))))
    source = open_source(write_bag(tmp_path / "bag", messages))
    assert [i.T_odom_base[0, 3] for i in source if isinstance(i, Odometry)] == [3, 4]


def test_bag_without_pictures_names_what_it_holds(tmp_path):
    path = write_bag(tmp_path / "bag", [TF_STATIC])
    with pytest.raises(InputError, match=r"/tf_static \(tf2_msgs/msg/TFMessage, 1\)"):
        open_source(path)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_empty_bag_is_an_error(tmp_path, storage):
    path = write_bag(tmp_path / "bag", [], getattr(STORAGE, storage))
    with pytest.raises(InputError, match="empty"):
        open_source(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rubbish.mcap", b"this is no bag"),
        ("rubbish.db3", b"this is no bag"),
        ("nothing.mcap", b""),
        ("picture.jpg", b"\xff\xd8"),
    ],
)
def test_file_that_is_no_bag_is_a_named_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        open_source(tmp_path / name)


@pytest.mark.parametrize("is_folder", [False, True])
def test_recording_of_ros1_names_the_command_that_converts_it(tmp_path, is_folder):
    messages, old = drive(), tmp_path / "old" / "drive one.bag"
    old.parent.mkdir()
    path = write_bag(tmp_path / "new", messages)
    subprocess.run(["rosbags-convert", "--src", path, "--dst", old], check=True)
    with pytest.raises(InputError, match="a recording of ROS 1; convert it") as caught:
        open_source(old.parent if is_folder else old)
    subprocess.run(shlex.split(str(caught.value).rsplit(": ", 1)[1]), check=True)
    assert outcomes(old.with_suffix("")) == outcomes(path) == ["frame"] * 5


def test_folder_with_broken_metadata_is_a_named_error(tmp_path):
    (tmp_path / "metadata.yaml").write_text("rosbag2_bagfile_information: {version: [}")
    with pytest.raises(InputError, match="metadata"):
        open_source(tmp_path)


def test_folder_with_missing_storage_file_is_a_named_error(tmp_path):
    path = write_bag(tmp_path / "bag", drive())
    next(path.glob("*.mcap")).unlink()
    with pytest.raises(InputError, match="missing"):
        open_source(path)


def test_nothing_there_and_foreign_folder_are_named_errors(tmp_path):
    with pytest.raises(InputError, match="nothing at"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "song.mp3").write_text("la")
    with pytest.raises(InputError, match=r"song\.mp3"):
        open_source(tmp_path)


def test_camera_that_changes_on_the_way_is_mapped_as_it_began_and_said(tmp_path):
    wide = {"height": HEIGHT, "width": 2 * WIDTH}
    messages = [TF_STATIC]
    for i in range(9):
        stamp = START_NS + i * STEP_NS
        info = camera_info(stamp) if i < 4 else camera_info(stamp, **wide)
        pixels = None if i < 4 else np.zeros((HEIGHT, 2 * WIDTH, 3), np.uint8)
        messages += [("/cam/camera_info", stamp, info)]
        messages += [("/cam/image_raw", stamp, picture(stamp, pixels))]
    source = open_source(write_bag(tmp_path / "bag", messages))
    items = list(source)
    assert [type(i) for i in items] == [Frame] * 4 + [Dropped] * 5
    assert {i.reason for i in items[4:]} == {"size_mismatch"}
    (remark,) = source.remarks()
    assert remark.startswith("5 messages not used: /cam/camera_info: it differs from the first")


@pytest.mark.parametrize(
    ("storage", "compression"),
    [("mcap", None), ("mcap", "storage"), ("sqlite3", None), ("sqlite3", "message")],
)
def test_random_damage_is_a_drop_or_a_named_error(tmp_path, storage, compression):
    compression = compression and getattr(COMPRESSION, compression)
    bag = write_bag(tmp_path / "bag", drive(num=40), getattr(STORAGE, storage), compression)
    file = next(p for p in bag.iterdir() if p.suffix != ".yaml")
    whole, rng = file.read_bytes(), np.random.default_rng(7)
    num_noticed = 0
    for case in range(30):
        at, num = int(rng.integers(0, len(whole))), int(rng.integers(1, (40, 8000)[case % 2]))
        fill = (b"\xa5" * num, b"\0" * num, rng.bytes(num), b"")[case % 4]
        file.write_bytes(whole[:at] + fill + whole[at + num :])
        try:
            source = open_source(bag)
            num_noticed += len(list(source)) != 40 or bool(source.remarks())
        except InputError:
            num_noticed += 1
    assert num_noticed > 5


@pytest.mark.parametrize("name", ["test_bag_mcap", "test_bag_sqlite3"])
def test_bags_all_types_drops_its_malformed_pictures(name):
    root = os.environ.get("SEG2D3D_DATA")
    if not root:
        pytest.skip("SEG2D3D_DATA is unset")
    source = open_source(Path(root) / "bags_all_types" / name)
    dropped = [i for i in source if isinstance(i, Dropped)]
    assert Counter(d.reason for d in dropped) == {"bad_size": 2}
    assert not [i for i in source if isinstance(i, Frame)]
