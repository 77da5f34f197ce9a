"""Ways to carry 50 overlapping masks of a 1920x1080 picture, as a table and JSON.

    python benchmarks/masks.py OUT [--repeat 7] [--seed 0]

For each: milliseconds to encode all masks, bytes, and milliseconds to look 4000 keypoints up in
all of them, decoding included where it is needed; the least of some repetitions of processor
time, on one core. Every look-up is compared with the dense masks: the share of memberships found
is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from rich import box
from rich.console import Console
from rich.table import Table

from seg2d3d_ros.geometry.masks import contains_each, encode

SHAPE = (1080, 1920)
NUM_MASKS, NUM_KEYPOINTS = 50, 4000

Masks = NDArray[np.bool_]


class Representation(NamedTuple):
    """How masks are encoded, measured and looked up."""

    name: str
    encode: Callable[[Masks], Any]
    count_bytes: Callable[[Any], int]
    look_up: Callable[[Any, NDArray[np.int64]], NDArray[np.bool_]]


def main() -> None:
    """Measure every representation and print the table."""
    args = parse_arguments()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(args.seed)
    masks = make_masks(rng)
    uv = np.stack([rng.integers(0, SHAPE[1], NUM_KEYPOINTS), rng.integers(0, SHAPE[0], 4000)], 1)
    truth = masks[:, uv[:, 1], uv[:, 0]]
    rows = [measure(one, masks, uv, truth, args.repeat) for one in REPRESENTATIONS]
    args.out.mkdir(parents=True, exist_ok=True)
    facts = {"masks": NUM_MASKS, "keypoints": NUM_KEYPOINTS, "shape": SHAPE, "seed": args.seed}
    path = args.out / "masks.json"
    path.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n")
    print_table(rows, masks)
    print(f"all numbers: {path}")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Representations of masks.")
    parser.add_argument("out", type=Path, help="folder for the JSON")
    parser.add_argument("--repeat", type=int, default=7, help="repetitions; the least counts")
    parser.add_argument("--seed", type=int, default=0, help="seed of the masks")
    return parser.parse_args()


def make_masks(rng: np.random.Generator) -> Masks:
    """Draw overlapping regions with ragged borders."""
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    masks = np.zeros((NUM_MASKS, *SHAPE), bool)
    for mask in masks:
        centre = rng.uniform([300, 200], [1620, 880])
        half = rng.uniform([70, 70], [280, 210])
        distance = np.maximum(abs(u - centre[0]) / half[0], abs(v - centre[1]) / half[1])
        noise = cv2.resize(rng.normal(0, 1, (135, 240)), SHAPE[::-1])
        mask[:] = distance + 0.15 * noise < 1
    return masks


def measure(
    one: Representation, masks: Masks, uv: NDArray[np.int64], truth: Masks, repeat: int
) -> dict[str, Any]:
    """Time one representation and check what it answers."""
    encode_ms, encoded = fastest(lambda: one.encode(masks), repeat)
    look_up_ms, found = fastest(lambda: one.look_up(encoded, uv), repeat)
    return {
        "representation": one.name,
        "encode_ms": round(encode_ms, 2),
        "bytes": one.count_bytes(encoded),
        "look_up_ms": round(look_up_ms, 2),
        "memberships_found": float((found & truth).sum() / truth.sum()),
        "wrong_memberships": int((found & ~truth).sum()),
    }


def fastest(work: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Return the least milliseconds of processor time, and the result."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        result = work()
        times.append((time.process_time() - start) * 1e3)
    return min(times), result


def look_up_dense(masks: Masks, uv: NDArray[np.int64]) -> Masks:
    """Index the masks."""
    return masks[:, uv[:, 1], uv[:, 0]]


def look_up_runs(encoded: list[Any], uv: NDArray[np.int64]) -> Masks:
    """Look up without decoding."""
    return contains_each(encoded, uv)


def look_up_packed(packed: NDArray[np.uint8], uv: NDArray[np.int64]) -> Masks:
    """Pick the bit out of the byte."""
    column = uv[:, 0]
    return ((packed[:, uv[:, 1], column >> 3] >> (7 - (column & 7))) & 1).astype(bool)


def paint_labels(masks: Masks) -> bytes:
    """Paint masks over each other, large ones first, and compress as PNG."""
    labels = np.zeros(SHAPE, np.uint16)
    for i in np.argsort(-masks.sum(axis=(1, 2))):
        labels[masks[i]] = i + 1
    return cv2.imencode(".png", labels)[1].tobytes()


def look_up_labels(png: bytes, uv: NDArray[np.int64]) -> Masks:
    """Decode the label picture and compare."""
    labels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    return labels[uv[:, 1], uv[:, 0]][None] == np.arange(1, NUM_MASKS + 1)[:, None]


def encode_coco(masks: Masks) -> list[Any]:
    """Encode each whole picture."""
    return [coco.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]


def look_up_coco(encoded: list[Any], uv: NDArray[np.int64]) -> Masks:
    """Decode each whole picture."""
    return np.stack([coco.decode(one)[uv[:, 1], uv[:, 0]] for one in encoded]).astype(bool)


def encode_polygons(masks: Masks) -> list[Any]:
    """Trace outlines and holes."""
    return [
        cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]
        for mask in masks
    ]


def look_up_polygons(encoded: list[Any], uv: NDArray[np.int64]) -> Masks:
    """Fill the polygons again."""
    canvas, found = np.zeros(SHAPE, np.uint8), []
    for outlines in encoded:
        canvas[:] = 0
        cv2.fillPoly(canvas, outlines, 1)
        found.append(canvas[uv[:, 1], uv[:, 0]].astype(bool))
    return np.stack(found)


def count_runs(encoded: list[Any]) -> int:
    """Count boxes and boundaries."""
    return sum(16 + runs.nbytes for _, runs in encoded)


REPRESENTATIONS = (
    Representation(
        "runs in the box (ours)", lambda m: [encode(one) for one in m], count_runs, look_up_runs
    ),
    Representation(
        "runs in the box, zlib",
        lambda m: [(b, r.shape, zlib.compress(r.tobytes(), 1)) for b, r in map(encode, m)],
        lambda e: sum(16 + len(one[2]) for one in e),
        lambda e, uv: look_up_runs(
            [(b, np.frombuffer(zlib.decompress(z), np.uint32)) for b, _, z in e], uv
        ),
    ),
    Representation("dense bool", lambda m: m.copy(), lambda e: e.nbytes, look_up_dense),
    Representation("bits", lambda m: np.packbits(m, axis=2), lambda e: e.nbytes, look_up_packed),
    Representation("label picture, PNG", paint_labels, len, look_up_labels),
    Representation(
        "COCO RLE", encode_coco, lambda e: sum(len(one["counts"]) for one in e), look_up_coco
    ),
    Representation(
        "polygons",
        encode_polygons,
        lambda e: sum(outline.nbytes for one in e for outline in one),
        look_up_polygons,
    ),
)


def print_table(rows: list[dict[str, Any]], masks: Masks) -> None:
    """Print one line per representation."""
    share = masks.mean()
    double = (masks.sum(axis=0) >= 2).sum() / masks.any(axis=0).sum()
    table = Table(
        box=box.SIMPLE,
        title=f"{NUM_MASKS} masks of {share:.1%} of {SHAPE[1]}x{SHAPE[0]} each, {double:.0%} of "
        f"masked pixels in two or more; {NUM_KEYPOINTS} keypoints",
    )
    for name in ("representation", "encode ms", "bytes", "look-up ms", "found", "wrong"):
        table.add_column(name, justify="left" if name == "representation" else "right")
    for row in rows:
        table.add_row(
            row["representation"],
            f"{row['encode_ms']:.1f}",
            f"{row['bytes']:,}",
            f"{row['look_up_ms']:.2f}",
            f"{row['memberships_found']:.1%}",
            str(row["wrong_memberships"]),
        )
    Console().print(table)


if __name__ == "__main__":
    main()
