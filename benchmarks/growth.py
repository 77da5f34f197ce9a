"""Whether the cost of a keyframe and the memory of a kilometre grow with the drive.

    python benchmarks/growth.py OUT [--keyframes 10000] [--cameras 1] [--drive BAG [--one-process]]

Without --drive: the mapping stage alone, on clusters of an endless street made of arrays
(`cluster_stream.py`). With --drive: the whole pipeline on a recording. Frozen frames go to a
folder in OUT. Cost is CPU time; it and memory are those of this process and, with --drive, of the
process in which `replay` maps. Two processes slow each other down where cores share what is in
them: --one-process says what is due to the drive. Prints a row per quarter of the drive and writes
`growth.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line does
import cv2
import numpy as np
import psutil
from cluster_stream import Stream
from rich import box
from rich.console import Console
from rich.table import Table

from seg2d3d_ros.config import Config
from seg2d3d_ros.io.folder_store import FolderStore
from seg2d3d_ros.types import MapUpdate

Finish = Callable[[], MapUpdate]


@dataclass(frozen=True)
class Moment:
    """State of the run when a cluster was mapped: what is done, CPU s, resident MiB."""

    num_keyframes: int
    share: float
    cpu_s: float
    resident_mib: float


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description="Growth of cost and memory with the drive.")
    parser.add_argument("out", type=Path, help="folder for frozen frames and the JSON")
    parser.add_argument("--keyframes", type=int, default=10_000, help="length of the street")
    parser.add_argument("--cameras", type=int, default=1, choices=(1, 2))
    parser.add_argument("--drive", type=Path, help="recording to be replayed instead")
    parser.add_argument(
        "--one-process",
        action="store_true",
        help="map in this process: threads take turns, and cost varies less from run to run",
    )
    args = parser.parse_args()
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    with FolderStore.temporary(args.out) as blocks:
        if args.drive is None:
            moments, finish = measure_mapping(Stream(args.keyframes, args.cameras), blocks)
        else:
            moments, finish = measure_replay(args.drive, blocks, not args.one_process)
        finished, way_m = measure_finish(finish)
        report = sum_up(moments, way_m) | {"moments": [asdict(m) for m in moments]} | finished
        report["frozen_mib"] = sum(f.stat().st_size for f in blocks.folder.rglob("*.npz")) / 2**20
    print_quarters(report)
    print_finish(report)
    path = args.out / "growth.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"all numbers: {path}")


def measure_mapping(stream: Stream, blocks: FolderStore) -> tuple[list[Moment], Finish]:
    """Map the clusters of a street, making them is not counted; return how to finish, too."""
    from seg2d3d_ros.mapping.stage import MappingStage

    stage, moments, cpu_s = MappingStage(Config(), blocks), [], 0.0
    for cluster in stream.clusters():
        start = time.process_time()
        stage.push(cluster)
        cpu_s += time.process_time() - start
        keyframes = int(stage.counts["keyframes"])
        share = keyframes / stream.num_keyframes
        moments.append(Moment(keyframes, share, cpu_s, resident_mib()))
    return moments, stage.finish


def measure_replay(
    drive: Path, blocks: FolderStore, is_apart: bool
) -> tuple[list[Moment], Finish]:
    """Replay a recording; return how to finish, too."""
    from seg2d3d_ros.io.sources import open_source
    from seg2d3d_ros.pipeline import Pipeline
    from seg2d3d_ros.types import Frame

    source = open_source(drive)
    pipeline = Pipeline(Config(), source.rig, blocks=blocks, is_apart=is_apart)
    pipeline.makes_updates = False
    moments, num_frames = [], 0
    start = cpu_s()

    def note(last: int) -> None:
        if pipeline.num_keyframes > last:
            share = num_frames / source.num_pictures
            moments.append(Moment(pipeline.num_keyframes, share, cpu_s() - start, resident_mib()))

    for item in source:
        num_frames += isinstance(item, Frame)
        pipeline.push(item)
        note(moments[-1].num_keyframes if moments else 0)
    # A loop that is closed at last may lie many clusters back.
    pipeline.drain()
    note(0)
    return moments, pipeline.finish


def measure_finish(finish: Finish) -> tuple[dict[str, float], np.ndarray]:
    """Time what `finish` does, and look at the peaks of memory since the processes began.

    Returns:
        That, and the way (n,) up to each keyframe in metres.
    """
    start = cpu_s()
    full = finish()
    centers = full.trajectory.T_map_base[full.trajectory.is_keyframe, :3, 3]
    steps = np.linalg.norm(np.diff(centers, axis=0, prepend=centers[:1]), axis=1)
    return {
        "finish_cpu_s": cpu_s() - start,
        "peak_mib": _peak_mib(resource.RUSAGE_SELF),
        "peak_apart_mib": _peak_mib(resource.RUSAGE_CHILDREN),
        "num_instances": float(len(full.instances)),
        "num_points": float(len(full.cloud.ids)),
    }, np.cumsum(steps)


def resident_mib() -> float:
    """Return the resident memory of this process and those it started."""
    return sum(p.memory_info().rss for p in (psutil.Process(), *_started())) / 2**20


def cpu_s() -> float:
    """Return the CPU time of this process and of those it started, ended ones too."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = sum(p.cpu_times().user + p.cpu_times().system for p in _started())
    return time.process_time() + ended.ru_utime + ended.ru_stime + running


def _started() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _peak_mib(who: int) -> float:
    return resource.getrusage(who).ru_maxrss / 1024.0


def sum_up(moments: list[Moment], way_m: np.ndarray) -> dict[str, object]:
    """Compare the quarters of a drive whose keyframes lie at `way_m` (n,).

    Cost is CPU time per metre; growth of memory is the slope of a line from the end of the first
    quarter on, when buffers and caches have their size.
    """
    share = np.array([m.share for m in moments])
    way = way_m[[m.num_keyframes - 1 for m in moments]]
    cpu = np.array([m.cpu_s for m in moments])
    resident = np.array([m.resident_mib for m in moments])
    quarters = []
    for q in range(4):
        rows = np.flatnonzero((share > q / 4) & (share <= (q + 1) / 4 + 1e-9))
        if not len(rows):
            raise SystemExit(f"a drive of {way[-1]:.0f} m is too short for quarters to compare")
        first = max(rows[0] - 1, 0)
        length = way[rows[-1]] - way[first]
        cost = (cpu[rows[-1]] - cpu[first]) / max(length, 1e-9)
        quarters.append({"cpu_ms_per_m": 1e3 * cost, "resident_mib": resident[rows[-1]]})
    later = share > 0.25
    slope = np.polyfit(way[later] / 1000.0, resident[later], 1)[0]
    return {
        "way_m": float(way[-1]),
        "quarters": quarters,
        "last_to_first": quarters[3]["cpu_ms_per_m"] / quarters[0]["cpu_ms_per_m"],
        "growth_mib_per_km": float(slope),
    }


def print_quarters(report: dict) -> None:
    """Print a row per quarter, and below what counts."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("quarter", "CPU ms per m", "resident MiB"):
        table.add_column(column, justify="right")
    for k, quarter in enumerate(report["quarters"]):
        cost, resident = quarter["cpu_ms_per_m"], quarter["resident_mib"]
        table.add_row(str(k + 1), f"{cost:.2f}", f"{resident:.0f}")
    Console(width=100).print(table)
    print(f"way: {report['way_m']:.0f} m")
    print(f"cost of the last quarter over the first: {report['last_to_first']:.3f}")
    print(f"resident memory grows by {report['growth_mib_per_km']:.1f} MiB per km", flush=True)


def print_finish(report: dict) -> None:
    """Print what the end of the run took."""
    print(f"{report['num_instances']:.0f} instances, {report['num_points']:.0f} points")
    own, apart = report["peak_mib"], report["peak_apart_mib"]
    print(f"finish: {report['finish_cpu_s']:.1f} s CPU")
    print(f"peak of this process {own:.0f} MiB, of the one that maps apart {apart:.0f} MiB")
    print(f"frozen frames: {report['frozen_mib']:.0f} MiB on disk")


if __name__ == "__main__":
    main()
