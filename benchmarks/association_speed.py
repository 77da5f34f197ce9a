"""Cost of the association with the number of masks, beside the paper's rules as set operations.

    python benchmarks/association_speed.py OUT [--masks 100000] [--compare-at 10000]
        [--no-sets] [--figure FILE.png]

An endless street (`cluster_stream.py`, two cameras, about 100 landmarks in a mask) is associated
cluster by cluster, as live: look landmarks up in masks, vote, decide again about what was touched.
Only this is counted, as CPU time of this process, not the making of the street. At --compare-at
masks the paper's rules are run on the same incidence of masks and landmarks, which they get for
nothing: as plain operations on Python sets, mask against mask, and on arrays with an index of the
masks of each landmark (the preset `seg2d3d_paper`). Prints a row per checkpoint and writes
`association_speed.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cluster_stream
import cv2
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from scipy import sparse

from seg2d3d_ros.config import Config
from seg2d3d_ros.mapping.association.association import Associator
from seg2d3d_ros.mapping.paper import DEFAULTS, associate_as_paper
from seg2d3d_ros.mapping.state import MapState

CHECKPOINTS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
# 75 are followed by default: with these a mask holds about a hundred.
cluster_stream.LANDMARKS_PER_M = 115.0


def main() -> None:
    """Measure, print and write."""
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    wanted = [n for n in CHECKPOINTS if n < args.masks] + [args.masks]
    rows, against = [], {}
    for row, associator in associate(wanted):
        rows.append(row)
        print(f"{row['masks']:>8} masks after {row['cpu_s']:.1f} s", flush=True)
        if not against and row["masks"] >= args.compare_at:
            against = compare(associator, row, has_sets=not args.no_sets)
            print(f"         the paper's rules on them: {against}", flush=True)
    report = {"rows": rows, "paper": against, "exponent": exponent(rows)}
    print_table(report)
    path = args.out / "association_speed.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"all numbers: {path}")
    if args.figure is not None:
        draw(args.figure, report)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Cost of the association.")
    parser.add_argument("out", type=Path, help="folder for the JSON")
    parser.add_argument("--masks", type=int, default=100_000)
    parser.add_argument("--compare-at", type=int, default=10_000, help="masks for the comparison")
    parser.add_argument("--no-sets", action="store_true", help="leave the slow comparison out")
    parser.add_argument("--figure", type=Path, help="draw the rows into this picture")
    return parser.parse_args()


def associate(wanted: list[int]) -> Iterator[tuple[dict[str, Any], Associator]]:
    """Associate a street; yield the sums at each wanted number of masks."""
    config = Config()
    state, associator = MapState(), Associator(config)
    # Every keyframe shows some masks: a street of so many is long enough, and made piece by piece.
    stream = cluster_stream.Stream(wanted[-1], num_cameras=2)
    num_masks = num_observations = 0
    cpu_s = last_s = 0.0
    for cluster in stream.clusters():
        increment = state.add(cluster, np.eye(4))
        num_pictures = len(associator.pictures)
        start = time.process_time()
        associator.add(state, increment.new_frames)
        last_s = time.process_time() - start
        cpu_s += last_s
        new = [p.without_classes() for p in associator.pictures[num_pictures:]]
        associator.pictures[num_pictures:] = new
        masks_now = sum(len(np.unique(p.seen.mask)) for p in new)
        num_masks += masks_now
        num_observations += sum(len(p.seen.ids) for p in new)
        if wanted and num_masks >= wanted[0]:
            wanted = wanted[1:]
            row = {"masks": num_masks, "observations": num_observations, "cpu_s": cpu_s}
            row |= {"newest_ms_per_mask": 1e3 * last_s / masks_now, "peak_mib": peak_mib()}
            yield row, associator
        if not wanted:
            return
    raise RuntimeError(f"the street ended after {num_masks} masks; {wanted[0]} were wanted")


def peak_mib() -> float:
    """Return the largest resident memory of this process so far, the street included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare(associator: Associator, ours: dict[str, Any], has_sets: bool) -> dict[str, float]:
    """Return the CPU seconds of the paper's rules on the masks so far, and the ratios to ours."""
    incidence, picture = incidence_of(associator)
    found: dict[str, float] = {"masks": incidence.shape[0], "ours_s": ours["cpu_s"]}
    ids, found["sparse_s"] = timed(lambda: associate_as_paper(incidence, picture))
    if has_sets:
        points = [part.tolist() for part in np.split(incidence.indices, incidence.indptr[1:-1])]
        groups, found["sets_s"] = timed(lambda: associate_as_sets(points, picture.tolist()))
        same = sorted(sorted(np.flatnonzero(ids == i).tolist()) for i in np.unique(ids[ids > 0]))
        found["is_same"] = float(same == sorted(groups))
        found["sets_to_ours"] = found["sets_s"] / found["ours_s"]
        found["sets_to_sparse"] = found["sets_s"] / found["sparse_s"]
    return found


def incidence_of(associator: Associator) -> tuple[sparse.csr_array, np.ndarray]:
    """Return masks x landmarks, and the picture of each mask."""
    columns, sizes, picture = [], [], []
    for k, one in enumerate(associator.pictures):
        for mask in np.unique(one.seen.mask):
            ids = np.unique(one.seen.ids[one.seen.mask == mask])
            columns.append(ids)
            sizes.append(len(ids))
            picture.append(k)
    _, column = np.unique(np.concatenate(columns), return_inverse=True)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    return sparse.csr_array((np.ones(len(column)), column, bounds)), np.array(picture)


def associate_as_sets(points: list[list[int]], picture: list[int]) -> list[list[int]]:
    """Run the paper's rules as its code does: every mask against every free one, by sets."""
    free = {m for m, p in enumerate(points) if p}
    groups = []
    while free:
        reference = max(free, key=lambda m: (len(points[m]), -m))
        members = [
            m
            for m in sorted(free)
            if m == reference or jaccard(points[reference], points[m]) > DEFAULTS.attach_jaccard
        ]
        free.difference_update(members)
        groups.append(members)
    kept = [
        g
        for g in groups
        if len({p for m in g for p in points[m]}) >= DEFAULTS.min_points
        and len({picture[m] for m in g}) >= DEFAULTS.min_pictures
    ]
    unions = [sorted({p for m in g for p in points[m]}) for g in kept]
    merged, absorbed = [], set()
    for i, group in enumerate(kept):
        if i in absorbed:
            continue
        members = list(group)
        for j in range(i + 1, len(kept)):
            if j not in absorbed and jaccard(unions[i], unions[j]) >= DEFAULTS.merge_jaccard:
                absorbed.add(j)
                members += kept[j]
        merged.append(sorted(members))
    return merged


def jaccard(a: list[int], b: list[int]) -> float:
    """Return shared over all, of lists as the code keeps them."""
    first, second = set(a), set(b)
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what some work gives, and its CPU seconds."""
    start = time.process_time()
    return work(), time.process_time() - start


def exponent(rows: list[dict[str, Any]]) -> float:
    """Return k of cost ~ observations^k over the checkpoints; 1 is linear."""
    n, s = (np.log([row[name] for row in rows]) for name in ("observations", "cpu_s"))
    return float(np.polyfit(n, s, 1)[0]) if len(rows) > 1 else float("nan")


def print_table(report: dict[str, Any]) -> None:
    """Print the rows, and below them the comparison."""
    table = Table(box=box.SIMPLE)
    names = ("masks", "observations", "CPU s", "ms per mask", "newest", "us per observation")
    for name in (*names, "peak MiB"):
        table.add_column(name, justify="right")
    for row in report["rows"]:
        table.add_row(
            f"{row['masks']:,}",
            f"{row['observations']:,}",
            f"{row['cpu_s']:.1f}",
            f"{1e3 * row['cpu_s'] / row['masks']:.2f}",
            f"{row['newest_ms_per_mask']:.2f}",
            f"{1e6 * row['cpu_s'] / row['observations']:.1f}",
            f"{row['peak_mib']:,.0f}",
        )
    Console(width=100).print(table)
    print(f"cost grows with observations to the power of {report['exponent']:.2f}")
    for name, value in report["paper"].items():
        print(f"paper's rules, {name}: {value:,.2f}")


def draw(path: Path, report: dict[str, Any]) -> None:
    """Draw cost over observations, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n, s = ([row[name] for row in report["rows"]] for name in ("observations", "cpu_s"))
    figure, axes = plt.subplots(figsize=(6, 4), dpi=120)
    axes.loglog(n, s, "o-", color="#00798c", label="votes between places (ours), as live")
    axes.loglog(n, s[-1] * np.array(n) / n[-1], "--", color="grey", label="linear")
    if "sets_s" in report["paper"]:
        at = next(r for r in report["rows"] if r["masks"] >= report["paper"]["masks"])
        sets_s = report["paper"]["sets_s"]
        axes.loglog([at["observations"]], [sets_s], "s", color="#d1495b", label="paper, sets")
        sparse_s = report["paper"]["sparse_s"]
        label = "paper, arrays"
        axes.loglog([at["observations"]], [sparse_s], "D", color="#edae49", label=label)
    axes.set_xlabel("observations of landmarks in masks")
    axes.set_ylabel("CPU seconds, one core")
    axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    axes.grid(alpha=0.3, which="both")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
