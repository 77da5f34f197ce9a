"""The rig that nodes learn from the graph is the one that a replay reads from the same bag."""

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: source env.bash after make setup")

from seg2d3d_ros.config import InputsConfig
from seg2d3d_ros.errors import CalibrationError
from seg2d3d_ros.io.rosbag_file import RosbagFile
from seg2d3d_ros.io.rosbag_rig import read_setup
from seg2d3d_ros.io.rosbag_topics import choose
from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.nodes.hearing import Hearing


@pytest.fixture
def heard(drive):
    """Return what was heard of the drive when some topics have been silent so far."""

    def hear(*silent):
        with RosbagFile(drive / "bag") as bag:
            hearing = Hearing(bag.topics)
            for topic in bag.topics:
                for name, msgtype, raw in bag.messages([topic.name]):
                    if not name.endswith(silent or ("none",)):
                        hearing.keep(name, bag.parse(raw, msgtype))
        return hearing

    return hear


def test_rig_from_what_was_heard_is_that_of_a_replay(heard, drive, same):
    hearing = heard()
    layout = choose(hearing.topics, InputsConfig())
    assert hearing.is_complete(layout)
    setup = read_setup(hearing, layout, InputsConfig())
    assert same(setup.rig, open_source(drive / "bag").rig)


def test_labels_that_are_announced_but_silent_still_count_as_labels(heard):
    hearing = heard("/labels")
    setup = read_setup(hearing, choose(hearing.topics, InputsConfig()), InputsConfig())
    assert setup.rig.has_labels == {"camera_front_left", "camera_front_right"}


@pytest.mark.parametrize("silent", ["/camera_info", "/image_raw", "/odom", "/tf_static"])
def test_hearing_is_incomplete_while_anything_of_the_rig_is_silent(heard, silent):
    everything = choose(heard().topics, InputsConfig())
    assert not heard(silent).is_complete(everything)


def test_odometry_that_is_nan_at_first_is_waited_for(heard, drive):
    hearing, layout = heard("/odom"), choose(heard().topics, InputsConfig())
    with RosbagFile(drive / "bag") as bag:
        good, bad = bag.first("/odom"), bag.first("/odom")
    bad.pose.pose.position.x = float("nan")
    hearing.keep("/odom", bad)
    assert not hearing.is_complete(layout)
    assert not read_setup(
        hearing, choose(hearing.topics, InputsConfig()), InputsConfig()
    ).rig.has_odometry
    hearing.keep("/odom", good)
    assert hearing.is_complete(layout)
    assert read_setup(hearing, layout, InputsConfig()).rig.has_odometry


def test_rig_without_any_tf_from_several_cameras_is_refused(heard):
    hearing = heard("/tf_static")
    with pytest.raises(CalibrationError, match="no TF"):
        read_setup(hearing, choose(hearing.topics, InputsConfig()), InputsConfig())


def test_hearing_keeps_one_picture_however_many_come(heard):
    assert len(list(heard().messages(["/camera_front_left/image_raw"]))) == 1
