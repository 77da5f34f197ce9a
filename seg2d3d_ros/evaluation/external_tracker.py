"""A tracker of the package `trackers` behind standard input and output.

Run by `baselines.track_externally` with the Python of another environment, so nothing of this
package is imported here. Reads {"tracker", "streams": [{"frame_rate_hz", "frames": [[[x0, y0, x1,
y1], …]]}]} and writes the ids of all boxes in the same nesting, 0 where a box has no confirmed
track.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def track(tracker: Any, frames: list[list[list[float]]]) -> list[list[int]]:
    """Push the boxes of each frame through a tracker; ids from 1, 0 = none."""
    import numpy as np
    import supervision as sv  # type: ignore[import-not-found]

    answer = []
    for boxes in frames:
        num = len(boxes)
        detections = sv.Detections(
            xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
            confidence=np.ones(num, dtype=np.float32),
            class_id=np.zeros(num, dtype=int),
            data={"position": np.arange(num)},
        )
        tracked = tracker.update(detections)
        ids = [0] * num
        if tracked.tracker_id is not None and len(tracked):
            for position, number in zip(tracked.data["position"], tracked.tracker_id, strict=True):
                ids[int(position)] = int(number) + 1 if number >= 0 else 0
        answer.append(ids)
    return answer


def main() -> None:
    """Answer the one request on standard input."""
    import trackers

    kinds = {"bytetrack": trackers.ByteTrackTracker, "ocsort": trackers.OCSORTTracker}
    request = json.load(sys.stdin)
    streams = [
        track(kinds[request["tracker"]](frame_rate=stream["frame_rate_hz"]), stream["frames"])
        for stream in request["streams"]
    ]
    json.dump(streams, sys.stdout)


if __name__ == "__main__":
    main()
