"""The shell functions that choose a Python."""

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def find_python(tmp_path):
    """Return what `find_python` prints and its exit code, where only some are usable."""
    for name in ("python3.11", "python3.12", "python3"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)

    def find(*usable, **variables):
        script = f"""
            source "{REPOSITORY}/scripts/system_packages.sh"
            usable_python() {{ [[ " {" ".join(usable)} " == *" $1 "* ]]; }}
            function /usr/bin/python3.12 {{ :; }}
            find_python"""
        result = subprocess.run(
            ["bash", "-uc", script],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return result.stdout.strip().replace(str(tmp_path), "PATH"), result.returncode

    return find


def test_find_python_takes_that_of_the_distribution_first(find_python):
    usable = "/usr/bin/python3.12", "python3.11", "python3.12", "python3"
    assert find_python(*usable) == ("/usr/bin/python3.12", 0)


def test_find_python_takes_one_on_the_path_where_the_distribution_has_none(find_python):
    assert find_python("python3.12", "python3") == ("PATH/python3.12", 0)


def test_find_python_that_is_named_is_the_only_candidate(find_python):
    usable = "/usr/bin/python3.12", "python3.11", "python3"
    assert find_python(*usable, SEG2D3D_PYTHON="python3") == ("PATH/python3", 0)
    assert find_python(*usable, SEG2D3D_PYTHON="python3.12") == ("", 1)
