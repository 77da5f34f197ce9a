"""Print the requirement lines of pyproject.toml that a set-up step installs, one per line.

Usage: requirements.py GROUP... [--without NAME...]
GROUP is `base` (the dependencies of the library) or the name of an extra.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def read_requirements(groups: list[str], without: list[str]) -> list[str]:
    """Collect the requirement lines of the groups, leaving out the distributions in `without`.

    Args:
        groups: `base` or names of extras, in order.
        without: Names of distributions that the environment gets from elsewhere.

    Returns:
        Requirement lines as pip takes them.

    Raises:
        KeyError: A group is not in pyproject.toml.
    """
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    lists = {"base": project["dependencies"], **project["optional-dependencies"]}
    lines = [line for group in groups for line in lists[group]]
    return [line for line in lines if distribution_name(line) not in without]


def distribution_name(requirement: str) -> str:
    """Give the name that a requirement line begins with, as it is written there."""
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="+")
    parser.add_argument("--without", nargs="*", default=[])
    arguments = parser.parse_args()
    print("\n".join(read_requirements(arguments.groups, arguments.without)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
