"""What `make setup` installs, and under which constraints."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MINORS = ["311", "312", "313"]


def read_requirements(*arguments):
    result = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "requirements.py", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return result.stdout.split("\n")[:-1]


def names(lines):
    found = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def read_constraints(name):
    text = (REPOSITORY / "constraints" / f"{name}.txt").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_requirements_base_brings_no_torch_and_no_ros():
    base = names(read_requirements("base"))
    assert "numpy" in base
    assert not {name for name in base if name.startswith(("torch", "ros-", "transformers"))}


def test_requirements_without_leaves_these_out():
    lines = read_requirements("base", "--without", "numpy", "opencv-python-headless")
    assert names(read_requirements("base")) - names(lines) == {"numpy", "opencv-python-headless"}


@pytest.mark.parametrize("minor", MINORS)
def test_constraints_pin_every_requirement_of_every_group(minor):
    lines = read_constraints(f"py{minor}")
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][^=]*", line) for line in lines)
    wanted = names(read_requirements("base", "ros", "models", "baselines", "dev"))
    assert wanted - names(lines) == set()


@pytest.mark.parametrize("minor", MINORS)
def test_constraints_name_no_distribution_twice(minor):
    lines = read_constraints(f"py{minor}")
    assert len(names(lines)) == len(lines)


def test_constraints_of_a_distribution_leave_its_numpy_and_opencv_alone():
    pinned = names(read_constraints("ros_distro"))
    assert not {name for name in pinned if name.startswith(("numpy", "opencv", "ros-"))}
