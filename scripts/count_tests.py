"""Print how many tests a JUnit report holds; exit 1 when not one of them ran.

Usage: count_tests.py JUNIT_XML
"""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def count_tests(report: Path) -> dict[str, int]:
    """Add up the suites of a JUnit report.

    Args:
        report: The XML file that `pytest --junitxml` wrote.

    Returns:
        Counts `tests`, `failures`, `errors`, `skipped`, and `ran` (tests less skipped).
    """
    names = ("tests", "failures", "errors", "skipped")
    counts = dict.fromkeys(names, 0)
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        for name in names:
            counts[name] += int(suite.get(name, 0))
    counts["ran"] = counts["tests"] - counts["skipped"]
    return counts


def main() -> int:
    """Run the command line."""
    report = Path(sys.argv[1])
    if not report.is_file():
        print("tests: no report was written, so none ran", file=sys.stderr)
        return 1
    counts = count_tests(report)
    print(
        "tests: {ran} ran, {failures} failed, {errors} errors, {skipped} skipped".format(**counts)
    )
    if counts["ran"] == 0:
        print("tests: zero tests ran, which is a failure", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
