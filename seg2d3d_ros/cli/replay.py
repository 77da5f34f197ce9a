"""`seg2d3d replay`: map a recording in this process, as fast as it can, and write the result."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from seg2d3d_ros.accounts import RunReport
from seg2d3d_ros.cli import arguments, settings
from seg2d3d_ros.cli.progress import progress
from seg2d3d_ros.cli.stopping import stop_on_signals
from seg2d3d_ros.errors import DiskError, InputError
from seg2d3d_ros.types import Dropped, Frame, Item, MapUpdate

if TYPE_CHECKING:
    from seg2d3d_ros.io.disk_room import DiskRoom
    from seg2d3d_ros.io.folder_store import FolderStore
    from seg2d3d_ros.io.sources import Source
    from seg2d3d_ros.pipeline import Pipeline

_ITEMS_PER_LOOK = 100
HELP = "map a recording and write the result folder"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="rosbag2 folder or file, KITTI odometry sequence or KITTI raw drive",
    )
    arguments.add_target(parser)
    parser.add_argument(
        "--start-s",
        type=arguments.seconds,
        default=0.0,
        metavar="S",
        help="leave out the first seconds",
    )
    parser.add_argument(
        "--duration-s",
        type=arguments.seconds,
        default=None,
        metavar="S",
        help="map so many seconds only",
    )
    arguments.add_onto(parser, "recording")
    parser.add_argument(
        "--one-process",
        action="store_true",
        help="map in this process, for debuggers: slower, with the same result",
    )
    settings.add_arguments(parser)


@dataclasses.dataclass
class Feed:
    """What went into the pipeline.

    Attributes:
        num_frames: Pictures that could be used.
        dropped: Pictures that could not, by reason.
        stopped: Set when SIGTERM asks for an early end.
        is_cut: It came while there was something left to push.
        error: The recording broke off with this, or the disk runs full.
    """

    num_frames: int = 0
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    stopped: threading.Event = dataclasses.field(default_factory=threading.Event)
    is_cut: bool = False
    error: InputError | DiskError | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what the result should say about its input."""
        stopped = ("stopped by SIGTERM: the map ends early",) if self.is_cut else ()
        why = (
            "the disk ran full" if isinstance(self.error, DiskError) else "the recording broke off"
        )
        return stopped + ((f"{why}: {self.error}",) if self.error else ())


def run(args: argparse.Namespace) -> int:
    """Map the recording; 1 if it broke off, with what was mapped until then kept."""
    from seg2d3d_ros.io.folder_store import FolderStore
    from seg2d3d_ros.io.result import check_target
    from seg2d3d_ros.io.sources import open_source

    config = settings.load(args)
    check_target(args.out, args.overwrite)
    source = open_source(args.source, config.inputs)
    print("\n".join(source.describe()))
    from seg2d3d_ros.pipeline import Pipeline

    if args.one_process:  # loaded in the midst of a run it would take SIGTERM from us
        import seg2d3d_ros.geometry.ceres_bundle  # noqa: F401
    scratch = config.runtime.scratch_dir or args.out.absolute().parent
    told = stop_on_signals(signal.SIGTERM)
    with told as stopped, FolderStore.temporary(scratch, args.out) as blocks:
        if args.onto is not None:
            from seg2d3d_ros.io.saved_map import copy_map

            copy_map(args.onto, blocks)
        pipeline = Pipeline(
            config,
            source.rig,
            blocks=blocks,
            is_continued=args.onto is not None,
            is_apart=not args.one_process,
        )
        return _map(pipeline, source, args, blocks, Feed(stopped=stopped))


def _map(
    pipeline: Pipeline,
    source: Source,
    args: argparse.Namespace,
    blocks: FolderStore,
    feed: Feed,
) -> int:
    from seg2d3d_ros.io.disk_room import DiskRoom
    from seg2d3d_ros.io.map_picture import draw_map, import_drawing
    from seg2d3d_ros.io.result import write_result

    pictures: list[bytes] = []
    room = DiskRoom(blocks.folder, [blocks.folder.parent, args.out.absolute().parent])
    try:
        _push_all(pipeline, source, args, feed, room)
        if not feed.num_frames:
            raise feed.error or InputError(_nothing_usable(feed, source.remarks()))
        with progress("refining"):
            threading.Thread(target=import_drawing, daemon=True).start()
            full = pipeline.finish(lambda m: pictures.append(draw_map(m, source.name)))
    except BaseException:
        pipeline.abort()
        raise
    onto = () if args.onto is None else (f"added to the map of {args.onto.name}",)
    report = pipeline.report(source.name, (*source.remarks(), *onto, *feed.remarks))
    write_result(args.out, full, report, args.overwrite, blocks, *pictures)
    _print_summary(full, report, args.out)
    if feed.error is not None:
        print(f"seg2d3d: error: {feed.error}; what came before is mapped", file=sys.stderr)
        return 1
    return 0


def _nothing_usable(feed: Feed, remarks: tuple[str, ...]) -> str:
    from seg2d3d_ros.io.report import REASONS

    reasons = ", ".join(
        f"{n} {reason} ({REASONS.get(reason, 'see docs/interfaces.md')})"
        for reason, n in sorted(feed.dropped.items())
    )
    if feed.is_cut:
        return "stopped by SIGTERM before a picture could be mapped. Nothing was written"
    found = [f"no usable picture: {sum(feed.dropped.values())} came in", *remarks]
    return f"{'. '.join(found)}. Dropped: {reasons or 'none'}. Nothing was written"


def _push_all(
    pipeline: Pipeline, source: Source, args: argparse.Namespace, feed: Feed, room: DiskRoom
) -> None:
    """Push every item, until the end, the wanted length, a SIGTERM or what ends the map early."""
    from seg2d3d_ros.io.sources import clip

    is_clipped = args.start_s > 0 or args.duration_s is not None
    items = clip(source, args.start_s, args.duration_s) if is_clipped else source
    pipeline.makes_updates = False
    with progress("mapping", None if is_clipped else source.num_pictures) as advance:
        try:
            for item in _until_stopped(items, feed, room):
                pipeline.push(item)
                if isinstance(item, Frame | Dropped):
                    feed.num_frames += isinstance(item, Frame)
                    if isinstance(item, Dropped):
                        feed.dropped[item.reason] += 1
                    advance(1, f"{pipeline.num_keyframes} keyframes")
        except (InputError, DiskError) as error:
            feed.error = error


def _until_stopped(items: Iterable[Item], feed: Feed, room: DiskRoom) -> Iterator[Item]:
    for n, item in enumerate(items):
        if feed.stopped.is_set():
            feed.is_cut = True
            return
        if n % _ITEMS_PER_LOOK == 0:
            room.check()
        yield item


def _print_summary(full: MapUpdate, report: RunReport, out: Path) -> None:
    rows = []
    for name, counts in sorted(report.frames.items()):
        dropped = "".join(f" + {n} {reason}" for reason, n in sorted(counts.dropped.items()))
        text = f"{counts.received} received = {counts.processed} processed{dropped}"
        rows.append((f"pictures of {name}", text))
    rows += [
        ("backend", report.backend),
        ("poses", f"{len(full.trajectory.stamps_ns)}"),
        ("keyframes", f"{int(full.trajectory.is_keyframe.sum())}"),
        ("clusters", f"{full.sequence + 1}"),
        ("instances", f"{len(full.instances)}"),
        ("points", f"{len(full.cloud.points_map)}"),
        ("scale", full.scale + (", georeferenced" if full.origin else "")),
        ("real-time factor", f"{report.real_time_factor:.2f} ({report.wall_s:.1f} s)"),
        ("peak memory", f"{report.peak_memory_mib:.0f} MiB"),
        ("report", str(out / "report.html")),
        ("map", str(out / "map.png")),
    ]
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:<{width}}  {text}" for name, text in rows))
    for remark in report.remarks:
        print(f"note: {remark}")
