"""When a moment becomes a keyframe, for cameras that fire together, in turn, or drop out."""

from __future__ import annotations

import numpy as np

from seg2d3d_ros.clusters.window import LocalFrame
from seg2d3d_ros.config import ClustersConfig
from seg2d3d_ros.geometry import transforms

_LOST_SHARE = 0.6
_LEFT_OUT = 1.5
_BLIND = 12.0


class KeyframePolicy:
    """Every camera gets keyframes: by its way, its rotation or its lost tracks since the last."""

    def __init__(self, config: ClustersConfig) -> None:
        """Use the configured distances."""
        self._config = config
        self._keyframe_of: dict[int, LocalFrame] = {}
        self._num_tracks: dict[int, int] = {}

    def clear(self) -> None:
        """Forget all keyframes."""
        self._keyframe_of.clear()
        self._num_tracks.clear()

    def add(self, frame: LocalFrame) -> None:
        """Take a keyframe."""
        self._keyframe_of.update(dict.fromkeys(frame.cameras, frame))

    def count(self, camera: int, num_tracks: int) -> None:
        """Take the number of tracks that a camera left its keyframe with."""
        self._num_tracks[camera] = num_tracks

    def num_tracks_before(self, frame: LocalFrame) -> int:
        """Return with how many tracks the frame's cameras left their last keyframes."""
        return sum(self._num_tracks.get(c, 0) for c in frame.cameras)

    def is_due(
        self, frame: LocalFrame, before: LocalFrame, last: LocalFrame, waits: bool = False
    ) -> bool:
        """Return whether a frame should become a keyframe.

        Of the frames around the distance that is asked for it is the nearest, if the next one
        comes as far as this one did: a fast vehicle makes keyframes no farther apart than need be.

        A camera that was missing in the last keyframe, though it fires together with the others,
        waits half as long again: a dropped picture is no reason for two keyframes in a row. A
        moment that shows nothing, or nothing known as yet, waits much longer, so that the window
        still holds what was seen before a short darkness when there is light again.

        Args:
            frame: The newest frame, located.
            before: The frame before it.
            last: The keyframe before it.
            waits: The frame's pictures show hardly a corner, or where it is is still looked for.
        """
        for c in frame.cameras:
            if c not in self._keyframe_of:
                return True
            is_left_out = c not in last.cameras and bool(set(last.cameras) & set(frame.cameras))
            wait = _BLIND if waits else _LEFT_OUT if is_left_out else 1.0
            way, way_before = self._way_since(frame, c), self._way_since(before, c)
            if max(way + max(way - way_before, 0.0) / 2.0, self._turn_since(frame, c)) >= wait:
                return True
        return 0 < len(frame.seen.ids) < _LOST_SHARE * self.num_tracks_before(frame)

    def _way_since(self, frame: LocalFrame, camera: int) -> float:
        """Return how far a camera came since its last keyframe; 1 is enough for another."""
        way = frame.T_local_base[:3, 3] - self._keyframe_of[camera].T_local_base[:3, 3]
        return float(np.linalg.norm(way)) / self._config.keyframe_distance_m

    def _turn_since(self, frame: LocalFrame, camera: int) -> float:
        """Return how far a camera turned since its last keyframe; 1 is enough for another."""
        turned = transforms.invert(self._keyframe_of[camera].T_local_base) @ frame.T_local_base
        return float(np.rad2deg(transforms.angle_rad(turned))) / self._config.keyframe_rotation_deg
