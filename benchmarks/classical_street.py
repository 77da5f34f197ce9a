"""Instances from masks of `classical` on a simulated street, beside trackers on the same masks.

    python benchmarks/classical_street.py OUT [--seed 5] [--length-m 120]
        [--baselines-python E/bin/python]

A street with exact masks is simulated. A second recording is the same but for label pictures,
which hold what `classical` found (structures as if they were buildings), and for its masks.csv,
which says over which true buildings those masks lie. It is replayed and judged by the commands a
user has; trackers and one id per mask see the same masks.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.segmentation.classes import BUILDING, STUFF
from seg2d3d_ros.segmentation.classical import ClassicalBackend
from seg2d3d_ros.segmentation.masks import to_label_image
from seg2d3d_ros.simulation.masks import mask_owners
from seg2d3d_ros.types import Frame, LabelImage

COLUMNS = ("coverage", "coverage_one_to_one", "idf1", "hota", "purity", "num_instances")
Key = tuple[str, int]


def main() -> None:
    """Simulate, segment, replay, judge and print."""
    args = parse_arguments()
    exact, found = args.out / "exact", args.out / "classical"
    if not (exact / "truth" / "truth.json").is_file():
        options = ["--seed", args.seed, "--length-m", args.length_m, "--mask-noise", "0"]
        seg2d3d("simulate", exact, *options)
    shutil.rmtree(found, ignore_errors=True)
    rewrite(exact, found)
    seg2d3d("replay", found / "bag", "--out", found / "result", "--backend", "labels")
    baselines = ["iou", "paper"]
    python: list[str] = []
    if args.baselines_python:
        baselines += ["bytetrack", "ocsort"]
        python = ["--baselines-python", args.baselines_python]
    path = args.out / "classical_street.json"
    seg2d3d(
        *("evaluate", found / "result", "--truth", found / "truth", "--bag", found / "bag"),
        *("--baselines", *baselines, *python, "--json", path),
    )
    print_table(json.loads(path.read_text()))
    print(f"all numbers: {path}")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Instances from classical masks.")
    parser.add_argument("out", type=Path, help="folder for recordings, results and the JSON")
    parser.add_argument("--seed", type=int, default=5, help="seed of the street")
    parser.add_argument("--length-m", type=float, default=120.0, help="length of the street")
    parser.add_argument("--baselines-python", help="Python with the extra 'baselines'")
    return parser.parse_args()


def seg2d3d(*arguments: object) -> None:
    """Run the product's command line; its tables go to standard error."""
    command = [sys.executable, "-m", "seg2d3d_ros.cli.main", *(str(a) for a in arguments)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def rewrite(exact: Path, found: Path) -> None:
    """Write the second recording and its truth."""
    shutil.copytree(exact / "truth", found / "truth")
    owner_of_mask = read_owners(exact / "truth" / "masks.csv")
    labels, rows = {}, []
    for key, image, truth in pictures(exact / "bag"):
        labels[key] = segment(image)
        owners = np.zeros(65536, np.int64)
        for label, owner in owner_of_mask.get(key, {}).items():
            owners[label] = owner
        for one in mask_owners(labels[key], owners[truth]):
            rows.append([key[1], key[0], one.label, one.building, f"{one.share:.4f}"])
    with (found / "truth" / "masks.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["stamp_ns", "camera", "label", "building_id", "share"])
        writer.writerows(sorted(rows))
    rewrite_bag(exact / "bag", found / "bag", labels)


def read_owners(path: Path) -> dict[Key, dict[int, int]]:
    """Return the building under each mask of each picture, by (camera, stamp) and label."""
    owners: dict[Key, dict[int, int]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            key = row["camera"], int(row["stamp_ns"])
            owners.setdefault(key, {})[int(row["label"])] = int(row["building_id"])
    return owners


def pictures(bag: Path) -> Iterator[tuple[Key, NDArray[np.uint8], NDArray[np.uint16]]]:
    """Yield pictures with their label pictures."""
    waiting: dict[Key, Any] = {}
    for item in open_source(bag):
        if not isinstance(item, Frame | LabelImage):
            continue
        key = item.camera, item.stamp_ns
        other = waiting.pop(key, None)
        if other is None:
            waiting[key] = item
            continue
        frame, label = (item, other) if isinstance(item, Frame) else (other, item)
        yield key, frame.image, label.labels


def segment(image: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return what classical finds as a label picture, structures as buildings."""
    (masks,) = ClassicalBackend().segment([Frame("camera", 0, image)])
    labels = to_label_image(masks or [], image.shape[:2])
    is_structure = ~np.isin(labels, list(STUFF)) & (labels > 0)
    return np.where(is_structure, labels + BUILDING * 1000, labels).astype(np.uint16)


def rewrite_bag(source: Path, target: Path, labels: dict[Key, NDArray[np.uint16]]) -> None:
    """Copy a recording, its label pictures replaced."""
    store = get_typestore(Stores.ROS2_KILTED)
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        Reader(source) as reader,
        Writer(target, version=9, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        copies = {
            c.id: writer.add_connection(
                c.topic,
                c.msgtype,
                msgdef=c.msgdef.data,
                rihs01=c.digest,
                offered_qos_profiles=c.ext.offered_qos_profiles,  # type: ignore[union-attr]
            )
            for c in reader.connections
        }
        for connection, stamp, raw in reader.messages():
            if connection.topic.endswith("/labels"):
                message: Any = store.deserialize_cdr(raw, connection.msgtype)
                camera = connection.topic.removesuffix("/labels").strip("/").replace("/", "_")
                time = message.header.stamp
                picture = labels[camera, time.sec * 10**9 + time.nanosec]
                message.data = np.ascontiguousarray(picture).view(np.uint8).ravel()
                raw = store.serialize_cdr(message, connection.msgtype)
            writer.write(copies[connection.id], stamp, raw)


def print_table(report: dict[str, Any]) -> None:
    """Print one row per method."""
    table = Table(box=box.SIMPLE_HEAD, title="masks of classical on an unseen simulated street")
    for column in ("method", *COLUMNS):
        table.add_column(column.replace("_", " "))
    for method, score in report["masks"]["methods"].items():
        cells = [f"{score[c]:.3f}" if c != "num_instances" else str(score[c]) for c in COLUMNS]
        table.add_row(method, *cells, style="bold" if method == "result" else None)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
