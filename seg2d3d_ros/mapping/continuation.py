"""A new run onto a map that is there: its numbers and cameras are kept apart from those before."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import numpy as np

from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.types import Camera, Cluster, IntArray, Rig

_SAME_PLACE_M = 0.3
_SAME_ANGLE_RAD = np.deg2rad(5.0)


@dataclass
class Continuation:
    """Tells the clusters of one run from those of the next, and keeps their numbers apart.

    Clusters, sessions and landmarks are numbered from 0 in every run. A run goes on where the
    next number is due; a lower one begins another run. That may be another vehicle: cameras that
    the map does not have join its rig.

    Attributes:
        num_runs: Runs so far.
        is_restored: The map was read back: only the very next cluster of a session that went on
            is of the same run.
    """

    num_runs: int = 0
    is_restored: bool = False
    _last: int = -1
    _session: int = -1
    _shift: tuple[int, int, int] = (0, 0, 0)
    _next: tuple[int, int, int] = (0, 0, 0)
    _rig: Rig | None = None
    _camera: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def renumber(self, cluster: Cluster, rig: Rig | None) -> Cluster:
        """Return the cluster with numbers that no run before has used, in the rig of the map.

        Args:
            cluster: As the cluster stage numbers it.
            rig: Cameras of the map so far.
        """
        is_next = cluster.sequence == self._last + 1 and cluster.session == self._session
        if self.num_runs == 0 or not (
            is_next if self.is_restored else cluster.sequence > self._last
        ):
            self._rig, self._camera = joined(rig, cluster.rig)
            self._shift = self._next
            self.num_runs += 1
        self.is_restored = False
        self._last, self._session = cluster.sequence, cluster.session
        sequence, session, landmark = self._shift
        ids = cluster.landmarks.ids
        moved = cluster
        if self._shift != (0, 0, 0):
            moved = replace(
                cluster,
                sequence=cluster.sequence + sequence,
                session=cluster.session + session,
                landmarks=replace(cluster.landmarks, ids=ids + landmark),
            )
            if self._rig is not None:
                moved = _in_rig(moved, self._rig, self._camera)
        elif self._rig is not None and cluster.rig is not self._rig:
            # One value for all clusters, also where each brings a copy from another process.
            moved = replace(cluster, rig=self._rig)
        highest = int(moved.landmarks.ids.max()) + 1 if len(ids) else 0
        self._next = (moved.sequence + 1, moved.session + 1, max(self._next[2], highest))
        return moved


def joined(old: Rig | None, new: Rig) -> tuple[Rig, IntArray]:
    """Return the rig of a map with the cameras of a new run in it, and where they are (n,).

    A camera is the same if name, lens and, but for a correction, mounting are; then the new run
    says how it is mounted. Any other is added behind those there are, under a name of its own.
    """
    if old is None:
        return new, np.arange(len(new.cameras))
    cameras, place = list(old.cameras), []
    for camera in new.cameras:
        same = [k for k, c in enumerate(cameras) if _is_same(c, camera)]
        if same:
            cameras[same[0]] = replace(camera, name=cameras[same[0]].name)
        else:
            cameras.append(replace(camera, name=_free_name(camera.name, cameras)))
        place.append(same[0] if same else len(cameras) - 1)
    rig = replace(
        new,
        cameras=tuple(cameras),
        has_odometry=old.has_odometry or new.has_odometry,
        remarks=tuple(dict.fromkeys((*old.remarks, *new.remarks))),
    )
    return rig, np.array(place, dtype=np.int64)


def _is_same(a: Camera, b: Camera) -> bool:
    if a.name.split("@")[0] != b.name or a.distortion != b.distortion:
        return False
    if (a.width_px, a.height_px) != (b.width_px, b.height_px):
        return False
    if not np.array_equal(a.K, b.K) or not np.array_equal(a.D, b.D):
        return False
    T_a_b = transforms.invert(a.T_base_cam) @ b.T_base_cam
    apart_m = float(np.linalg.norm(T_a_b[:3, 3]))
    return apart_m < _SAME_PLACE_M and transforms.angle_rad(T_a_b) < _SAME_ANGLE_RAD


def _free_name(name: str, cameras: list[Camera]) -> str:
    """Return the name, or where it is taken the first of name@2, name@3, ... that is not."""
    taken = {c.name for c in cameras}
    others = (f"{name}@{k}" for k in itertools.count(2))
    return next(n for n in itertools.chain([name], others) if n not in taken)


def _in_rig(cluster: Cluster, rig: Rig, place: IntArray) -> Cluster:
    """Return a cluster that speaks of the cameras of a rig, whose places (n,) are given."""
    name = {c.name: rig.cameras[k].name for c, k in zip(cluster.rig.cameras, place, strict=True)}
    return replace(
        cluster,
        rig=rig,
        frames=tuple(
            replace(f, cameras=tuple(int(place[c]) for c in f.cameras)) for f in cluster.frames
        ),
        observations=replace(cluster.observations, camera=place[cluster.observations.camera]),
        segmentations=tuple(replace(s, camera=name[s.camera]) for s in cluster.segmentations),
        depths=replace(cluster.depths, camera=place[cluster.depths.camera].astype(np.uint16)),
    )
