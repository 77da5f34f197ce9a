"""Trajectories as TUM files: `stamp_s x y z qx qy qz qw`, stamps exact to the nanosecond."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import FloatArray, IntArray


def format_stamp(stamp_ns: int) -> str:
    """Return seconds with nine decimals, exactly."""
    sign, stamp_ns = ("-", -stamp_ns) if stamp_ns < 0 else ("", stamp_ns)
    return f"{sign}{stamp_ns // 1_000_000_000}.{stamp_ns % 1_000_000_000:09d}"


def parse_stamp(text: str) -> int:
    """Return the integer nanoseconds of decimal seconds, exactly."""
    whole, _, fraction = text.partition(".")
    magnitude = abs(int(whole)) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0)
    return -magnitude if whole.startswith("-") else magnitude


def pose_columns(T: FloatArray) -> FloatArray:
    """Return x y z qx qy qz qw (n, 7) of poses (n, 4, 4), without negative zeros."""
    if not len(T):
        return np.zeros((0, 7))
    columns = np.hstack([T[:, :3, 3], transforms.to_quaternion(T).reshape(-1, 4)])
    return np.asarray(np.round(columns, 9) + 0.0, dtype=np.float64)


def write_tum(path: Path, stamps_ns: IntArray, T_map_base: FloatArray) -> None:
    """Write poses (n, 4, 4) at stamps (n,)."""
    rows = zip(stamps_ns.tolist(), pose_columns(T_map_base).tolist(), strict=True)
    lines = [format_stamp(t) + "".join(f" {v:.9f}" for v in row) for t, row in rows]
    path.write_text("".join(line + "\n" for line in lines))


def read_tum(path: Path) -> tuple[IntArray, FloatArray]:
    """Return stamps (n,) and poses (n, 4, 4); lines that start with # are comments.

    Raises:
        ResultError: the file is missing or a line is no pose.
    """
    stamps: list[int] = []
    poses: list[FloatArray] = []
    try:
        for line in path.read_text().splitlines():
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            values = [float(word) for word in words[1:8]]
            stamps.append(parse_stamp(words[0]))
            poses.append(transforms.from_quaternion(values[3:7], values[:3]))
    except (OSError, ValueError, IndexError) as error:
        raise ResultError(f"{path} is no trajectory (line {len(stamps) + 1}): {error}") from error
    return np.array(stamps, dtype=np.int64), np.array(poses).reshape(-1, 4, 4)
