"""Memory of the segmentation node, a real process over DDS, while pictures go through it.

    source env.bash
    python benchmarks/node_memory.py OUT [--backends classical grounded_sam2] [--pictures 2000]
        [--shape 192 320] [--device auto]

The networks have the real architectures in a small size, with random weights. Pictures are sent as
fast as the node works them off, so that none is shed. Prints resident memory of the node's process
(and memory in use on the GPU, where there is one) eleven times, and writes JSON.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

BACKENDS = ["classical", "grounded_sam2"]  # those with random weights of a small size
MAX_UNDER_WAY = 4
LIMIT_S = 120.0


def main() -> None:
    """Measure every backend and print a table."""
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    device = gpu_name()
    print(device or "no GPU here: resident memory alone")
    import rclpy

    rclpy.init()
    try:
        notes = {backend: measure(backend, args, bool(device)) for backend in args.backends}
    finally:
        rclpy.shutdown()
    print_table(notes, bool(device))
    path = args.out / "node_memory.json"
    report = {"device": device or "no GPU", "shape": args.shape, "backends": notes}
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"all numbers: {path}")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Memory of the segmentation node.")
    parser.add_argument("out", type=Path, help="folder for weights and the JSON")
    parser.add_argument("--backends", nargs="+", default=BACKENDS, choices=BACKENDS)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--shape", nargs=2, type=int, default=[192, 320], help="height, width")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def gpu_name() -> str:
    """Return the name of the GPU, empty without one."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def gpu_mib() -> float:
    """Return the memory in use on the GPU by all processes."""
    import torch

    free, total = torch.cuda.mem_get_info(0)
    return float(total - free) / 2**20


def parameters(backend: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return the node's parameters."""
    values: dict[str, Any] = {
        "segmentation.backend": backend,
        "node.discovery_s": 0.5,
        "node.inputs_wait_s": 1.0,
        "node.max_wait_s": 0.0,
        "runtime.device": args.device,
        "runtime.num_threads": 1,
    }
    if backend == "classical":
        return values
    from random_weights import make_weights

    manifest = make_weights(args.out / "weights_small", [backend], "small")
    return values | {
        "segmentation.model": f"random-{backend}",
        "segmentation.weights_dir": manifest.parent,
        "segmentation.weights_manifest": manifest,
        "segmentation.box_threshold": 0.0,
        "segmentation.nms_overlap": 1.0,
        "segmentation.max_masks": 20,
    }


def measure(backend: str, args: argparse.Namespace, has_gpu: bool) -> list[dict[str, float]]:
    """Send pictures through a node of its own; return notes of its memory."""
    command = [sys.executable, "-m", "seg2d3d_ros.nodes.segmentation_node", "--ros-args"]
    for key, value in parameters(backend, args).items():
        command += ["-p", f"{key}:={value}"]
    street = Street(tuple(args.shape))
    with (args.out / f"node_{backend}.log").open("w") as log:
        node = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            return watch(psutil.Process(node.pid), street, args.pictures, has_gpu)
        finally:
            node.terminate()
            node.wait(60)
            street.close()


def watch(
    process: psutil.Process, street: Street, num_pictures: int, has_gpu: bool
) -> list[dict[str, float]]:
    """Send pictures, and note memory before the first, then ten times."""
    street.wait(lambda: street.is_heard, "the node does not listen")
    every, notes = max(1, num_pictures // 10), []
    start_s = time.perf_counter()
    for i in range(num_pictures):
        street.send(i)
        street.wait(lambda i=i: i - street.num_made < MAX_UNDER_WAY, "the node does not answer")
        if i == 0 or (i + 1) % every == 0:
            street.wait(lambda i=i: street.num_made > i, "a picture is missing")
            notes.append({"pictures": i + 1.0, "resident_mib": process.memory_info().rss / 2**20})
            if has_gpu:
                notes[-1]["gpu_mib"] = gpu_mib()
    assert street.num_made == street.num_ok, "pictures were shed or failed: see the node's log"
    print(f"{num_pictures / (time.perf_counter() - start_s):.1f} pictures/s", flush=True)
    return notes


class Street:
    """A camera on the graph, and an ear for what the node makes of its pictures."""

    def __init__(self, shape: tuple[int, int]) -> None:
        """Publish a camera."""
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import CameraInfo, Image

        from seg2d3d_ros import msg
        from seg2d3d_ros.nodes.parameters import KEEP_ALL

        self._shape = shape
        self._wall = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
        self._node = rclpy.create_node("street")
        self._pictures = self._node.create_publisher(Image, "/cam/image_raw", KEEP_ALL)
        self._infos = self._node.create_publisher(CameraInfo, "/cam/camera_info", KEEP_ALL)
        topic = "segmentation/cam"
        self._node.create_subscription(msg.Segmentation, topic, self._hear, KEEP_ALL)
        self._node.create_subscription(Image, f"{topic}/label_picture", lambda _: None, 5)
        self.num_made = self.num_ok = 0
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        threading.Thread(target=self._executor.spin, daemon=True).start()

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown(timeout_sec=2.0)
        self._node.destroy_node()

    @property
    def is_heard(self) -> bool:
        """Return whether the node listens."""
        return all(p.get_subscription_count() for p in (self._pictures, self._infos))

    def send(self, i: int) -> None:
        """Publish the i-th picture."""
        from sensor_msgs.msg import CameraInfo, Image
        from std_msgs.msg import Header

        from seg2d3d_ros.nodes.conversions.primitives import to_time

        h, w = self._shape
        header = Header(stamp=to_time(1_700_000_000_000_000_000 + i * 100_000_000))
        header.frame_id = "cam_optical"
        K = [float(w), 0.0, w / 2, 0.0, float(w), h / 2, 0.0, 0.0, 1.0]
        info = CameraInfo(header=header, width=w, height=h, distortion_model="plumb_bob", k=K)
        picture = Image(header=header, width=w, height=h, step=3 * w, encoding="bgr8")
        picture.data = array.array("B", np.roll(self._wall, 7 * i, axis=1).tobytes())
        self._infos.publish(info)
        self._pictures.publish(picture)

    def wait(self, condition: Any, problem: str) -> None:
        """Wait until a condition holds; RuntimeError after two minutes."""
        limit_s = time.monotonic() + LIMIT_S
        while not condition():
            if time.monotonic() > limit_s:
                raise RuntimeError(f"{problem}: see the node's log")
            time.sleep(0.002)

    def _hear(self, message: Any) -> None:
        self.num_made += 1
        self.num_ok += message.status == "ok"


def print_table(notes: dict[str, list[dict[str, float]]], has_gpu: bool) -> None:
    """Print one line per note."""
    for backend, rows in notes.items():
        print(backend)
        for row in rows:
            gpu = f", GPU {row['gpu_mib']:.0f} MiB" if has_gpu else ""
            print(f"{row['pictures']:8.0f} pictures: {row['resident_mib']:.0f} MiB{gpu}")


if __name__ == "__main__":
    main()
