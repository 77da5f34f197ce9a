"""README, CONTRIBUTING and docs/ name only files, commands, options and targets that exist."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from seg2d3d_ros.cli.main import available

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()


def commands(text):
    """Arguments of every `seg2d3d …` and `python benchmarks/…` line of the indented blocks."""
    lines = [line.split(" # ")[0] for line in re.findall(r"^    (.+)$", text, re.MULTILINE)]
    return [shlex.split(part) for line in lines for part in line.split("&&")]


COMMANDS = [c for page in PAGES for c in commands(page.read_text()) if c[0] == "seg2d3d"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_page_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command_of_page_is_understood_by_its_parser(command):
    assert command[1] in available()
    module = importlib.import_module(f"seg2d3d_ros.cli.{command[1]}")
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.configure(parser)
    assert parser.parse_known_args(command[2:])[1] == []


def test_readme_shows_every_command_a_reader_starts_with():
    assert {"simulate", "replay", "evaluate", "live", "play"} <= {c[1] for c in COMMANDS}
    assert all(f"seg2d3d {name}" in README for name in ("doctor", "models list"))


def test_make_targets_of_pages_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:^    |`)make (\w+)", page.read_text(), re.MULTILINE)
    }
    assert {"demo", "test"} <= named
    assert named <= targets


def test_benchmarks_of_readme_exist():
    named = set(re.findall(r"python (benchmarks/\w+\.py)", README))
    assert named
    assert all((ROOT / path).is_file() for path in named)


def test_launch_arguments_of_readme_are_declared():
    for line in re.findall(r"^    ros2 launch seg2d3d_ros (.+)$", README, re.MULTILINE):
        file, *arguments = line.split()
        declared = "".join(
            (ROOT / "launch" / name).read_text() for name in {file, "mapping.launch.py"}
        )
        for argument in arguments:
            assert f'"{argument.split(":=")[0]}"' in declared


def test_topics_and_services_of_the_mapping_node_are_in_readme():
    source = (ROOT / "seg2d3d_ros/nodes/map_output.py").read_text()
    topics = re.findall(r'"~/(\w+)"', source)
    assert len(topics) == 6
    assert all(f"`mapping/{topic}`" in README for topic in topics)
    source = (ROOT / "seg2d3d_ros/nodes/map_services.py").read_text()
    services = re.findall(r'^            "(\w+)": \(', source, re.MULTILINE)
    assert {"finish", "save_map", "reset"} <= set(services)
    edits = (ROOT / "seg2d3d_ros/nodes/edit_services.py").read_text()
    services += re.findall(r'^            \("(\w+)", ', edits, re.MULTILINE)
    assert {"explain_instance", "undo"} <= set(services)
    table = README[README.index("| service |") :]
    assert all(f"{service}`" in table for service in services)


@pytest.mark.parametrize("name, most", [("README.md", 160), ("docs/architecture.md", 200)])
def test_what_newcomers_read_first_stays_short(name, most):
    assert len((ROOT / name).read_text().splitlines()) <= most


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_of_page_is_wrapped_at_160_columns(page):
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in prose.splitlines() if not line.startswith(("|", "    ", "!["))]
    assert not [line for line in lines if len(line) > 160]
