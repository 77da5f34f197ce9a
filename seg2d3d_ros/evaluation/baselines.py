"""Other ways to name the same masks: trackers of boxes from picture to picture."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from seg2d3d_ros.errors import BackendError
from seg2d3d_ros.evaluation.masks import MaskKey
from seg2d3d_ros.evaluation.recording import Box, Recording

EXTERNAL_TRACKERS = ("bytetrack", "ocsort")
EXTERNAL_TIMEOUT_S = 1800


def track_by_iou(recording: Recording, min_iou: float = 0.5) -> dict[MaskKey, int]:
    """Track boxes by their overlap with the last picture's (Bochinski et al. 2017).

    Each active track, the longest-lived first, takes the box of the next picture of its camera
    with the largest IoU if that is at least `min_iou`; otherwise it ends. No gap is bridged,
    and a mask alone gets no id.

    Args:
        recording: The masks; cameras are tracked apart.
        min_iou: Overlap that continues a track.

    Returns:
        Id by mask, from 1.
    """
    finished: list[list[MaskKey]] = []
    for camera, stamps in sorted(recording.pictures.items()):
        active: list[list[MaskKey]] = []
        for stamp_ns in stamps:
            free = recording.masks_of(camera, stamp_ns)
            going_on: list[list[MaskKey]] = []
            for track in active:
                last = recording.boxes[track[-1]]
                overlap = [box_iou(last, recording.boxes[key]) for key in free]
                best = int(np.argmax(overlap)) if overlap else -1
                if best >= 0 and overlap[best] >= min_iou:
                    track.append(free.pop(best))
                    going_on.append(track)
                else:
                    finished.append(track)
            active = going_on + [[key] for key in free]
        finished += active
    long_enough = sorted(track for track in finished if len(track) > 1)
    return {key: i for i, track in enumerate(long_enough, 1) for key in track}


def box_iou(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    intersection = width * height
    size_a, size_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return intersection / (size_a + size_b - intersection)


def track_externally(recording: Recording, tracker: str, python: str | Path) -> dict[MaskKey, int]:
    """Track boxes with a tracker of the PyPI package `trackers`, in an environment of its own.

    The package brings another OpenCV (extra `baselines`), so it runs as a process of the Python it
    is installed for. Cameras are tracked apart; every mask has confidence 1.

    Args:
        recording: The masks.
        tracker: One of `EXTERNAL_TRACKERS`.
        python: Interpreter of an environment with `trackers`.

    Returns:
        Id by mask, from 1; masks without a confirmed track are left out.

    Raises:
        BackendError: the tracker is unknown, or its process failed.
    """
    if tracker not in EXTERNAL_TRACKERS:
        raise BackendError(
            f"there is no baseline '{tracker}'; known are {', '.join(EXTERNAL_TRACKERS)}"
        )
    pictures = [
        (camera, [recording.masks_of(camera, stamp) for stamp in stamps], _rate_hz(stamps))
        for camera, stamps in sorted(recording.pictures.items())
    ]
    request = {
        "tracker": tracker,
        "streams": [
            {
                "frame_rate_hz": rate_hz,
                "frames": [[recording.boxes[key] for key in keys] for keys in frames],
            }
            for _, frames, rate_hz in pictures
        ],
    }
    streams = _run_external(str(python), request)
    assignment: dict[MaskKey, int] = {}
    offset = 0
    for (_, frames, _), ids_of_frames in zip(pictures, streams, strict=True):
        for keys, ids in zip(frames, ids_of_frames, strict=True):
            assignment.update({k: i + offset for k, i in zip(keys, ids, strict=True) if i > 0})
        offset = max(assignment.values(), default=0)
    return assignment


def _rate_hz(stamps_ns: list[int]) -> float:
    if len(stamps_ns) < 2:
        return 10.0
    return 1e9 / float(np.median(np.diff(stamps_ns)))


def _run_external(python: str, request: Mapping[str, object]) -> list[list[list[int]]]:
    script = Path(__file__).with_name("external_tracker.py")
    try:
        done = subprocess.run(
            [python, str(script)],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=EXTERNAL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"the tracker's process by {python} did not finish: {error}") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BackendError(
            f"the tracker's process by {python} failed ({last}); needed is the Python of an "
            "environment with the extra 'baselines': pip install 'trackers>=2,<3'"
        )
    try:
        answer: list[list[list[int]]] = json.loads(done.stdout)
    except ValueError as error:
        raise BackendError(f"{python} answers nothing as a tracker: is it a Python?") from error
    return answer
