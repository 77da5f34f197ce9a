"""`seg2d3d evaluate`: judge a result folder against the truth, beside baselines."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg2d3d_ros.cli import arguments
from seg2d3d_ros.cli.progress import progress
from seg2d3d_ros.errors import ConfigError, InputError

if TYPE_CHECKING:
    from seg2d3d_ros.config import InputsConfig
    from seg2d3d_ros.evaluation.masks import MaskKey
    from seg2d3d_ros.evaluation.recording import Recording
    from seg2d3d_ros.evaluation.truth import Result, Truth
    from seg2d3d_ros.io.sources import Source
    from seg2d3d_ros.types import Item

HELP = "judge a result against the truth, beside baselines on the same masks"

BASELINES = ("iou", "bytetrack", "ocsort", "paper")

_PLAIN_WIDTH = 140
_FIGURES = (".png", ".svg", ".pdf")

_MASK_COLUMNS = {
    "coverage": "coverage",
    "coverage_one_to_one": "one to one",
    "idf1": "IDF1",
    "hota": "HOTA",
    "purity": "purity",
    "fragments": "fragments",
    "id_switches": "switches",
    "pq": "PQ",
    "num_instances": "ids",
    "legacy_coverage": "legacy",
    "legacy_adjusted_coverage": "adjusted",
}
_POSE_COLUMNS = {
    "ate_none_m": "ATE none m",
    "ate_se3_m": "SE(3) m",
    "ate_se3_percent": "SE(3) %",
    "ate_sim3_percent": "Sim(3) %",
    "scale": "scale",
    "rpe_translation_percent": "10 m %",
    "rpe_rotation_deg": "10 m deg",
    "auc30_joint": "AUC@30",
}
_SURFACE_COLUMNS = {
    "ap": "AP",
    "ap50": "AP50",
    "ap25": "AP25",
    "ap50_uniform": "AP50 uniform",
    "ar": "AR",
    "rc50": "RC50",
    "rc25": "RC25",
    "precision50": "precision50",
    "surface_share": "surface seen",
}
_BOX_COLUMNS = {
    "num": "buildings",
    "corner_error_m": "corners m",
    "within_1m": "within 1 m",
    "height_error_m": "bottom, top m",
    "yaw_error_deg": "yaw deg",
    "num_overlapping": "overlapping",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.add_result(parser)
    parser.add_argument(
        "--truth",
        type=Path,
        required=True,
        help="truth folder of simulate, or a KITTI odometry pose file (poses/04.txt)",
    )
    parser.add_argument(
        "--bag", type=Path, help="the recording: judges its odometry too and feeds the baselines"
    )
    parser.add_argument(
        "--baselines",
        nargs="+",
        default=[],
        choices=(*BASELINES, "all"),
        help="trackers and published rules to run on the same masks (needs --bag)",
    )
    parser.add_argument(
        "--baselines-python",
        type=Path,
        help="Python of an environment with the extra 'baselines', for bytetrack and ocsort",
    )
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument(
        "--figure", type=Path, help="write a timeline per true building (png, svg or pdf)"
    )


def run(args: argparse.Namespace) -> int:
    """Judge, print the tables, write what was asked for."""
    from seg2d3d_ros.evaluation import judge, read_result, read_truth

    names = list(BASELINES) if "all" in args.baselines else list(dict.fromkeys(args.baselines))
    _check(args, names)
    result, truth = read_result(args.result), read_truth(args.truth)
    recording = None if args.bag is None else _read(args.bag, result.inputs)
    baselines: dict[str, dict[MaskKey, int]] = {}
    if recording is not None:
        if truth.masks is not None:
            recording.check_masks(truth.masks.keys, is_needed=bool(names))
        baselines = {name: _name_masks(name, recording, result.inputs, args) for name in names}
    report = judge(
        result,
        truth,
        odometry=None if recording is None else recording.odometry,
        baselines=baselines,
        mask_px=None if recording is None else recording.num_px,
    )
    report["truth"] = str(args.truth)
    _print(report, result.is_metric)
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
    if args.figure is not None:
        _draw(args.figure, result, truth, baselines)
    return 0


def _draw(
    path: Path, result: Result, truth: Truth, baselines: dict[str, dict[MaskKey, int]]
) -> None:
    from seg2d3d_ros.evaluation.figure import draw_timelines
    from seg2d3d_ros.evaluation.report import used_masks

    if truth.masks is None:
        raise InputError("--figure shows buildings over time, but this truth holds no masks.csv")
    draw_timelines(
        path, used_masks(result, truth.masks), {"result": result.assignment, **baselines}
    )


def _check(args: argparse.Namespace, names: list[str]) -> None:
    if names and args.bag is None:
        raise ConfigError("baselines run on the masks of the recording: give it by --bag")
    external = [name for name in names if name in ("bytetrack", "ocsort")]
    if external and args.baselines_python is None:
        raise ConfigError(
            f"{' and '.join(external)}: of the package 'trackers', which brings another OpenCV; "
            "`make baselines` makes an environment for it (elsewhere: python -m venv E; "
            "E/bin/pip install 'trackers>=2,<3'): give --baselines-python "
            ".venv-baselines/bin/python"
        )
    for path in (args.json, args.figure):
        if path is not None and not path.absolute().parent.is_dir():
            raise ConfigError(f"{path} cannot be written: its folder does not exist")
        if path is not None and path.is_dir():
            raise ConfigError(f"{path} is a folder; the name of a file is needed")
    if args.figure is not None and args.figure.suffix.lower() not in _FIGURES:
        raise ConfigError(
            f"--figure {args.figure} ends in '{args.figure.suffix}'; one of {', '.join(_FIGURES)} "
            "is needed"
        )


def _read(bag: Path, inputs: InputsConfig) -> Recording:
    from seg2d3d_ros.evaluation.recording import collect
    from seg2d3d_ros.io.sources import open_source

    return collect(_items(open_source(bag, inputs), f"reading {bag.name}"))


def _items(source: Source, title: str) -> Iterator[Item]:
    """Yield the items of a recording under a progress bar."""
    with progress(title) as advance:
        for item in source:
            advance()
            yield item


def _name_masks(
    name: str, recording: Recording, inputs: InputsConfig, args: argparse.Namespace
) -> dict[MaskKey, int]:
    """Run one baseline; ids by mask."""
    from seg2d3d_ros.evaluation import baselines
    from seg2d3d_ros.evaluation.paper import name_as_paper
    from seg2d3d_ros.io.sources import open_source

    title = f"baseline {name}"
    if name == "paper":
        source = open_source(args.bag, inputs)
        return name_as_paper(source.rig, _items(source, title))
    with progress(title):
        if name == "iou":
            return baselines.track_by_iou(recording)
        return baselines.track_externally(recording, name, args.baselines_python)


def _print(report: dict[str, Any], is_metric: bool) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    result = report["trajectory"]["result"]
    _print_table(console, "Trajectory", report["trajectory"], _POSE_COLUMNS)
    unknown = "" if is_metric else "; the run says that scale is unknown, so read Sim(3)"
    console.print(
        f"{result['num_poses']} poses for {result['num_stamps']} stamps over "
        f"{result['path_length_m']:.1f} m{unknown}. The straight line looks at no picture."
    )
    if "masks" in report:
        methods = {
            k: {**v.get("pictures", {}), **v} for k, v in report["masks"]["methods"].items()
        }
        _print_table(console, "Masks", methods, _MASK_COLUMNS)
        frames, own = report["masks"]["frames"], methods["result"]
        ceiling = methods["true_owner"]["all_owners"]["coverage"]
        console.print(
            f"{own['num_masks']} masks of {own['num_buildings']} buildings with five or more, in "
            f"{frames['num_used']} of {frames['num_with_masks']} pictures with masks"
            + ("" if frames["is_enough"] else " (fewer than a third: too few to be judged)")
            + f". Counted for both owners of a mask over two houses, coverage is "
            f"{own['all_owners']['coverage']:.3f} of at most {ceiling:.3f}."
        )
    if "surface" in report:
        _print_table(console, "Surface", report["surface"], _SURFACE_COLUMNS)
    if "boxes" in report:
        _print_table(console, "Boxes", {"result": report["boxes"]}, _BOX_COLUMNS)


def _print_table(
    console: Any, title: str, methods: dict[str, dict[str, Any]], columns: dict[str, str]
) -> None:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for column in columns.values():
        table.add_column(column, justify="right")
    for name, score in methods.items():
        style = "bold" if name == "result" else None
        cells = [_cell(score.get(key)) for key in columns]
        table.add_row(name.replace("_", " "), *cells, style=style)
    console.print(table)


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
