"""The shell functions that tell a sourced ROS distribution from our own wheels."""

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def run_bash(script, root, **variables):
    environment = {"PATH": os.environ["PATH"], "root": str(root), **variables}
    return subprocess.run(
        ["bash", "-euc", f'source "{REPOSITORY}/scripts/ros_prefix.sh"; {script}'],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def prefixes(tmp_path):
    """A repository with wheels in .venv and, beside it, a distribution."""
    made = {"root": tmp_path / "repository", "distro": tmp_path / "opt" / "ros" / "jazzy"}
    made["own"] = made["root"] / ".venv"
    for prefix, packages in ((made["own"], ["rclpy"]), (made["distro"], ["rclpy", "cv_bridge"])):
        for package in packages:
            folder = prefix / "share" / package
            folder.mkdir(parents=True)
            (folder / "package.xml").write_text("<package/>")
    return made


def test_find_ros_prefix_distribution_behind_our_own_is_found(prefixes):
    result = run_bash(
        "find_ros_prefix",
        prefixes["root"],
        AMENT_PREFIX_PATH=f"{prefixes['own']}:{prefixes['distro']}",
    )
    assert result.stdout.strip() == str(prefixes["distro"])


@pytest.mark.parametrize("own", [False, True])
def test_find_ros_prefix_our_own_wheels_are_no_distribution(prefixes, own):
    path = str(prefixes["own"]) if own else ""
    result = run_bash("find_ros_prefix", prefixes["root"], AMENT_PREFIX_PATH=path)
    assert (result.returncode, result.stdout) == (1, "")


def test_strip_own_prefixes_keeps_all_others_in_order(prefixes):
    result = run_bash(
        'strip_own_prefixes; echo "$AMENT_PREFIX_PATH|${PYTHONPATH-unset}"',
        prefixes["root"],
        AMENT_PREFIX_PATH=f"/a:{prefixes['own']}:{prefixes['distro']}:/b",
        PYTHONPATH=f"{prefixes['root']}/install/lib",
    )
    assert result.stdout.strip() == f"/a:{prefixes['distro']}:/b|unset"


def test_strip_own_prefixes_takes_those_of_another_clone_too(prefixes, tmp_path):
    other = tmp_path / "other"
    (other / ".venv" / "share" / "rclpy").mkdir(parents=True)
    (other / ".venv" / "share" / "rclpy" / "package.xml").write_text("<package/>")
    (other / ".venv" / "seg2d3d_profile").touch()
    paths = f"{other}/install/seg2d3d_ros:{other}/.venv:{prefixes['distro']}"
    result = run_bash(
        'strip_own_prefixes; echo "$CMAKE_PREFIX_PATH|$(find_ros_prefix)"',
        prefixes["root"],
        AMENT_PREFIX_PATH=paths,
        CMAKE_PREFIX_PATH=paths,
    )
    assert result.stdout.strip() == f"{prefixes['distro']}|{prefixes['distro']}"


def test_ros_has_package_only_where_a_prefix_brings_it(prefixes):
    for package, expected in (("cv_bridge", 0), ("message_filters", 1)):
        result = run_bash(
            f"ros_has_package {package}",
            prefixes["root"],
            AMENT_PREFIX_PATH=str(prefixes["distro"]),
        )
        assert result.returncode == expected
