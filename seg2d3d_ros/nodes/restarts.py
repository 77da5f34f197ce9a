"""Clusters of a node that was started again on the way: they go on where the map had ended."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Cluster, FloatArray, Keyframe

_MOST_GAP_S = 60.0
_MOST_GUESS_S = 10.0
_SPEED_OVER_S = 1.0


class Restarts:
    """Notices that clusters begin anew, and puts them where the vehicle probably is.

    A node that was killed and started again numbers its clusters from 0, and its local frame is
    base_link at its first frame: on the map that would be the start of the drive. So it is laid
    where the frames before ended, and as much further ahead as the vehicle went on at its speed.
    The new session is joined to the others as any session is, once a place is seen again.

    Attributes:
        num: How often the node has begun anew.
    """

    def __init__(self) -> None:
        """Start before the first cluster."""
        self.num = 0
        self._sequence = -1
        self._frames: tuple[Keyframe, ...] = ()
        self._T_local_new: FloatArray | None = None

    def follow(self, cluster: Cluster) -> Cluster:
        """Return the next cluster in the local frame of those before it."""
        if cluster.sequence <= self._sequence:
            self.num += 1
            self._T_local_new = self._guess(cluster.frames[0]) if cluster.frames else None
        self._sequence = cluster.sequence
        moved = cluster if self._T_local_new is None else _moved(cluster, self._T_local_new)
        self._frames = moved.frames or self._frames
        return moved

    def _guess(self, first: Keyframe) -> FloatArray | None:
        """Return where a new local frame lies in the old one (4, 4); None where nothing tells."""
        if not self._frames:
            return None
        last = self._frames[-1]
        gap_s = (first.stamp_ns - last.stamp_ns) * 1e-9
        if not 0.0 < gap_s < _MOST_GAP_S:
            return None
        T_local_first = last.T_local_base.copy()
        T_local_first[:3, 3] += self._velocity(last) * min(gap_s, _MOST_GUESS_S)
        return T_local_first @ transforms.invert(first.T_local_base)

    def _velocity(self, last: Keyframe) -> FloatArray:
        """Return the velocity over the last second (3,), metres per second."""
        span = [f for f in self._frames if (last.stamp_ns - f.stamp_ns) * 1e-9 <= _SPEED_OVER_S]
        seconds = (last.stamp_ns - span[0].stamp_ns) * 1e-9
        if seconds <= 0:
            return np.zeros(3)
        moved: FloatArray = last.T_local_base[:3, 3] - span[0].T_local_base[:3, 3]
        return moved / seconds


def _moved(cluster: Cluster, T_local_new: FloatArray) -> Cluster:
    """Return a cluster in another local frame: p_local = T_local_new @ p_new."""
    frames = tuple(replace(f, T_local_base=T_local_new @ f.T_local_base) for f in cluster.frames)
    points = transforms.apply(T_local_new, cluster.landmarks.points_local)
    return replace(
        cluster, frames=frames, landmarks=replace(cluster.landmarks, points_local=points)
    )
