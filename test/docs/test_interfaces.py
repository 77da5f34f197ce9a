"""The examples in docs/interfaces.md hold what is written today, and every reason is explained."""

import json
import re
from pathlib import Path

import pytest

from seg2d3d_ros.config import Config
from seg2d3d_ros.io.report import REASONS, STATUSES
from seg2d3d_ros.io.result import write_result
from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "interfaces.md").read_text()
EXAMPLES = {
    name: json.loads(block)
    for name, block in re.findall(r"<!-- example: (\S+) -->\n\n```json\n(.*?)\n```", TEXT, re.S)
}


@pytest.fixture(scope="module")
def written(drive, tmp_path_factory):
    """Result and truth files of a short drive by name."""
    out = tmp_path_factory.mktemp("documented") / "result"
    source = open_source(drive / "bag")
    pipeline = Pipeline(Config(), source.rig)
    for item in source:
        pipeline.push(item)
    write_result(out, pipeline.finish(), pipeline.report(source.name))
    return {path.name: path for folder in (out, drive / "truth") for path in folder.iterdir()}


def keys(value, depth):
    """Names in nested objects, of lists those of the first element."""
    if isinstance(value, list):
        return keys(value[0], depth) if value and isinstance(value[0], dict) else None
    if not isinstance(value, dict) or depth == 0:
        return None
    return {k: keys(v, depth - 1) for k, v in value.items()}


def test_examples_are_those_of_all_json_files():
    assert set(EXAMPLES) == {"run.json", "instances.json", "truth.json", "buildings.json"}


@pytest.mark.parametrize("name", ["instances.json", "truth.json", "buildings.json"])
def test_example_of_interfaces_has_the_keys_written_today(written, name):
    assert keys(EXAMPLES[name], 3) == keys(json.loads(written[name].read_text()), 3)


def test_example_of_run_has_the_keys_written_today(written):
    example, today = EXAMPLES["run.json"], json.loads(written["run.json"].read_text())
    assert set(example) == set(today)
    assert set(example["config"]) == set(today["config"])
    frames = [next(iter(run["frames"].values())) for run in (example, today)]
    assert set(frames[0]) == set(frames[1])


def test_example_of_run_accounts_for_every_picture():
    for counts in EXAMPLES["run.json"]["frames"].values():
        assert counts["received"] == counts["processed"] + sum(counts["dropped"].values())


def test_tables_of_interfaces_name_the_columns_written_today(written):
    for name in ("keyframes.csv", "observations.csv", "events.csv", "masks.csv", "visible.csv"):
        header = written[name].read_text().splitlines()[0]
        assert re.search(rf"\| `{name}` \| `{re.escape(header)}`", TEXT), name


def test_reasons_of_dropped_pictures_are_all_in_interfaces():
    source = "\n".join(path.read_text() for path in sorted((ROOT / "seg2d3d_ros").rglob("*.py")))
    given = set(re.findall(r'Dropped\([^)]*"([a-z_]+)"\)', source))
    assert {"stamp_back", "time_jump", "size_mismatch", "overload"} <= given
    assert all(f"| `{reason}` |" in TEXT for reason in given)


def test_report_has_words_for_just_the_reasons_in_interfaces():
    table = TEXT.split("### Pictures that were not used")[1].split("###")[0]
    reasons = set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE))
    assert reasons - {"after_finish"} == set(REASONS)  # no picture of the run


def test_statuses_of_segmentations_are_all_in_interfaces():
    assert all(f"`{status}`" in TEXT for status in STATUSES)
