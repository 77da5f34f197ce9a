"""`seg2d3d live`: start the three nodes as processes, watch over them, finish and save the map."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from seg2d3d_ros import config as configuration
from seg2d3d_ros.cli import arguments, settings
from seg2d3d_ros.cli.progress import progress
from seg2d3d_ros.cli.stopping import stop_on_signals
from seg2d3d_ros.errors import NodeError, ResultError

if TYPE_CHECKING:
    from seg2d3d_ros.nodes.graph import Graph, GraphOptions
    from seg2d3d_ros.nodes.remote import Remote

HELP = "start the three ROS 2 nodes and watch over them; Ctrl-C finishes the map"
_POLL_S = 0.2
_SAVE_S = 600.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.add_target(parser, required=False, more=", written at the end; default: none")
    parser.add_argument(
        "--duration-s",
        type=arguments.seconds,
        default=0.0,
        metavar="S",
        help="end after so long. Default: never",
    )
    parser.add_argument(
        "--finish-timeout-s",
        type=arguments.seconds,
        default=300.0,
        metavar="S",
        help="longest wait for the nodes to work off what they have. Default: 300",
    )
    graph = parser.add_argument_group("graph")
    graph.add_argument("--namespace", default="", metavar="NS", help="namespace of the nodes")
    graph.add_argument(
        "--remap",
        type=arguments.remap,
        action="append",
        default=[],
        metavar="FROM:=TO",
        help="remap a name for every node; may be repeated",
    )
    graph.add_argument("--use-sim-time", action="store_true", help="let the nodes follow /clock")
    settings.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the graph until a signal, the wanted length or the end of a node."""
    from seg2d3d_ros.io.result import check_target
    from seg2d3d_ros.nodes.graph import Graph, ros_graph
    from seg2d3d_ros.nodes.remote import Remote

    if args.out is not None:
        check_target(args.out, args.overwrite)
    with stop_on_signals() as stopped, ros_graph(), Graph(_options(args)) as graph:
        remote = Remote(args.namespace, lambda: "mapping" in graph.dead())
        try:
            graph.wait_until_active(remote, stopped.is_set)
            if stopped.is_set():
                raise NodeError("stopped before the nodes were active; nothing was written")
            where = f" and writes {args.out}" if args.out is not None else ""
            print(f"the nodes are active; Ctrl-C finishes the map{where}", flush=True)
            end_s = time.monotonic() + args.duration_s
            while not (stopped.wait(_POLL_S) or graph.dead()):
                if args.duration_s and time.monotonic() > end_s:
                    break
            if args.out is not None:
                finish(graph, remote, args.out, args.finish_timeout_s)
            graph.check()
        finally:
            remote.close()
    return 0


def _options(args: argparse.Namespace) -> GraphOptions:
    """Return how the nodes are started; a wrong configuration is found here, before they are."""
    from seg2d3d_ros.nodes.graph import GraphOptions

    settings.load(args)
    if args.params_file is not None:
        configuration.check_for_nodes(args.params_file)
    values = settings.values(args)
    if args.out is not None:
        values["node.output_dir"] = str(args.out.absolute())
    return GraphOptions(
        params_file=None if args.params_file is None else Path(args.params_file),
        parameters=tuple((key, json.dumps(value)) for key, value in values.items()),
        namespace=args.namespace,
        remaps=tuple(args.remap),
        use_sim_time=args.use_sim_time,
    )


def finish(graph: Graph, remote: Remote, out: Path, timeout_s: float) -> None:
    """Finish the run, save it and say so; without the other nodes, as far as it came.

    Raises:
        ResultError: nothing could be saved.
        NodeError: a node has ended or does not answer.
    """
    if "mapping" in graph.dead():
        graph.check()
    with progress("finishing"):
        ended = remote.finish(timeout_s)
    if not ended.success:
        print(f"warning: {ended.message}", flush=True)
    if not ended.num_clusters:
        graph.check()
        raise ResultError(f"nothing to save: {ended.message}")
    folder = remote.save_map(str(out.absolute()), _SAVE_S)
    print(
        f"{ended.num_keyframes} keyframes, {ended.num_clusters} clusters, {ended.num_points} "
        f"points, {ended.num_instances} instances: {folder}"
    )
