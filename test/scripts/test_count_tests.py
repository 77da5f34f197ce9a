import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "count_tests.py"


def count(tmp_path, *suites):
    report = tmp_path / "junit.xml"
    body = "".join(
        f'<testsuite tests="{t}" failures="{f}" errors="{e}" skipped="{s}"/>'
        for t, f, e, s in suites
    )
    report.write_text(f"<testsuites>{body}</testsuites>")
    return subprocess.run(
        [sys.executable, SCRIPT, report], capture_output=True, text=True, timeout=60, check=False
    )


def test_count_tests_adds_suites_up(tmp_path):
    result = count(tmp_path, (10, 1, 0, 2), (5, 0, 1, 0))
    assert result.stdout.strip() == "tests: 13 ran, 1 failed, 1 errors, 2 skipped"
    assert result.returncode == 0


@pytest.mark.parametrize("suite", [(0, 0, 0, 0), (4, 0, 0, 4)], ids=["empty", "all skipped"])
def test_count_tests_none_ran_is_a_failure(tmp_path, suite):
    result = count(tmp_path, suite)
    assert result.returncode == 1
    assert "zero tests ran" in result.stderr


def test_count_tests_no_report_is_a_failure(tmp_path):
    missing = tmp_path / "nothing.xml"
    result = subprocess.run(
        [sys.executable, SCRIPT, missing], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert "no report" in result.stderr
