"""`seg2d3d play`: publish a recording on the ROS 2 graph, where there is no `ros2 bag play`."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from seg2d3d_ros.cli import arguments
from seg2d3d_ros.cli.progress import progress, up_to
from seg2d3d_ros.cli.stopping import stop_on_signals
from seg2d3d_ros.errors import NodeError

if TYPE_CHECKING:
    from seg2d3d_ros.nodes.player import Player, PlaySummary

HELP = "publish a rosbag2 recording on the ROS 2 graph"
_PACE = 8
_FINISH_S = 300.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 folder or file")
    parser.add_argument(
        "--rate",
        type=arguments.positive,
        default=1.0,
        help="seconds of recording per second. Default: 1",
    )
    parser.add_argument("--clock", action="store_true", help="publish /clock with the bag's time")
    parser.add_argument(
        "--wait-for-subscribers",
        type=arguments.count,
        default=0,
        metavar="N",
        help="start when every camera has N subscribers (our nodes: 2). Default: 0, at once",
    )
    parser.add_argument(
        "--wait-s",
        type=arguments.positive,
        default=60.0,
        metavar="S",
        help="longest such wait. Default: 60",
    )
    parser.add_argument(
        "--keep-pace",
        type=arguments.count,
        nargs="?",
        const=_PACE,
        default=0,
        metavar="N",
        help=f"pause while a node of ours has more than N pictures waiting (N: {_PACE})",
    )
    parser.add_argument(
        "--finish", action="store_true", help="then let the nodes finish the map (and wait for it)"
    )
    parser.add_argument(
        "--namespace", default="", metavar="NS", help="namespace of the nodes, for --finish"
    )


def run(args: argparse.Namespace) -> int:
    """Play once; 1 if the subscribers did not come."""
    from seg2d3d_ros.nodes.graph import ros_graph
    from seg2d3d_ros.nodes.player import Player, PlayOptions

    options = PlayOptions(
        rate=args.rate,
        min_subscribers=args.wait_for_subscribers,
        wait_s=args.wait_s,
        has_clock=args.clock,
        max_waiting=args.keep_pace,
    )
    with stop_on_signals() as stopped, ros_graph():
        player = Player(args.bag, options)
        try:
            summary = _play(player, args, stopped)
        finally:
            player.close()
        if args.finish and summary.is_complete:
            _finish(args.namespace)
    for topic, num in sorted(summary.num_messages.items()):
        print(f"{num:7d}  {topic}")
    for topic, reason in sorted(summary.left_out.items()):
        print(f"      -  {topic}: {reason}")
    if summary.paused_s > 0.5:
        print(f"paused for {summary.paused_s:.1f} s to let the nodes keep pace")
    return 0


def _play(player: Player, args: argparse.Namespace, stopped: threading.Event) -> PlaySummary:
    if args.wait_for_subscribers and not player.wait_for_subscribers(stopped.is_set):
        when = "when it was stopped" if stopped.is_set() else f"after {args.wait_s:.0f} s"
        raise NodeError(
            f"not every camera has {args.wait_for_subscribers} subscribers {when}; are the nodes "
            "running, in the same ROS_DOMAIN_ID?"
        )
    with progress("playing", max(1, round(player.duration_s))) as advance:
        return player.play(stopped.is_set, up_to(advance))


def _finish(namespace: str) -> None:
    from seg2d3d_ros.nodes.remote import Remote

    remote = Remote(namespace)
    try:
        with progress("finishing"):
            ended = remote.finish(_FINISH_S)
    finally:
        remote.close()
    if not ended.success:
        raise NodeError(f"the run could not be finished: {ended.message}")
    print(f"{ended.message}: {ended.num_keyframes} keyframes, {ended.num_instances} instances")
