"""Speed and memory of the network backends with random weights of the published sizes.

    python benchmarks/segmentation.py OUT [--backends grounded_sam2 ...] [--batches 1 4]
        [--precisions fp32 fp16] [--pictures 20] [--device auto] [--size full|small] [--soak 2000]

Prints pictures per second, latency and memory per backend, batch and precision at 720p, and the
ratio to running the same networks naively (one picture at a time, fp32, the library's own
preparation) in the same run. The floors beside it are the time that the device would need for the
counted arithmetic at the rate of a large matrix product measured here, and for reading all
weights once per batch at the rate of a large copy. Then it says which part takes how much of a
picture's time. Without a GPU it says so, and the ratio is that of the processor. `--soak` watches
memory over many pictures instead.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from random_weights import make_weights
from rich import box
from rich.console import Console
from rich.table import Table

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.segmentation.backend import create_backend
from seg2d3d_ros.segmentation.network_backend import NetworkBackend, choose_device
from seg2d3d_ros.segmentation.networks.pictures import PRECISIONS
from seg2d3d_ros.segmentation.prompts import parse_prompt
from seg2d3d_ros.types import Frame

NUM_BOXES = 20
PUBLIC = (
    "Public figures, another GPU: SAM 20.8 and Grounding DINO 130 pictures/s at 720p, one after "
    "the other, on an RTX 5090."
)


def main() -> None:
    """Measure what was asked for and print it."""
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    device = choose_device(args.device)
    manifest = make_weights(args.out / f"weights_{args.size}", args.backends, args.size)
    facts = describe(device)
    print(facts["device"])
    if args.soak:
        report: dict[str, Any] = {"soak": soak(args, device, manifest)}
    else:
        rows = [row for backend in args.backends for row in measure(backend, args, manifest)]
        report = {"rows": rows}
        print_table(rows)
        print(PUBLIC)
    path = args.out / ("soak.json" if args.soak else "segmentation.json")
    path.write_text(json.dumps({**facts, **report}, indent=2) + "\n")
    print(f"all numbers: {path}")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Speed of network backends.")
    parser.add_argument("out", type=Path, help="folder for weights and the JSON")
    parser.add_argument("--backends", nargs="+", default=["grounded_sam2"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16"], choices=PRECISIONS)
    parser.add_argument("--pictures", type=int, default=20, help="pictures per measurement")
    parser.add_argument("--shape", nargs=2, type=int, default=[720, 1280], help="height, width")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="threads of the processor")
    parser.add_argument("--size", choices=("full", "small"), default="full")
    parser.add_argument("--compile", action="store_true", help="compile with CUDA graphs")
    parser.add_argument("--soak", type=int, default=0, help="pictures to watch memory over")
    return parser.parse_args()


def describe(device: str) -> dict[str, Any]:
    """Return what the numbers were measured on."""
    if device == "cpu":
        name = f"no GPU here: measured on the processor, {torch.get_num_threads()} thread(s)"
    else:
        name = torch.cuda.get_device_name(device)
    return {"device": name, "torch": torch.__version__}


def make_backend(
    name: str, args: argparse.Namespace, manifest: Path, batch: int, precision: str
) -> NetworkBackend:
    """Make a backend that finds about as many boxes in every picture."""
    values = {
        "segmentation.weights_dir": str(manifest.parent),
        "segmentation.weights_manifest": str(manifest),
        "segmentation.model": f"random-{name}",
        "segmentation.box_threshold": 0.0,
        "segmentation.nms_overlap": 1.0,
        "segmentation.max_masks": NUM_BOXES,
        "segmentation.max_batch": batch,
        "segmentation.precision": precision,
        "segmentation.compile": args.compile,
        "runtime.device": args.device,
        "runtime.num_threads": args.threads,
    }
    backend = create_backend(name, override(Config(), values))
    assert isinstance(backend, NetworkBackend)
    return backend


def measure(name: str, args: argparse.Namespace, manifest: Path) -> list[dict[str, Any]]:
    """Measure one backend in every setting, and naively."""
    pictures = make_pictures(args.pictures, tuple(args.shape))
    device = choose_device(args.device)
    naive = NAIVE.get(name)
    naive_s = time_naive(naive(manifest.parent, device), pictures, device) if naive else None
    rows = []
    for precision in args.precisions:
        rate, bytes_per_s = matmul_rate(device, PRECISIONS[precision]), copy_rate(device)
        for batch in args.batches:
            backend = make_backend(name, args, manifest, batch, precision)
            row = time_backend(backend, pictures, batch, device)
            flops = count_flops(backend, pictures[:1]) if batch == args.batches[0] else None
            row |= {"backend": name, "batch": batch, "precision": precision}
            row["gflop"] = flops / 1e9 if flops else rows[-1]["gflop"]
            row["floor_ms"] = row["gflop"] * 1e9 / rate * 1e3
            row["bytes_floor_ms"] = weight_bytes(backend) / batch / bytes_per_s * 1e3
            row["parts_ms"] = time_parts(backend, pictures, batch, device)
            row["ratio_to_naive"] = naive_s * row["pictures_per_s"] if naive_s else None
            rows.append(row)
            backend.close()
    return rows


def make_pictures(num: int, shape: tuple[int, ...]) -> list[Frame]:
    """Return pictures of noise."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (*shape, 3), dtype=np.uint8)
    return [Frame("camera", i, np.roll(image, 7 * i, axis=1)) for i in range(num)]


def time_backend(
    backend: NetworkBackend, pictures: list[Frame], batch: int, device: str
) -> dict[str, Any]:
    """Return speed, latency of a batch and memory, after warming up."""
    backend.segment(pictures[:batch])
    reset_memory(device)
    times = []
    for start in range(0, len(pictures) - batch + 1, batch):
        times.append(
            clock(lambda chunk=pictures[start : start + batch]: backend.segment(chunk), device)
        )
    return {
        "pictures_per_s": batch * len(times) / sum(times),
        "latency_p50_ms": float(np.percentile(times, 50)) * 1e3,
        "latency_p95_ms": float(np.percentile(times, 95)) * 1e3,
        "memory_mib": peak_memory(device),
        "out_of_memory": backend.counts.get("out_of_memory", 0),
    }


def time_naive(
    run: Callable[[NDArray[np.uint8]], Any], pictures: list[Frame], device: str
) -> float:
    """Return seconds per picture."""
    run(pictures[0].image)
    return float(np.mean([clock(lambda image=p.image: run(image), device) for p in pictures]))


def naive_grounded_sam2(root: Path, device: str) -> Callable[[NDArray[np.uint8]], Any]:
    """Return what one writes first: each library's own steps, one picture at a time, fp32."""
    from transformers import (
        AutoTokenizer,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessorPil,
        GroundingDinoProcessor,
    )
    from transformers.models.sam2.modeling_sam2 import Sam2Model

    detector = GroundingDinoForObjectDetection.from_pretrained(root / "dino").to(device).eval()
    segmenter = Sam2Model.from_pretrained(root / "sam2").to(device).eval()
    edges = root / "dino" / "preprocessor_config.json"
    size = json.loads(edges.read_text())["size"] if edges.is_file() else None
    processor = GroundingDinoProcessor(
        GroundingDinoImageProcessorPil(**({"size": size} if size else {})),
        AutoTokenizer.from_pretrained(root / "dino"),
    )
    side = segmenter.config.prompt_encoder_config.image_size
    phrases = parse_prompt(Config().segmentation.prompt).phrases

    def run(image: NDArray[np.uint8]) -> list[NDArray[np.bool_]]:
        h, w = image.shape[:2]
        rgb = np.ascontiguousarray(image[..., ::-1])
        with torch.no_grad():
            inputs = processor(images=rgb, text=[phrases], return_tensors="pt").to(device)
            boxes = processor.post_process_grounded_object_detection(
                detector(**inputs), inputs["input_ids"], threshold=0.0, target_sizes=[(h, w)]
            )[0]["boxes"][:NUM_BOXES]
            pixels = torch.nn.functional.interpolate(
                torch.from_numpy(rgb).permute(2, 0, 1)[None].float(), (side, side), mode="bilinear"
            )
            pixels = ((pixels / 255 - 0.45) / 0.225).to(device)
            scale = torch.tensor([side / w, side / h] * 2, device=device)
            logits = segmenter(
                pixel_values=pixels, input_boxes=(boxes * scale)[None], multimask_output=False
            ).pred_masks[0]
            masks = torch.nn.functional.interpolate(logits, (h, w), mode="bilinear")[:, 0]
            return list((masks > 0).cpu().numpy())

    return run


NAIVE = {"grounded_sam2": naive_grounded_sam2}


def count_flops(backend: NetworkBackend, pictures: list[Frame]) -> float:
    """Count the arithmetic of one picture."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        backend.segment(pictures)
    return float(counter.get_total_flops())


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """Return operations per second of a large matrix product."""
    side = 8192 if device != "cpu" else 1024
    a = torch.randn(side, side, device=device).to(dtype)
    a @ a
    return 2 * side**3 / min(clock(lambda: a @ a, device) for _ in range(5))


def copy_rate(device: str) -> float:
    """Return bytes per second, read and written, of a large copy."""
    source = torch.ones(2**28 if device != "cpu" else 2**25, device=device)
    target = torch.empty_like(source)
    times = [clock(lambda: target.copy_(source), device) for _ in range(5)]
    return 2 * source.nbytes / min(times)


def network_parts(backend: NetworkBackend) -> list[Any]:
    """Return the pipeline of a backend and what it is made of."""
    return [backend._pipeline, *vars(backend._pipeline).values()]


def weight_bytes(backend: NetworkBackend) -> int:
    """Return the size of all weights on the device."""
    values = [v for part in network_parts(backend) for v in getattr(part, "__dict__", {}).values()]
    networks = {id(v): v for v in values if isinstance(v, torch.nn.Module)}
    return sum(p.nbytes for network in networks.values() for p in network.parameters())


def time_parts(
    backend: NetworkBackend, pictures: list[Frame], batch: int, device: str
) -> dict[str, float]:
    """Return milliseconds per picture of the parts; `other` is preparation and suppression."""
    spent: dict[str, float] = {}

    def watch(owner: Any, method: str, name: str) -> None:
        work = getattr(owner, method)

        def timed(*args: Any) -> Any:
            given: list[Any] = []
            seconds = clock(lambda: given.append(work(*args)), device)
            spent[name] = spent.get(name, 0.0) + seconds
            return given[0]

        setattr(owner, method, timed)
        watched.append((owner, method))

    watched: list[tuple[Any, str]] = []
    parts = {"detect": "detector", "segment_boxes": "segmenter"}
    for part in network_parts(backend):
        for method in parts.keys() & set(dir(part)):
            watch(part, method, parts[method])
    if not watched:
        watch(backend._pipeline, "run", "networks")
    watch(backend, "_to_masks", "masks")
    num = len(pictures) // batch * batch
    chunks = [pictures[i : i + batch] for i in range(0, num, batch)]
    total = sum(clock(lambda c=chunk: backend.segment(c), device) for chunk in chunks)
    for owner, method in watched:
        delattr(owner, method)
    spent["other"] = total - sum(spent.values())
    return {name: seconds / num * 1e3 for name, seconds in spent.items()}


def clock(work: Callable[[], Any], device: str) -> float:
    """Return the seconds some work takes."""
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def reset_memory(device: str) -> None:
    """Forget the peak so far."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: str) -> float:
    """Return the peak in MiB: of the GPU, or of the whole process without one."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def soak(args: argparse.Namespace, device: str, manifest: Path) -> list[dict[str, float]]:
    """Segment many pictures and note memory eleven times."""
    backend = make_backend(args.backends[0], args, manifest, args.batches[0], args.precisions[0])
    pictures = make_pictures(8, tuple(args.shape))
    process, notes = psutil.Process(), []
    batch = args.batches[0]
    every = max(batch, args.soak // 10 // batch * batch)
    for done in range(0, args.soak + 1, batch):
        if done % every == 0:
            gpu = torch.cuda.memory_reserved(device) / 2**20 if device != "cpu" else 0.0
            notes.append(
                {
                    "pictures": done,
                    "resident_mib": process.memory_info().rss / 2**20,
                    "gpu_mib": gpu,
                }
            )
            print(f"{done:6} pictures: {notes[-1]['resident_mib']:.0f} MiB, GPU {gpu:.0f} MiB")
        backend.segment([pictures[(done + i) % len(pictures)] for i in range(batch)])
    return notes


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print one line per setting."""
    table = Table(box=box.SIMPLE)
    columns = ("backend", "batch", "precision", "pictures/s", "p50 ms", "p95 ms", "memory MiB")
    for name in (*columns, "to naive", "GFLOP", "floor ms", "bytes ms"):
        table.add_column(name, justify="left" if name in ("backend", "precision") else "right")
    for row in rows:
        ratio = row["ratio_to_naive"]
        table.add_row(
            row["backend"],
            str(row["batch"]),
            row["precision"],
            f"{row['pictures_per_s']:.3g}",
            f"{row['latency_p50_ms']:.0f}",
            f"{row['latency_p95_ms']:.0f}",
            f"{row['memory_mib']:.0f}",
            "" if ratio is None else f"{ratio:.2f} x",
            f"{row['gflop']:.0f}",
            f"{row['floor_ms']:.1f}",
            f"{row['bytes_floor_ms']:.1f}",
        )
    Console(width=130).print(table)
    for row in rows:
        parts = ", ".join(f"{name} {ms:.1f}" for name, ms in row["parts_ms"].items())
        title = f"{row['backend']}, batch {row['batch']}, {row['precision']}"
        print(f"{title}: of a picture's time, ms: {parts}")


if __name__ == "__main__":
    main()
