"""`seg2d3d align`: lay what COLMAP reconstructed onto a map."""

from __future__ import annotations

import argparse
from pathlib import Path

from seg2d3d_ros.cli import arguments
from seg2d3d_ros.cli.progress import progress

HELP = "lay a COLMAP model onto the map of a result, and write both as one result"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="folder with cameras, images and points3D"
    )
    parser.add_argument(
        "--pictures", type=Path, required=True, metavar="DIR", help="folder of its pictures"
    )
    arguments.add_onto(parser, "model", required=True)
    arguments.add_target(parser)
    parser.add_argument(
        "--metric", action="store_true", help="the model is in metres, and so are its rigs"
    )


def run(args: argparse.Namespace) -> int:
    """Read, describe, align, refine, write."""
    from seg2d3d_ros.config import Config
    from seg2d3d_ros.io.colmap_alignment import align_model, report_with
    from seg2d3d_ros.io.colmap_model import described, read_colmap
    from seg2d3d_ros.io.folder_store import FolderStore
    from seg2d3d_ros.io.result import check_target, write_result
    from seg2d3d_ros.io.saved_map import load_stage, read_report

    check_target(args.out, args.overwrite)
    report = read_report(args.onto)
    model = described(read_colmap(args.model, args.metric), args.pictures)
    scratch = FolderStore.temporary(args.out.absolute().parent, args.out)
    with scratch as store, progress("aligning"):
        stage = load_stage(args.onto, store)
        aligned = align_model(stage, model, Config())
        stage.keep()
        told = report_with(report, model, aligned, args.model)
        write_result(args.out, aligned.full, told, args.overwrite, store)
    print(
        f"{len(model.frames)} keyframes and {len(model.landmarks.ids)} points of {args.model} lie "
        f"on the map: {aligned.num_loops} loops, {aligned.scale:.4f} m per unit, shared "
        f"landmarks {aligned.residual_m:.2f} m apart (median), {aligned.num_merged} merged"
    )
    return 0
