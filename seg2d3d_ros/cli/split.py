"""`seg2d3d split`: part an instance of a saved map by hand."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seg2d3d_ros.cli import arguments
from seg2d3d_ros.errors import EditError

if TYPE_CHECKING:
    from seg2d3d_ros.mapping.association.cut import Cut
    from seg2d3d_ros.types import Instance, MapUpdate

HELP = "part an instance of a result by hand: by a line, by masks, or by the votes of its masks"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.add_result(parser)
    parser.add_argument("instance", type=int, metavar="ID", help="instance")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--line",
        type=float,
        nargs=4,
        metavar=("X0", "Y0", "X1", "Y1"),
        help="vertical plane through two points of the map, metres; what lies left of it (looking "
        "from the first to the second) is split off",
    )
    where.add_argument(
        "--line-lonlat",
        type=float,
        nargs=4,
        metavar=("LON0", "LAT0", "LON1", "LAT1"),
        help="the same in degrees, for a georeferenced map",
    )
    where.add_argument(
        "--mask",
        type=_mask,
        action="append",
        default=[],
        metavar="STAMP_NS:CAMERA:LABEL",
        help="split off what this mask shows (a row of observations.csv); may be repeated",
    )


def _mask(text: str) -> tuple[int, str, int]:
    parts = text.split(":")
    if len(parts) != 3:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form STAMP_NS:CAMERA:LABEL")
    return int(parts[0]), parts[1], int(parts[2])


def run(args: argparse.Namespace) -> int:
    """Split and save."""
    from seg2d3d_ros.io.saved_map import open_map

    with open_map(args.result) as saved:
        cut = _cut(args, saved.stage.snapshot())
        other, full = saved.stage.split(args.instance, cut)
        saved.save(full)
    print("\n".join(describe_split(args.instance, other, full.instances)))
    return 0


def describe_split(instance: int, other: int, instances: Sequence[Instance]) -> list[str]:
    """Return sentences about a split and whether both parts are among the instances shown."""
    points = {i.id: i.num_points for i in instances}
    hidden = [i for i in (instance, other) if i not in points]
    return [
        f"split {other} ({points.get(other, 0)} points) off from {instance} "
        f"({points.get(instance, 0)}); {len(instances)} instances",
        *(
            f"note: {i} is not shown: too few points or moments tell of it; `seg2d3d undo` takes "
            "the split back"
            for i in hidden
        ),
    ]


def _cut(args: argparse.Namespace, map: MapUpdate) -> Cut:
    import numpy as np

    from seg2d3d_ros.geometry.geodesy import geodetic_to_enu
    from seg2d3d_ros.mapping.association.cut import Cut

    if args.line_lonlat is not None:
        if map.origin is None:
            raise EditError("the map is not georeferenced: give --line in metres of the map")
        lon_lat = np.reshape(args.line_lonlat, (2, 2))
        at = np.column_stack([lon_lat[:, 1], lon_lat[:, 0], np.full(2, map.origin.alt_m)])
        return Cut(line_map=geodetic_to_enu(at, map.origin)[:, :2])
    line = None if args.line is None else np.reshape(args.line, (2, 2))
    return Cut(line_map=line, masks=tuple(args.mask))
