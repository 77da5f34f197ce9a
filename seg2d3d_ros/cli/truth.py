"""`seg2d3d truth`: draw true houses of a real drive; make a bag with masks and truth of it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from seg2d3d_ros.cli import arguments
from seg2d3d_ros.cli.progress import progress
from seg2d3d_ros.errors import InputError

if TYPE_CHECKING:
    from seg2d3d_ros.simulation.drawn.drawing import Drawing
    from seg2d3d_ros.simulation.drawn.survey import Survey

HELP = "draw the true houses of a real drive; make a bag with masks and truth of it"

_DRIVE = "KITTI raw folder ..._drive_NNNN_sync with its velodyne scans, or any recording --result"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-commands and their arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    ortho = actions.add_parser(
        "ortho", help="render the street from above, and facades from the front, to draw by"
    )
    _add_drive(ortho)
    ortho.add_argument("out", type=Path, metavar="OUT", help="folder for the pictures")
    ortho.add_argument("--drawing", type=Path, help="facade lines to render from the front")
    ortho.add_argument(
        "--px-per-m", type=arguments.positive, default=20.0, help="resolution (default 20)"
    )
    ortho.add_argument(
        "--height-m", type=arguments.positive, default=14.0, help="how far up (default 14)"
    )
    ortho.add_argument(
        "--overlay-every",
        type=arguments.count,
        default=10,
        metavar="N",
        help="draw houses on each n-th picture; 0: on none (default 10)",
    )
    arguments.add_messages(ortho)
    ortho.set_defaults(action=_ortho)
    bag = actions.add_parser("bag", help="write OUT/bag with fallible masks, and OUT/truth")
    _add_drive(bag)
    bag.add_argument("drawing", type=Path, metavar="DRAWING", help="JSON file, see docs/truth.md")
    bag.add_argument("out", type=Path, metavar="OUT", help="new folder")
    _add_options(bag)
    arguments.add_messages(bag)
    bag.set_defaults(action=_bag)


def _add_drive(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("drive", type=Path, metavar="DRIVE", help=_DRIVE)
    parser.add_argument(
        "--result",
        type=Path,
        help="result folder of replay: poses and points come from it, not from oxts and lidar",
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Declare those options of `simulate` that mean something for a real drive."""
    from seg2d3d_ros.cli.simulate import add_argument
    from seg2d3d_ros.simulation.drawn.recording import USED_OPTIONS
    from seg2d3d_ros.simulation.options import SimulationOptions

    group = parser.add_argument_group("masks, pictures and sensors", "as those of simulate")
    for field in dataclasses.fields(SimulationOptions):
        if field.name in USED_OPTIONS:
            add_argument(group, field)
    parser.set_defaults(gnss=True)


def run(args: argparse.Namespace) -> int:
    """Run the sub-command."""
    import cv2

    cv2.setNumThreads(1)
    result: int = args.action(args)
    return result


def _survey(args: argparse.Namespace, drawing: Drawing | None) -> Survey:
    from seg2d3d_ros.simulation.drawn.survey import survey_kitti, survey_result

    if not args.drive.exists():
        raise InputError(f"there is nothing at {args.drive}")
    origin = None if drawing is None else drawing.origin
    with progress("surveying") as advance:
        if args.result is not None:
            return survey_result(args.drive, args.result, origin)
        return survey_kitti(args.drive, origin, lambda num: advance(num))


def _ortho(args: argparse.Namespace) -> int:
    from seg2d3d_ros.simulation.drawn import ortho
    from seg2d3d_ros.simulation.drawn.drawing import read_drawing

    drawing = None if args.drawing is None else read_drawing(args.drawing)
    survey = _survey(args, drawing)
    args.out.mkdir(parents=True, exist_ok=True)
    ortho.draw_top_view(args.out / "top.png", survey, drawing)
    print(f"{args.out / 'top.png'}: draw lines on it, left to right as seen from the street")
    if drawing is None:
        return 0
    options = ortho.OrthoOptions(args.px_per_m, args.height_m)
    with progress("facades", survey.source.num_pictures) as advance:
        images = ortho.make_orthos(survey, drawing, options, advance)
    for name, image in images.items():
        path = args.out / f"facade_{name.replace(' ', '_').replace('/', '_')}.png"
        ortho.draw_ortho(path, image)
        print(f"{path}: {image.share_seen:.0%} seen")
    if not args.overlay_every:
        return 0
    num = ortho.draw_overlays(args.out, survey, drawing, args.overlay_every)
    print(f"{num} pictures with the houses over them: {args.out}/overlay_*.jpg")
    return 0


def _bag(args: argparse.Namespace) -> int:
    from seg2d3d_ros.simulation.drawn.drawing import read_drawing
    from seg2d3d_ros.simulation.drawn.recording import USED_OPTIONS, record
    from seg2d3d_ros.simulation.options import SimulationOptions

    options = SimulationOptions(**{name: getattr(args, name) for name in USED_OPTIONS})
    drawing = read_drawing(args.drawing)
    survey = _survey(args, drawing)
    with progress("recording", survey.source.num_pictures) as advance:
        summary = record(survey, drawing, args.out, options, advance)
    print(
        f"{args.out}: {summary.num_pictures} pictures ({summary.num_dropped} dropped), "
        f"{summary.num_buildings} houses, {summary.path_length_m:.0f} m in "
        f"{summary.duration_s:.0f} s"
    )
    return 0
