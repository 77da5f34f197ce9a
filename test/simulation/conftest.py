import json
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from seg2d3d_ros.simulation import SimulationOptions, simulate

TINY = {
    "length_m": 20.0,
    "width_px": 320,
    "height_px": 192,
    "min_mask_px": 60,
    "texture_px_per_m": 12.0,
}


class Recording:
    """A simulated recording read back with the rosbags library."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.truth = folder / "truth"
        self.messages: dict[str, list] = {}
        self.types: dict[str, str] = {}
        self.log_ns: list[int] = []
        self.raw: list[tuple[str, int, bytes]] = []
        with AnyReader([folder / "bag"]) as reader:
            for connection, log_ns, raw in reader.messages():
                message = reader.deserialize(raw, connection.msgtype)
                self.messages.setdefault(connection.topic, []).append(message)
                self.types[connection.topic] = connection.msgtype
                self.log_ns.append(log_ns)
                self.raw.append((connection.topic, log_ns, bytes(raw)))

    def stamps_ns(self, topic):
        return [stamp_ns(m) for m in self.messages[topic]]

    def rows(self, name):
        lines = (self.truth / name).read_text().split()
        return [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]

    def json(self, name):
        return json.loads((self.truth / name).read_text())

    def trajectory(self):
        """Return stamps in ns and rows x y z qx qy qz qw."""
        lines = [line.split() for line in (self.truth / "trajectory.tum").read_text().splitlines()]
        stamps = [int(line[0].replace(".", "")) for line in lines]
        return stamps, np.array([[float(v) for v in line[1:]] for line in lines])

    def points(self):
        data = (self.truth / "points.ply").read_bytes()
        header, body = data.split(b"end_header\n", 1)
        kind = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("instance", "<u4")])
        rows = np.frombuffer(body, kind)
        assert f"element vertex {len(rows)}\n".encode() in header
        return np.column_stack([rows["x"], rows["y"], rows["z"]]), rows["instance"]


def stamp_ns(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


@pytest.fixture(scope="session")
def record(tmp_path_factory):
    """Return a function that simulates with tiny pictures and reads the recording back."""

    def make(**options):
        folder = tmp_path_factory.mktemp("recording")
        summary = simulate(SimulationOptions(**{**TINY, **options}), folder)
        recording = Recording(folder)
        recording.summary = summary
        return recording

    return make


@pytest.fixture(scope="session")
def two_cameras(record):
    return record(seed=5)
