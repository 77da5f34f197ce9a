"""`seg2d3d export`: write a result for GIS."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a result for GIS: .geojson or .kml (footprints), .las or .laz (points)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("result", type=Path, metavar="RESULT", help="result folder")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        nargs="+",
        metavar="FILE",
        help="files to write; their suffix says the format",
    )


def run(args: argparse.Namespace) -> int:
    """Read the result, write each file."""
    from seg2d3d_ros.io.gis import export
    from seg2d3d_ros.io.result import read_result

    result = read_result(args.result)
    for path in args.out:
        print(f"{path}: {export(result, path)}")
    return 0
