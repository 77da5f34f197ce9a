"""The backend `classical` on pictures and recordings: speed, a contact sheet, what it gets right.

    python benchmarks/classical.py OUT SOURCE... [--pictures 4] [--sheet SHEET.jpg]

A SOURCE is a picture or whatever `seg2d3d replay` reads. Processor milliseconds are per picture,
on one core. Where a recording brings label pictures (a simulated street does), the share of each
true class that is called right is printed (a car is right as structure), and purity: the share of
the structures' building pixels that lie on each one's main building. The sheet shows pictures
beside regions: sky blue, ground violet, vegetation green, structures in any colour. Put no
pictures on it that may not be shown.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.segmentation.classical import ClassicalBackend
from seg2d3d_ros.segmentation.masks import to_label_image
from seg2d3d_ros.types import Frame, LabelImage

STUFF_BGR = {7: (128, 64, 128), 21: (35, 142, 35), 23: (230, 180, 130)}
TRUE_CLASSES = {7: "road", 11: "building", 21: "vegetation", 23: "sky", 26: "car"}
TILE_WIDTH_PX = 320

Picture = tuple[NDArray[np.uint8], NDArray[np.uint16] | None]


def main() -> None:
    """Segment, measure, print and draw."""
    args = parse_arguments()
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    rows, tiles = [], []
    for source in args.sources:
        row, shown = measure(source, args.pictures)
        rows.append(row)
        tiles += shown
    path = args.out / "classical.json"
    path.write_text(json.dumps(rows, indent=2) + "\n")
    print_table(rows)
    print(f"all numbers: {path}")
    if args.sheet:
        args.sheet.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(args.sheet), make_sheet(tiles), [cv2.IMWRITE_JPEG_QUALITY, 72])
        print(f"contact sheet: {args.sheet} ({args.sheet.stat().st_size // 1000} kB)")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="The backend classical on real and simulated.")
    parser.add_argument("out", type=Path, help="folder for the JSON")
    parser.add_argument("sources", nargs="+", type=Path, help="pictures or recordings")
    parser.add_argument("--pictures", type=int, default=4, help="pictures shown per recording")
    parser.add_argument("--sheet", type=Path, help="contact sheet to write, .jpg")
    return parser.parse_args()


def read(source: Path) -> list[Picture]:
    """Return pictures of a source, each with its label picture if it has one."""
    if source.suffix.lower() in (".jpg", ".jpeg", ".png"):
        return [(cv2.imread(str(source)), None)]
    frames: dict[tuple[str, int], NDArray[np.uint8]] = {}
    labels: dict[tuple[str, int], NDArray[np.uint16]] = {}
    for item in open_source(source):
        if isinstance(item, Frame):
            frames[item.camera, item.stamp_ns] = item.image
        elif isinstance(item, LabelImage):
            labels[item.camera, item.stamp_ns] = item.labels
    return [(image, labels.get(key)) for key, image in sorted(frames.items(), key=lambda x: x[0])]


def measure(source: Path, num_shown: int) -> tuple[dict[str, Any], list[NDArray[np.uint8]]]:
    """Segment every picture of a source; return the facts and some pictures with regions."""
    pictures = read(source)
    backend = ClassicalBackend()
    backend.segment([Frame("camera", 0, pictures[0][0])])  # imports what it needs
    shown_at = {round(i) for i in np.linspace(0, len(pictures) - 1, num_shown + 2)[1:-1]}
    milliseconds, num_masks, tiles = [], [], []
    called: Counter[tuple[int, int]] = Counter()
    pure = total = 0
    for index, (image, truth) in enumerate(pictures):
        start = time.process_time()
        (masks,) = backend.segment([Frame("camera", index, image)])
        milliseconds.append((time.process_time() - start) * 1e3)
        num_masks.append(len(masks))
        regions = to_label_image(masks or [], image.shape[:2])
        if truth is not None:
            called.update(compare_classes(regions, truth))
            one, all_of_them = compare_buildings(regions, truth)
            pure, total = pure + one, total + all_of_them
        if index in shown_at:
            tiles.append(draw(image, regions))
    h, w = pictures[0][0].shape[:2]
    row = {
        "source": source.name,
        "size": f"{w}x{h}",
        "pictures": len(pictures),
        "median_ms": round(float(np.median(milliseconds)), 1),
        "worst_ms": round(max(milliseconds), 1),
        "masks": round(float(np.mean(num_masks)), 1),
        "purity": pure / total if total else None,
        "called": spread(called),
    }
    return row, tiles


def compare_classes(
    regions: NDArray[np.uint16], truth: NDArray[np.uint16]
) -> Iterator[tuple[int, int]]:
    """Yield (true class, found class) of every fourth pixel; structures are 0."""
    true = np.where(truth >= 1000, truth // 1000, truth)[::2, ::2].ravel()
    found = np.where(np.isin(regions, list(STUFF_BGR)), regions, 0)[::2, ::2].ravel()
    yield from zip(true.tolist(), found.tolist(), strict=True)


def compare_buildings(regions: NDArray[np.uint16], truth: NDArray[np.uint16]) -> tuple[int, int]:
    """Return the pixels of structures on buildings, those on each one's main building, and all."""
    on_building = (truth // 1000 == 11) & ~np.isin(regions, list(STUFF_BGR))
    table = np.zeros((int(regions.max()) + 1, 1000), np.int64)
    np.add.at(table, (regions[on_building], truth[on_building] % 1000), 1)
    return int(table.max(axis=1).sum()), int(table.sum())


def spread(called: Counter[tuple[int, int]]) -> dict[str, dict[str, float]]:
    """Return for each true class the shares of what it was called."""
    names = {0: "structure", **{k: ClassicalBackend.classes[k] for k in STUFF_BGR}}
    shares = {}
    for true, name in TRUE_CLASSES.items():
        counts = {names[found]: called[true, found] for found in names}
        if total := sum(counts.values()):
            shares[name] = {found: round(n / total, 3) for found, n in counts.items()}
    return shares


def draw(image: NDArray[np.uint8], regions: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return a picture beside its regions in colour."""
    rng = np.random.default_rng(1)
    palette = rng.integers(60, 256, (int(regions.max()) + 1, 3), dtype=np.uint8)
    for label, colour in STUFF_BGR.items():
        if label < len(palette):
            palette[label] = colour
    image = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    scale = min(1.0, TILE_WIDTH_PX / image.shape[1])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    labels = cv2.resize(regions, size, interpolation=cv2.INTER_NEAREST)
    overlay = cv2.addWeighted(small, 0.4, palette[labels], 0.6, 0)
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    overlay[edge] = 255
    return np.hstack([small, overlay])


def make_sheet(tiles: list[NDArray[np.uint8]], columns: int = 2) -> NDArray[np.uint8]:
    """Lay tiles out in rows, the tall ones last."""
    tiles = sorted(tiles, key=lambda tile: tile.shape[0])
    rows = []
    for start in range(0, len(tiles), columns):
        group = tiles[start : start + columns]
        high, wide = max(tile.shape[0] for tile in group), 2 * TILE_WIDTH_PX
        row = np.full((high, columns * wide, 3), 255, np.uint8)
        for i, tile in enumerate(group):
            row[: tile.shape[0], i * wide : i * wide + tile.shape[1]] = tile
        rows.append(row)
    return np.vstack(rows)


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print one line per source."""
    table = Table(box=box.SIMPLE, title="classical, one core")
    for name in ("source", "size", "pictures", "median ms", "worst", "masks", "purity"):
        table.add_column(name, justify="left" if name == "source" else "right")
    for name in TRUE_CLASSES.values():
        table.add_column(name, justify="right")
    right = {"road": "ground", "building": "structure", "car": "structure"}
    for row in rows:
        shares = [
            f"{row['called'][name][right.get(name, name)]:.0%}" if name in row["called"] else ""
            for name in TRUE_CLASSES.values()
        ]
        purity = "" if row["purity"] is None else f"{row['purity']:.3f}"
        facts = [row[k] for k in ("source", "size", "pictures", "median_ms", "worst_ms", "masks")]
        table.add_row(*map(str, facts), purity, *shares)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
