import os
import sys
from pathlib import Path

import numpy as np
import pytest

from seg2d3d_ros.errors import BackendError
from seg2d3d_ros.evaluation.baselines import box_iou, track_by_iou, track_externally
from seg2d3d_ros.evaluation.recording import Recording
from seg2d3d_ros.evaluation.trajectory import Poses


def make_recording() -> Recording:
    """A house moves left by 10 px a picture; it has no mask in picture 5. Another appears once."""
    boxes = {
        (t, "front", 11001): (200 - 10 * t, 20, 300 - 10 * t, 90) for t in range(12) if t != 5
    }
    boxes[3, "front", 11002] = (500, 10, 560, 60)
    boxes |= {(t, "left", 11007): (50, 10, 90, 60) for t in range(12)}
    pictures = {"front": list(range(12)), "left": list(range(12))}
    empty = Poses(np.zeros(0, np.int64), np.zeros((0, 4, 4)))
    return Recording(boxes, dict.fromkeys(boxes, 1), pictures, empty)


def test_track_by_iou_gap_ends_a_track_and_lone_box_gets_no_id() -> None:
    ids = track_by_iou(make_recording())
    front = [ids.get((t, "front", 11001), 0) for t in range(12)]
    assert front == [front[0]] * 5 + [0] + [front[6]] * 6
    assert len({front[0], front[6], ids[0, "left", 11007]}) == 3
    assert (3, "front", 11002) not in ids


def test_track_by_iou_run_twice_leaves_the_recording_as_it_was() -> None:
    recording = make_recording()
    assert track_by_iou(recording) == track_by_iou(recording)
    assert recording.masks_of("front", 3) == [(3, "front", 11001), (3, "front", 11002)]


def test_track_by_iou_faster_than_half_a_box_never_continues() -> None:
    recording = make_recording()
    assert box_iou((0, 0, 100, 10), (50, 0, 150, 10)) == pytest.approx(1 / 3)
    assert track_by_iou(recording, min_iou=0.9) == {
        (t, "left", 11007): 1 for t in range(12)
    }  # 10 px of 100 px: IoU 0.82


def test_track_externally_python_without_trackers_says_what_to_install() -> None:
    with pytest.raises(BackendError, match="baselines"):
        track_externally(make_recording(), "bytetrack", "/bin/false")
    with pytest.raises(BackendError, match="/bin/true answers nothing"):
        track_externally(make_recording(), "bytetrack", "/bin/true")
    with pytest.raises(BackendError, match="no baseline 'sort9'"):
        track_externally(make_recording(), "sort9", sys.executable)


@pytest.mark.skipif(
    "SEG2D3D_BASELINES_PYTHON" not in os.environ, reason="SEG2D3D_BASELINES_PYTHON is unset"
)
@pytest.mark.parametrize("tracker", ["bytetrack", "ocsort"])
def test_track_externally_real_tracker_bridges_the_gap(tracker: str) -> None:
    python = Path(os.environ["SEG2D3D_BASELINES_PYTHON"])
    ids = track_externally(make_recording(), tracker, python)
    front = {ids[t, "front", 11001] for t in range(12) if (t, "front", 11001) in ids}
    left = {ids[t, "left", 11007] for t in range(12) if (t, "left", 11007) in ids}
    assert len(front) == len(left) == 1
    assert front != left
    assert sum(key[1] == "front" and key[2] == 11001 for key in ids) >= 8
