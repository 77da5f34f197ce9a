"""What tf2_msgs is, stated so that the original passes too."""

import json
import os
from pathlib import Path

import pytest

tf2_msgs = pytest.importorskip("tf2_msgs.msg", reason="needs `source env.bash`")
tf2_srvs = pytest.importorskip("tf2_msgs.srv", reason="needs `source env.bash`")
tf2_actions = pytest.importorskip("tf2_msgs.action", reason="needs `source env.bash`")


def read_type_hashes(interface):
    """The hashes that DDS compares, as the installed package declares them."""
    for prefix in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep):
        path = Path(prefix, "share", "tf2_msgs", f"{interface}.json")
        if path.is_file():
            entries = json.loads(path.read_text())["type_hashes"]
            return {entry["type_name"]: entry["hash_string"] for entry in entries}
    raise FileNotFoundError(interface)


@pytest.mark.parametrize("name", ["TFMessage", "TF2Error"])
def test_message_type_hash_is_that_of_recorded_bags(name):
    # rosbags carries the definitions of the ROS distributions: an independent source.
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_KILTED)
    full_name = f"tf2_msgs/msg/{name}"
    assert read_type_hashes(f"msg/{name}")[full_name] == store.hash_rihs01(full_name)


def test_tf_message_holds_transforms():
    fields = tf2_msgs.TFMessage.get_fields_and_field_types()
    assert fields == {"transforms": "sequence<geometry_msgs/TransformStamped>"}
    assert tf2_msgs.TFMessage().transforms == []


def test_tf2_error_codes_have_their_numbers():
    names = "NO LOOKUP CONNECTIVITY EXTRAPOLATION INVALID_ARGUMENT TIMEOUT TRANSFORM".split()
    codes = [getattr(tf2_msgs.TF2Error, f"{name}_ERROR") for name in names]
    assert codes == list(range(7))
    fields = tf2_msgs.TF2Error.get_fields_and_field_types()
    assert fields == {"error": "uint8", "error_string": "string"}


def test_frame_graph_answers_with_yaml():
    assert tf2_srvs.FrameGraph.Request.get_fields_and_field_types() == {}
    fields = tf2_srvs.FrameGraph.Response.get_fields_and_field_types()
    assert fields == {"frame_yaml": "string"}


def test_lookup_transform_has_the_fields_of_its_goal_in_order():
    assert list(tf2_actions.LookupTransform.Goal.get_fields_and_field_types().items()) == [
        ("target_frame", "string"),
        ("source_frame", "string"),
        ("source_time", "builtin_interfaces/Time"),
        ("timeout", "builtin_interfaces/Duration"),
        ("target_time", "builtin_interfaces/Time"),
        ("fixed_frame", "string"),
        ("advanced", "boolean"),
    ]
    assert tf2_actions.LookupTransform.Result.get_fields_and_field_types() == {
        "transform": "geometry_msgs/TransformStamped",
        "error": "tf2_msgs/TF2Error",
    }
