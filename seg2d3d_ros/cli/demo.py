"""`seg2d3d demo`: simulate a drive, map it over the real ROS 2 graph, show what came out."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seg2d3d_ros.cli.live import finish
from seg2d3d_ros.cli.progress import progress, up_to
from seg2d3d_ros.cli.stopping import stop_on_signals
from seg2d3d_ros.errors import NodeError

HELP = "simulate a drive, map it over the real ROS 2 graph, show the result"
_NUM_DOMAINS = 100
_MAX_WAITING = 8
_FINISH_S = 240.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="result folder; an older one of ours goes",
    )
    parser.add_argument("--length-m", type=float, default=100.0, help="path length. Default: 100")
    parser.add_argument("--seed", type=int, default=7, help="seed of the street. Default: 7")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the simulated bag and its truth here"
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo; the recording lies in a temporary folder unless it is to be kept."""
    from seg2d3d_ros.io.result import check_target

    check_target(args.out, overwrite=True)
    # A graph of its own: neither hears nor disturbs whatever runs on this network.
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % _NUM_DOMAINS)
    with stop_on_signals() as stopped, tempfile.TemporaryDirectory(prefix="seg2d3d_") as scratch:
        drive = args.keep if args.keep is not None else Path(scratch) / "drive"
        print("1/3 simulating a drive", flush=True)
        _simulate(drive, args)
        print("2/3 mapping it: three ROS 2 nodes, the bag played over DDS", flush=True)
        paused_s = _map(drive / "bag", args.out, stopped.is_set)
        print("3/3 comparing with the truth", flush=True)
        _print_table(_rows(args.out, drive / "truth", paused_s))
    print(f"\nthe map:    {args.out / 'map.png'}\nthe report: {args.out / 'report.html'}")
    return 0


def _simulate(drive: Path, args: argparse.Namespace) -> None:
    from seg2d3d_ros.simulation import SimulationOptions, simulate

    options = SimulationOptions(length_m=args.length_m, seed=args.seed)
    with progress("simulating") as advance:
        simulate(options, drive, lambda done, total: advance(1, f"of {total} pictures"))


def _map(bag: Path, out: Path, should_stop: Callable[[], bool]) -> float:
    """Play the bag into the graph, finish and save; return the seconds the player paused."""
    from seg2d3d_ros.nodes.graph import Graph, GraphOptions, ros_graph
    from seg2d3d_ros.nodes.player import Player, PlayOptions
    from seg2d3d_ros.nodes.remote import Remote

    unhurried = GraphOptions(parameters=(("node.max_wait_s", "0.0"),))  # the player waits for us
    with ros_graph(), Graph(unhurried) as graph:
        remote = Remote()
        player = Player(bag, PlayOptions(min_subscribers=2, max_waiting=_MAX_WAITING))
        try:
            graph.wait_until_active(remote, should_stop)
            if not player.wait_for_subscribers(should_stop):
                graph.check()
                raise NodeError("the nodes have not subscribed to the cameras within 60 s")
            with progress("playing", max(1, round(player.duration_s))) as advance:
                summary = player.play(lambda: should_stop() or bool(graph.dead()), up_to(advance))
        finally:
            player.close()
        try:
            finish(graph, remote, out, _FINISH_S)
        finally:
            remote.close()
    return summary.paused_s


def _rows(out: Path, truth_folder: Path, paused_s: float) -> list[tuple[str, str]]:
    from seg2d3d_ros.evaluation import judge, read_result, read_truth

    run: dict[str, Any] = json.loads((out / "run.json").read_text())
    report = judge(read_result(out), read_truth(truth_folder))
    rows = []
    for camera, counts in sorted(run["frames"].items()):
        dropped = "".join(f" + {n} {reason}" for reason, n in sorted(counts["dropped"].items()))
        text = (
            f"{counts['received']} in = {counts['processed']} processed{dropped or ' + 0 dropped'}"
        )
        rows.append((f"frames of {camera}", text))
    masks, trajectory = report["masks"]["methods"]["result"], report["trajectory"]["result"]
    found = round(masks["coverage"] * 100)
    rows += [
        ("keyframes", str(run["num_keyframes"])),
        ("clusters", f"{run['counts']['clusters']:.0f}"),
        (
            "instances found",
            f"{masks['num_instances']} of {masks['num_buildings']} buildings there",
        ),
        (
            "masks of a building in one instance",
            f"{found} %; purity {masks['purity'] * 100:.0f} %",
        ),
        (
            "trajectory error (ATE, SE(3))",
            f"{trajectory['ate_se3_m']:.2f} m on {trajectory['path_length_m']:.0f} m "
            f"({trajectory['ate_se3_percent']:.2f} %)",
        ),
        (
            "real-time factor",
            f"{run['real_time_factor']:.2f} (played at 1.0, paused {paused_s:.0f} s)",
        ),
    ]
    return rows


def _print_table(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    print()
    for name, text in rows:
        print(f"  {name:<{width}}  {text}")
