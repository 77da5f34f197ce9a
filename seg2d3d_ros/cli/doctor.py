"""`seg2d3d doctor`: check what this machine has, and say what to do about what it lacks."""

from __future__ import annotations

import argparse
import fcntl
import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from seg2d3d_ros.errors import Seg2D3DError

HELP = "check what this machine has and what it lacks"

_MIB = 1 << 20
_MIN_SHM_MIB = 256
_SHM = Path("/dev/shm")
_SEGMENT = "fastdds_" + 16 * "[0-9a-f]"  # of Fast DDS, which locks `<segment>_el` while it lives
_YOUNG_S = 10.0
_LIBRARIES = ("numpy", "scipy", "cv2", "pycolmap", "pyceres", "gtsam", "rosbags", "matplotlib")


class Lacking(Exception):
    """A check failed: what is missing and what to do."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""


def run(args: argparse.Namespace) -> int:
    """Run all checks; 1 if one that is needed fails."""
    checks: list[tuple[str, Callable[[], str], bool]] = [
        ("Python", _python, True),
        ("libraries", _libraries, True),
        ("processor", _processor, True),
        ("shared memory", _shared_memory, False),
        ("ROS 2", _ros, True),
        ("messages", _messages, True),
        ("graph", _graph, True),
        ("torch", _torch, False),
    ]
    is_good = True
    for name, check, is_needed in checks:
        try:
            sign, text = "ok", check()
        except Lacking as lack:
            sign, text = ("MISSING" if is_needed else "without"), str(lack)
            is_good = is_good and not is_needed
        print(f"{sign:<8} {name:<14} {text}", flush=True)
    return 0 if is_good else 1


def _python() -> str:
    version = platform.python_version()
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise Lacking(f"{version}; 3.11 to 3.13 is needed: set SEG2D3D_PYTHON and run make setup")
    return f"{version}, {platform.machine()}, {platform.platform(terse=True)}"


def _libraries() -> str:
    missing = []
    for name in _LIBRARIES:  # cv2 comes before pycolmap: the other order aborts
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing.append(f"{name} ({error})")
    if missing:
        raise Lacking(f"{', '.join(missing)}; make setup installs them")
    versions = [f"{name} {importlib.import_module(name).__version__}" for name in ("cv2", "numpy")]
    return f"{len(_LIBRARIES)} import; {', '.join(versions)}"


def _processor() -> str:
    import psutil

    cores = len(os.sched_getaffinity(0))
    memory_mib = psutil.virtual_memory().available / _MIB
    if cores < 2 or memory_mib < 2048:
        raise Lacking(f"{cores} cores, {memory_mib:.0f} MiB free; 2 and 2048 are needed")
    return f"{cores} cores, {memory_mib:.0f} MiB free"


def _shared_memory() -> str:
    free_mib = shutil.disk_usage(_SHM).free / _MIB if _SHM.is_dir() else 0.0
    sizes = _sizes_of_left_segments(_SHM)
    left = ""
    if sizes:
        left_mib = sum(sizes.values()) / _MIB
        left = f"; {left_mib:.0f} MiB of {len(sizes)} killed ROS 2 processes lie there: "
        left += "`fastdds shm clean` frees them"
    if free_mib < _MIN_SHM_MIB:
        raise Lacking(
            f"{_SHM} has {free_mib:.0f} MiB free; below {_MIN_SHM_MIB} pictures go by UDP, "
            f"which is slower (docker: --shm-size=512m){left}"
        )
    return f"{_SHM} has {free_mib:.0f} MiB free{left}"


def _sizes_of_left_segments(folder: Path) -> dict[str, int]:
    """Return the bytes of the segments of Fast DDS whose process is no more, by name."""
    sizes: dict[str, int] = {}
    for lock in folder.glob(f"{_SEGMENT}_el"):
        name = lock.name.removesuffix("_el")
        with suppress(OSError):  # it is gone by now, or of another user
            if _is_left(lock):
                sizes[name] = (folder / name).stat().st_size
    return sizes


def _is_left(lock: Path) -> bool:
    """Return whether nobody holds a lock, and who made it has had time to take it."""
    if time.time() - lock.stat().st_mtime < _YOUNG_S:
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _ros() -> str:
    try:
        importlib.import_module("rclpy")
    except ImportError as error:
        raise Lacking(
            f"{error}; source env.bash after make setup (replay works without)"
        ) from error
    distribution = os.environ.get("ROS_DISTRO", "from PyPI")
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    return f"{distribution}, domain {os.environ.get('ROS_DOMAIN_ID', '0')}, discovery {reach}"


def _messages() -> str:
    try:
        messages = importlib.import_module("seg2d3d_ros.msg")
        importlib.import_module("tf2_msgs.msg")
    except ImportError as error:
        raise Lacking(f"{error}; make setup builds them, source env.bash finds them") from error
    return f"{sum(name[0].isupper() for name in dir(messages))} built"


def _graph() -> str:
    try:
        from seg2d3d_ros.nodes.graph import ros_graph
        from seg2d3d_ros.nodes.self_check import measure_latency_ms

        with ros_graph():
            middleware, latency_ms = measure_latency_ms()
    except ImportError as error:
        raise Lacking(f"cannot be tried: {error}") from error
    except Seg2D3DError as error:
        raise Lacking(str(error)) from error
    return f"{middleware}, a 640x384 picture takes {latency_ms:.1f} ms"


def _torch() -> str:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise Lacking("only the extra 'models' needs it: backends with a network") from error
    if not torch.cuda.is_available():
        return f"{torch.__version__}, no CUDA device"
    return f"{torch.__version__}, {torch.cuda.get_device_name(0)}"
