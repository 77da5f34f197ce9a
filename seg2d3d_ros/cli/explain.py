"""`seg2d3d explain`: say why an instance is what it is."""

from __future__ import annotations

import argparse
import json

from seg2d3d_ros.cli import arguments

HELP = "say why an instance is what it is: its masks, its rivals, the decisions that made it"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.add_result(parser)
    parser.add_argument("instance", type=int, metavar="ID", help="instance")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(args: argparse.Namespace) -> int:
    """Explain and print."""
    from seg2d3d_ros.io.explanation import explanation_record, explanation_text
    from seg2d3d_ros.io.saved_map import open_map

    with open_map(args.result) as saved:
        told, classes = saved.stage.explain(args.instance), saved.report.classes
    if args.json:
        print(json.dumps(explanation_record(told, classes), indent=2))
    else:
        print(explanation_text(told, classes))
    return 0
