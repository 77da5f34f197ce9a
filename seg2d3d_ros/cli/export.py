"""`seg2d3d export`: write a result for GIS, or as a COLMAP model."""

from __future__ import annotations

import argparse
from pathlib import Path

from seg2d3d_ros.cli import arguments
from seg2d3d_ros.cli.progress import progress
from seg2d3d_ros.errors import ConfigError

HELP = (
    "write a result for GIS: .geojson or .kml (footprints), .las or .laz (points); or as a COLMAP "
    "model"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.add_result(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=[],
        nargs="+",
        metavar="FILE",
        help="files to write; their suffix says the format",
    )
    parser.add_argument(
        "--colmap", type=Path, metavar="DIR", help="write sparse/0 of a COLMAP model there"
    )
    parser.add_argument(
        "--recording",
        type=Path,
        metavar="SOURCE",
        help="with --colmap: take the pictures of all keyframes from it into images",
    )


def run(args: argparse.Namespace) -> int:
    """Read the result, write each file."""
    if not args.out and args.colmap is None:
        raise ConfigError("nothing to write: name files with --out, or a folder with --colmap")
    if args.recording is not None and args.colmap is None:
        raise ConfigError("--recording is about the pictures of --colmap: name its folder, too")
    if args.out:
        _write_files(args)
    if args.colmap is not None:
        _write_colmap(args)
    return 0


def _write_files(args: argparse.Namespace) -> None:
    from seg2d3d_ros.io.gis import export
    from seg2d3d_ros.io.result import read_result

    result = read_result(args.result)
    for path in args.out:
        print(f"{path}: {export(result, path)}")


def _write_colmap(args: argparse.Namespace) -> None:
    from seg2d3d_ros.io.colmap_export import write_colmap, write_pictures
    from seg2d3d_ros.io.folder_store import FolderStore
    from seg2d3d_ros.io.saved_map import load_stage

    with FolderStore.temporary("") as store, progress("writing"):
        state = load_stage(args.result, store).state
        told = write_colmap(state, args.colmap / "sparse" / "0")
        if args.recording is not None:
            from seg2d3d_ros.io.sources import open_source

            num = write_pictures(state, open_source(args.recording), args.colmap / "images")
            told += f", {num} of the pictures in images"
        else:
            told += "; the pictures themselves are written with --recording SOURCE"
    print(f"{args.colmap}: {told}")
