import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from seg2d3d_ros.errors import CalibrationError, ConfigError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.io.frames import FrameTree, parse_link

QUARTER = transforms.from_quaternion((0, 0, np.sqrt(0.5), np.sqrt(0.5)), (1, 2, 3))
SHIFT = transforms.rigid(np.eye(3), (10, 0, 0))


def tree():
    t = FrameTree()
    t.add("/base_link", "mast", QUARTER)
    t.add("mast", "cam", SHIFT)
    t.add("base_link", "gnss", SHIFT)
    return t


def test_lookup_chain_multiplies_the_links():
    np.testing.assert_allclose(tree().lookup("base_link", "/cam"), QUARTER @ SHIFT, atol=1e-12)


def test_lookup_across_branches_inverts_upward_links():
    expected = transforms.invert(SHIFT) @ QUARTER @ SHIFT
    np.testing.assert_allclose(tree().lookup("gnss", "cam"), expected, atol=1e-12)


def test_lookup_missing_link_names_both_frames_and_the_links():
    with pytest.raises(CalibrationError, match="'lidar' to 'base_link'") as caught:
        tree().lookup("base_link", "lidar")
    assert "mast -> cam" in str(caught.value) and "base_link -> gnss" in str(caught.value)


def test_add_second_parent_replaces_the_first():
    t = tree()
    t.add("gnss", "cam", np.eye(4))
    np.testing.assert_allclose(t.lookup("base_link", "cam"), SHIFT, atol=1e-12)
    around = transforms.invert(QUARTER) @ SHIFT  # by base_link: the link from mast is gone
    np.testing.assert_allclose(t.lookup("mast", "cam"), around, atol=1e-12)
    assert not t.connects("mast", "lidar") and len(t) == 3


def test_parse_link_of_quaternion_and_of_angles_is_that_of_static_transform_publisher():
    parent, child, T = parse_link(f"1 2 3 0 0 {np.sqrt(0.5)} {np.sqrt(0.5)} base_link mast")
    assert (parent, child) == ("base_link", "mast")
    np.testing.assert_allclose(T, QUARTER, atol=1e-12)
    angles = (0.3, -0.2, 0.1)  # yaw, pitch, roll
    _, _, T = parse_link("4 5 6 {} {} {} a b".format(*angles))
    np.testing.assert_allclose(T[:3, :3], Rotation.from_euler("ZYX", angles).as_matrix())
    np.testing.assert_allclose(T[:3, 3], [4, 5, 6])


@pytest.mark.parametrize(
    "text",
    ["", "a b", "1 2 3 a b", "1 2 3 0 0 0 0 a b", "1 2 3 x 0 0 a b", "1 2 nan 0 0 0 a b", "1 2 3"],
)
def test_parse_link_of_something_else_says_what_is_needed(text):
    with pytest.raises(ConfigError, match="x y z qx qy qz qw frame child"):
        parse_link(text)
