"""`seg2d3d undo`: take the last merge or split by hand back."""

from __future__ import annotations

import argparse

from seg2d3d_ros.cli import arguments

HELP = "take the last merge or split of a result back, exactly"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.add_result(parser)


def run(args: argparse.Namespace) -> int:
    """Undo and save."""
    from seg2d3d_ros.io.saved_map import open_map

    with open_map(args.result) as saved:
        event, full = saved.stage.undo()
        saved.save(full)
        left = saved.stage.num_edits
    print(
        f"took back event {event.sequence} ({event.kind} {event.instance}, {event.other}); "
        f"{len(full.instances)} instances, {left} edits left"
    )
    return 0
