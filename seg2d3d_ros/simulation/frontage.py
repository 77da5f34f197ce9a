"""The sides of the road, along which houses, trees and cars stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.simulation.route import Centerline, left_turn
from seg2d3d_ros.types import FloatArray

HALF_ROAD_M = 4.6
SIDEWALK_M = 2.0
BEYOND_M = 28.0
_CORNER_ROOM_M = 19.0


@dataclass(frozen=True)
class Frontage:
    """One side of one straight piece of road.

    Attributes:
        T_street_kerb: (4, 4) frame at its start on the kerb: x along the kerb, y away from
            the road, z up.
        length_m: Length of the sidewalk.
        lots_m: (from, to) along x where buildings may stand.
    """

    T_street_kerb: FloatArray
    length_m: float
    lots_m: tuple[float, float]


def frontages(line: Centerline) -> list[Frontage]:
    """Return the two sides of every piece of road: shorter inside of bends, longer outside."""
    nodes = line.nodes
    n = len(nodes)
    pieces = [(nodes[i], nodes[(i + 1) % n]) for i in range(n if line.is_closed else n - 1)]
    heading = [(b - a) / np.linalg.norm(b - a) for a, b in pieces]
    found = []
    for i, (a, b) in enumerate(pieces):
        has_before, has_after = line.is_closed or i > 0, line.is_closed or i + 1 < len(pieces)
        before = left_turn(heading[i - 1], heading[i]) if has_before else 0.0
        after = left_turn(heading[i], heading[(i + 1) % len(pieces)]) if has_after else 0.0
        for side in (1.0, -1.0):
            start, lot_start = _end(before * side, has_before, is_start=True)
            stop, lot_stop = _end(after * side, has_after, is_start=False)
            length = float(np.linalg.norm(b - a))
            left = np.array([-heading[i][1], heading[i][0]])
            along = (-start, length + stop)
            lots = (-lot_start, length + lot_stop)
            if side < 0:
                along = (length - along[1], length - along[0])
                lots = (length - lots[1], length - lots[0])
            origin, x = (a, heading[i]) if side > 0 else (b, -heading[i])
            corner = origin + x * along[0] + side * left * HALF_ROAD_M
            R = np.column_stack([[*x, 0.0], [*(side * left), 0.0], [0.0, 0.0, 1.0]])
            T = transforms.rigid(R, [*corner, 0.0])
            found.append(
                Frontage(T, along[1] - along[0], (lots[0] - along[0], lots[1] - along[0]))
            )
    return found


def _end(bend: float, is_joined: bool, is_start: bool) -> tuple[float, float]:
    """Return by how much sidewalk and lots reach beyond a node.

    Inside a bend (> 0) both end before it, and of the two rows that would stand in each other's
    way there the one that starts leaves room; outside both go round the corner.
    """
    if not is_joined:
        return BEYOND_M, BEYOND_M
    if bend > 0 and is_start:
        return -HALF_ROAD_M - SIDEWALK_M, -HALF_ROAD_M - _CORNER_ROOM_M
    if bend > 0:
        return -HALF_ROAD_M, -HALF_ROAD_M - 3.0
    if is_start:
        return HALF_ROAD_M, HALF_ROAD_M + 1.0
    return HALF_ROAD_M + SIDEWALK_M, HALF_ROAD_M + 15.0
