"""Association on streets beside 2D trackers and the paper's rules, as a table and JSON.

    python benchmarks/association_quality.py OUT [--streets straight loop] [--seed 1]
        [--real DRIVE [DRAWING]] [--baselines-python E/bin/python]

Each street is simulated, replayed and judged by the commands a user has; recordings that are
there already are used again. `--real` adds a real drive with houses drawn by hand: a KITTI raw
folder, by default with the drawing that ships. The trackers of the package `trackers` take part
where `--baselines-python` names an environment that has it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

DRAWING = Path(__file__).parents[1] / "config/facades/kitti_raw_2011_09_26_drive_0009.json"
STREETS = {
    "straight": ["--length-m", "160"],
    "loop": ["--route", "loop", "--length-m", "420", "--gnss"],
    "out_and_back": ["--route", "out_and_back", "--length-m", "240"],
    "hard": [
        *("--length-m", "160", "--mask-noise", "2", "--dropped", "0.15"),
        *("--moving-cars", "6", "--odometry-noise", "4"),
    ],
}
COLUMNS = (
    "coverage",
    "coverage_one_to_one",
    "idf1",
    "hota",
    "purity",
    "fragments",
    "num_instances",
)


def main() -> None:
    """Run the streets and print the table."""
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    reports = {name: judge(simulated(name, args), args) for name in args.streets}
    if args.real:
        reports["real"] = judge(real(args), args)
    path = args.out / "association_quality.json"
    path.write_text(json.dumps({"seed": args.seed, "streets": reports}, indent=2) + "\n")
    print_table(reports)
    print(f"all numbers: {path}")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Quality of association on streets.")
    parser.add_argument("out", type=Path, help="folder for recordings, results and the JSON")
    parser.add_argument("--streets", nargs="*", choices=list(STREETS), default=list(STREETS))
    parser.add_argument(
        "--real", nargs="+", metavar="PATH", help="KITTI raw drive, and a drawing of its houses"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the streets")
    parser.add_argument("--baselines-python", help="Python with the extra 'baselines'")
    return parser.parse_args()


def simulated(name: str, args: argparse.Namespace) -> Path:
    """Simulate a street unless it is there already; return its folder."""
    street: Path = args.out / f"{name}_{args.seed}"
    if not (street / "truth" / "truth.json").is_file():
        seg2d3d("simulate", street, *STREETS[name], "--seed", args.seed)
    return street


def real(args: argparse.Namespace) -> Path:
    """Make the bag of the real drive unless it is there already; return its folder."""
    drive, drawing = [*map(Path, args.real), DRAWING][:2]
    street: Path = args.out / f"{drive.name}_{args.seed}"
    if not (street / "truth" / "truth.json").is_file():
        seg2d3d("truth", "bag", drive, drawing, street, "--seed", args.seed)
    return street


def judge(street: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Replay and judge one street; return the report of `evaluate`."""
    seg2d3d("replay", street / "bag", "--out", street / "result", "--overwrite")
    baselines = ["iou", "paper"]
    python = []
    if args.baselines_python:
        baselines += ["bytetrack", "ocsort"]
        python = ["--baselines-python", args.baselines_python]
    report = street / "report.json"
    seg2d3d(
        *("evaluate", street / "result", "--truth", street / "truth", "--bag", street / "bag"),
        *("--baselines", *baselines, *python),
        *("--json", report, "--figure", street / "timeline.png"),
    )
    judged: dict[str, Any] = json.loads(report.read_text())
    return judged


def seg2d3d(*arguments: object) -> None:
    """Run the product's command line; its tables go to standard error."""
    command = [sys.executable, "-m", "seg2d3d_ros.cli.main", *(str(a) for a in arguments)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def print_table(reports: dict[str, dict[str, Any]]) -> None:
    """Print one row per street and method."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("street", "method", *COLUMNS, "AP50", "ATE m"):
        table.add_column(column.replace("_", " "))
    for street, report in reports.items():
        for method, score in report["masks"]["methods"].items():
            cells = [f"{score[c]:.3f}" if c != "num_instances" else str(score[c]) for c in COLUMNS]
            own = method == "result"
            ap = report["surface"]["result"]["ap50"] if own else None
            ate = report["trajectory"]["result"]["ate_se3_m"] if own else None
            extra = ["" if value is None else f"{value:.3f}" for value in (ap, ate)]
            table.add_row(street, method, *cells, *extra, style="bold" if own else None)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
