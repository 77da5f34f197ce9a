"""`seg2d3d simulate`: write a bag of a simulated drive, with its truth."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from seg2d3d_ros.cli.progress import progress
from seg2d3d_ros.simulation.options import CHOICES, SECTIONS, SimulationOptions

HELP = "write a rosbag2 of a simulated drive, with its truth"
_METAVARS = {int: "N", float: "X", str: "TEXT"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: the folder, and one per field of SimulationOptions."""
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="new folder; gets OUT/bag and OUT/truth"
    )
    group: argparse._ActionsContainer = parser
    for field in dataclasses.fields(SimulationOptions):
        if field.name in SECTIONS:
            group = parser.add_argument_group(SECTIONS[field.name])
        add_argument(group, field)


def add_argument(group: argparse._ActionsContainer, field: dataclasses.Field) -> None:
    """Declare the argument of one field of SimulationOptions."""
    flag, default = f"--{field.name.replace('_', '-')}", field.default
    text = f"{field.metadata['help']} Default: {default if default != '' else 'empty'}."
    text = text.replace("%", "%%")
    if isinstance(default, bool):
        action = argparse.BooleanOptionalAction
        group.add_argument(flag, action=action, default=default, help=text)
        return
    choices = CHOICES.get(field.name)
    metavar = None if choices else _METAVARS[type(default)]
    kind = type(default)
    group.add_argument(
        flag, type=kind, default=default, choices=choices, metavar=metavar, help=text
    )


def run(args: argparse.Namespace) -> int:
    """Simulate and say what was written."""
    import cv2

    from seg2d3d_ros.simulation import simulate

    cv2.setNumThreads(1)
    fields = dataclasses.fields(SimulationOptions)
    options = SimulationOptions(**{f.name: getattr(args, f.name) for f in fields})
    with progress("simulate") as advance:
        summary = simulate(
            options, args.out, lambda done, total: advance(1, f"of {total} pictures")
        )
    print(
        f"{args.out}: {summary.num_pictures} pictures ({summary.num_dropped} dropped), "
        f"{summary.num_buildings} buildings, {summary.path_length_m:.0f} m in "
        f"{summary.duration_s:.0f} s"
    )
    return 0
