"""What is wrong with a drive and what comes of it: one row per fault, as a table and JSON.

    python benchmarks/faults.py OUT [--faults none slip gnss_jump ...] [--seed 31] [--length-m 60]

Each drive is simulated by the command a user has, with one fault; recordings that are in OUT
already are used again, and rows of `faults.json` that are not measured anew stay in the table.
Errors are absolute position errors after rigid alignment, in metres (after a similarity where the
map says that its scale is unknown).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.evaluation import read_truth
from seg2d3d_ros.evaluation.trajectory import Poses, resample, score_trajectory
from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.pipeline import Pipeline
from seg2d3d_ros.types import MapUpdate, Odometry

MONO = ("--cameras", "front")
ALONE = ("--no-odometry",)
FAULTS: dict[str, tuple[str, ...]] = {
    "none": (),
    "no_odometry": ALONE,
    "gnss": ("--gnss",),
    "gnss_jump": ("--gnss", "--gnss-jump-m", "50"),
    "slip": ("--odometry-slip-m", "5"),
    "slip_one_camera": ("--odometry-slip-m", "5", *MONO),
    "turned_camera": ("--extrinsics-error-deg", "1"),
    "turned_camera_alone": ("--extrinsics-error-deg", "1", *ALONE),
    "unsynchronised": ("--camera-offset-ms", "50"),
    "unsynchronised_alone": ("--camera-offset-ms", "50", *ALONE),
    "camera_stops": ("--stop-camera", "front_left", "--stop-s", "3"),
    "camera_stops_alone": ("--stop-camera", "front_left", "--stop-s", "3", *ALONE),
    "black": ("--black-from-s", "4", "--black-s", "2"),
    "black_alone": ("--black-from-s", "4", "--black-s", "2", *ALONE),
    "standing": ("--standing-s", "8"),
    "standing_alone": ("--standing-s", "8", *ALONE),
    "turn_in_place": ("--route", "pivot"),
    "turn_in_place_alone": ("--route", "pivot", *ALONE),
    "turn_in_place_one_camera": ("--route", "pivot", *MONO),
    "turn_in_place_one_camera_alone": ("--route", "pivot", *MONO, *ALONE),
    "bad_pictures": ("--exposure-stops", "1", "--motion-blur-ms", "20", "--dropped", "0.1"),
    "one_camera_alone": (*MONO, *ALONE),
    "one_camera_height": (*MONO, *ALONE),
    "plumb_bob": ("--distortion", "plumb_bob"),
    "rational_polynomial": ("--distortion", "rational_polynomial"),
    "equidistant": ("--distortion", "equidistant"),
}
SETTINGS = {"one_camera_height": {"mapping.camera_height_m": 1.6}}
COUNTS = ("sessions", "coasted", "fixes_gated", "odometry_slips", "mounting_errors")


def main() -> None:
    """Run the faults, print the table, write JSON."""
    parser = argparse.ArgumentParser(description="Drives with one fault each.")
    parser.add_argument("out", type=Path, help="folder for recordings and the JSON")
    parser.add_argument("--faults", nargs="*", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--seed", type=int, default=31, help="seed of the street")
    parser.add_argument("--length-m", type=float, default=60.0, help="length of each drive")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "faults.json"
    rows: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for name in args.faults:
        rows[name] = judge(name, simulated(name, args))
        path.write_text(json.dumps(rows, indent=2) + "\n")
    print_table({name: rows[name] for name in FAULTS if name in rows})
    print(f"all numbers: {path}")


def simulated(name: str, args: argparse.Namespace) -> Path:
    """Simulate a drive unless it is there already; return its folder."""
    drive: Path = args.out / f"{name}_{args.seed}"
    if not (drive / "truth" / "truth.json").is_file():
        options = ("--seed", args.seed, "--length-m", args.length_m, *FAULTS[name])
        size = ("--width-px", 480, "--height-px", 288)
        command = ["-m", "seg2d3d_ros.cli.main", "simulate", drive, *size, *options]
        subprocess.run([sys.executable, *map(str, command)], check=True, stdout=sys.stderr)
    return drive


def judge(name: str, drive: Path) -> dict[str, Any]:
    """Replay a drive and score it."""
    settings = {"clusters.depths": False, **SETTINGS.get(name, {})}
    source = open_source(drive / "bag")
    pipeline = Pipeline(override(Config(), settings), source.rig)
    odometry = []
    for item in source:
        odometry += [item] if isinstance(item, Odometry) else []
        pipeline.push(item)
    full = pipeline.finish()
    report = pipeline.report(name)
    truth = read_truth(drive / "truth").trajectory
    said = (*source.rig.remarks, pipeline.segmentation.reason)
    return {
        "command": " ".join(FAULTS[name]),
        "scale": full.scale,
        "error_m": score(full, truth),
        "odometry_error_m": score_odometry(odometry, truth),
        "path_m": truth.path_length_m,
        "num_keyframes": int(full.trajectory.is_keyframe.sum()),
        "counts": {c: report.counts[c] for c in COUNTS if c in report.counts},
        "remarks": [r for r in report.remarks if r not in said],
    }


def score(full: MapUpdate, truth: Poses) -> float:
    """Return the error of a map; after a similarity where it knows no scale."""
    est = Poses(full.trajectory.stamps_ns, full.trajectory.T_map_base)
    align = "sim3" if full.scale == "unknown" else "se3"
    return float(score_trajectory(est, truth)[f"ate_{align}_m"] or np.nan)


def score_odometry(odometry: list[Odometry], truth: Poses) -> float | None:
    """Return the error of the odometry alone; None without any."""
    if not odometry:
        return None
    stamps = np.array([o.stamp_ns for o in odometry], dtype=np.int64)
    poses = Poses(stamps, np.array([o.T_odom_base for o in odometry]))
    error = score_trajectory(resample(poses, truth.stamps_ns), truth)["ate_se3_m"]
    return None if error is None else float(error)


def print_table(rows: dict[str, Any]) -> None:
    """Print one row per fault, and what was said about it."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("fault", "options", "error m", "odometry m", "scale", *COUNTS):
        table.add_column(column.replace("_", " "))
    for name, row in rows.items():
        alone = row["odometry_error_m"]
        counts = [f"{row['counts'][c]:.0f}" if c in row["counts"] else "" for c in COUNTS]
        errors = f"{row['error_m']:.3f}", "" if alone is None else f"{alone:.3f}"
        table.add_row(name, row["command"], *errors, row["scale"], *counts)
    console = Console(width=160)
    console.print(table)
    for name, row in rows.items():
        for remark in row["remarks"]:
            console.print(f"{name}: {remark}", highlight=False)


if __name__ == "__main__":
    main()
