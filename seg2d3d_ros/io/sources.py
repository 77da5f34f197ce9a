"""Sources: whatever lies at a path becomes a rig and a stream of items in stamp order."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from seg2d3d_ros.config import InputsConfig
from seg2d3d_ros.errors import InputError
from seg2d3d_ros.types import Item, Rig


class Source(Protocol):
    """A recording: its rig is known before the first item."""

    name: str
    rig: Rig

    @property
    def duration_s(self) -> float:
        """Return the length of the recording."""

    @property
    def num_pictures(self) -> int:
        """Return how many pictures it holds."""

    def describe(self) -> list[str]:
        """Return sentences that say what was found."""

    def remarks(self) -> tuple[str, ...]:
        """Return what the last iteration skipped besides pictures, as sentences."""

    def __iter__(self) -> Iterator[Item]:
        """Yield Frame, LabelImage, Odometry, Fix and Dropped in stamp order."""


def open_source(path: str | Path, inputs: InputsConfig | None = None) -> Source:
    """Open what lies at a path: a rosbag2 recording, a KITTI odometry or KITTI raw folder.

    Raises:
        InputError: nothing is there, it is none of these, or it holds nothing usable.
        CalibrationError: no camera has usable intrinsics and extrinsics.
    """
    from seg2d3d_ros.io.kitti_odometry import KittiOdometrySource, is_kitti_odometry
    from seg2d3d_ros.io.kitti_raw import KittiRawSource, is_kitti_raw

    path = Path(path)
    if not path.exists():
        raise InputError(f"there is nothing at {path}")
    if path.is_dir() and is_kitti_raw(path):
        return KittiRawSource(path, inputs)
    if path.is_dir() and is_kitti_odometry(path):
        return KittiOdometrySource(path, inputs)
    if _is_rosbag(path):
        from seg2d3d_ros.io.rosbag import RosbagSource

        return RosbagSource(path, inputs)
    raise InputError(_not_a_source(path))


def _is_rosbag(path: Path) -> bool:
    """Return whether it is a rosbag2 recording, or what is left of one that was cut off."""
    from seg2d3d_ros.io.rosbag_salvage import parts_of

    if path.is_file():
        return path.suffix in (".mcap", ".db3")
    return (path / "metadata.yaml").is_file() or bool(parts_of(path))


def _not_a_source(path: Path) -> str:
    needed = (
        "needed: a rosbag2 folder with metadata.yaml or a bare .mcap or .db3 file, a KITTI "
        "odometry folder sequences/NN with calib.txt and image_0, or a KITTI raw "
        "folder ..._drive_NNNN_sync"
    )
    files = [path] if path.is_file() else sorted(path.iterdir())
    old = next((file for file in files if file.suffix == ".bag"), None)
    if old is not None:
        convert = ["rosbags-convert", "--src", str(old), "--dst", str(old.with_suffix(""))]
        return (
            f"{old} is a recording of ROS 1; convert it, and give the copy: {shlex.join(convert)}"
        )
    if path.is_file():
        return f"{path} is not a recording that can be read; {needed}"
    inside = sorted(p.name for p in path.iterdir())
    shown = ", ".join(inside[:8]) + (", …" if len(inside) > 8 else "") or "nothing"
    loose = [n for n in inside if n.endswith((".mcap", ".db3"))]
    hint = f". These are several recordings; give one of them, say {loose[0]}" if loose else ""
    return f"{path} is not a recording: it holds {shown}; {needed}{hint}"


def clip(items: Iterable[Item], start_s: float, duration_s: float | None) -> Iterator[Item]:
    """Yield the items from start to start + duration, counted from the first stamp."""
    first_ns: int | None = None
    for item in items:
        first_ns = item.stamp_ns if first_ns is None else first_ns
        at_s = (item.stamp_ns - first_ns) * 1e-9
        if duration_s is not None and at_s > start_s + duration_s:
            return
        if at_s >= start_s:
            yield item
