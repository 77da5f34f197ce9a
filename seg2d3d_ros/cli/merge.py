"""`seg2d3d merge`: join instances of a saved map by hand."""

from __future__ import annotations

import argparse

from seg2d3d_ros.cli import arguments

HELP = "join instances of a result by hand; the oldest survives, undo takes it back"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.add_result(parser)
    parser.add_argument(
        "instances", type=int, nargs="+", metavar="ID", help="two or more instances"
    )


def run(args: argparse.Namespace) -> int:
    """Merge and save."""
    from seg2d3d_ros.io.saved_map import open_map

    with open_map(args.result) as saved:
        keeper, full = saved.stage.merge(args.instances)
        saved.save(full)
    others = ", ".join(str(i) for i in sorted({*args.instances} - {keeper}))
    print(f"merged {others} into {keeper}; {len(full.instances)} instances")
    return 0
