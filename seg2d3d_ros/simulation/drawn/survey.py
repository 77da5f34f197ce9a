"""A real drive as far as drawing needs it: pictures, true poses and what the lidar saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from seg2d3d_ros.config import InputsConfig
from seg2d3d_ros.errors import InputError
from seg2d3d_ros.geometry import geodesy, transforms
from seg2d3d_ros.io import kitti, kitti_raw
from seg2d3d_ros.io.ply import positions_of
from seg2d3d_ros.io.result import read_result
from seg2d3d_ros.io.sources import Source, open_source
from seg2d3d_ros.simulation.drawn.registration import anchor, register_scans
from seg2d3d_ros.types import Camera, FloatArray, Frame, IntArray, Origin

_COLOUR_CAMERAS = ("image_02", "image_03")
_MIN_RANGE_M = 2.5
_SCAN_PERIOD_S, _NUM_SLOTS = 0.1, 200
_MAX_RANGE_M = 80.0
_NUM_SCANS = 3
_REGISTRATION_STEP_M = 3.0


@dataclass(frozen=True)
class Scan:
    """Points (n, 3) of the map seen around one time, metres."""

    stamp_ns: int
    points_map: NDArray[np.float32]


@dataclass(frozen=True)
class Survey:
    """A drive with its true poses.

    Attributes:
        source: The recording: rig, pictures, odometry.
        stamps_ns: (n,) rising.
        T_map_base: (n, 4, 4) true poses of base_link; the map is that of the drawing.
        origin: Of the ENU map, or None where the map is only local.
        scans: What stood in the street, in stamp order; one without stamp order is all the time.
    """

    source: Source
    stamps_ns: IntArray
    T_map_base: FloatArray
    origin: Origin | None
    scans: tuple[Scan, ...]

    def camera(self, name: str) -> Camera:
        """Return a camera of the rig by its name."""
        return self.source.rig.cameras[self.source.rig.index(name)]

    def poses(self, stamps_ns: NDArray[np.int64] | list[int]) -> FloatArray:
        """Return interpolated poses (m, 4, 4) of base_link in the map."""
        return transforms.interpolate_many(self.stamps_ns, self.T_map_base, stamps_ns)

    def scans_near(self, stamp_ns: int) -> list[Scan]:
        """Return the scans next in time: what moves stands in them where a picture shows it."""
        return sorted(self.scans, key=lambda s: abs(s.stamp_ns - stamp_ns))[:_NUM_SCANS]

    def frames(self) -> Iterator[tuple[Frame, FloatArray]]:
        """Yield every picture that lies within the poses, with its T_map_base."""
        for item in self.source:
            is_inside = self.stamps_ns[0] <= item.stamp_ns <= self.stamps_ns[-1]
            if isinstance(item, Frame) and is_inside:
                yield item, self.poses([item.stamp_ns])[0]


def in_color(frame: Frame) -> NDArray[np.uint8]:
    """Return a picture as (h, w, 3) BGR, a grey one too."""
    return frame.image if frame.image.ndim == 3 else np.repeat(frame.image[..., None], 3, axis=2)


def survey_kitti(
    path: Path, origin: Origin | None = None, on_scan: Callable[[int], None] | None = None
) -> Survey:
    """Survey a KITTI raw drive by its `oxts` poses and lidar scans, registered on each other.

    Args:
        path: Folder `…_drive_NNNN_sync`.
        origin: Of the ENU map; None: the first pose.
        on_scan: Called with the number of scans that were registered since the last call.

    Raises:
        InputError: pictures, `oxts` or lidar scans are missing.
        CalibrationError: a calibration file is missing or unusable.
    """
    source = kitti_raw.KittiRawSource(path, InputsConfig(cameras=list(_COLOUR_CAMERAS)))
    stamps_ns, rows, _ = kitti_raw.read_oxts(path / "oxts")
    if len(rows) < 2:
        raise InputError(f"{path}/oxts holds {len(rows)} readable poses; two or more are needed")
    origin = origin or Origin(*(float(x) for x in rows[0, :3]))
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3, :3] = Rotation.from_euler("ZYX", rows[:, [5, 4, 3]]).as_matrix()
    poses[:, :3, 3] = geodesy.geodetic_to_enu(rows[:, :3], origin)
    survey = Survey(source, np.array(stamps_ns, dtype=np.int64), poses, origin, ())
    return _registered(dataclasses.replace(survey, scans=tuple(_scans(path, survey))), on_scan)


def survey_result(recording: Path, result: Path, origin: Origin | None = None) -> Survey:
    """Survey any recording by poses and points of the map that `replay` made of it.

    Args:
        recording: A recording that `io.sources` opens.
        result: Result folder of that recording.
        origin: Of the map the houses are drawn in; None: that of the result.

    Raises:
        InputError: the recording cannot be used, or the map of the result is another one.
        ResultError: the result folder is missing or damaged.
    """
    found = read_result(result)
    if origin is not None and origin != found.origin:
        raise InputError(
            f"the houses are drawn in a map with its origin at {origin}, but that of {result} is "
            f"{found.origin}; draw and record with one and the same result"
        )
    points = positions_of(found.points).astype(np.float32)
    scan = Scan(int(found.stamps_ns[0]), points)
    source = open_source(recording)
    return Survey(source, found.stamps_ns, found.T_map_base, found.origin, (scan,))


def _registered(survey: Survey, on_scan: Callable[[int], None] | None) -> Survey:
    """Correct poses and scans so that the scans lie on each other; the mean place stays."""
    chosen = [survey.scans[0]]
    for scan in survey.scans:
        step = np.subtract(*survey.poses([scan.stamp_ns, chosen[-1].stamp_ns])[:, :3, 3])
        if np.hypot(*step[:2]) >= _REGISTRATION_STEP_M:
            chosen.append(scan)
    if len(chosen) < 2:
        return survey
    stamps_ns = [s.stamp_ns for s in chosen]
    rough = survey.poses(stamps_ns)
    corrections = register_scans([s.points_map for s in chosen], rough[:, :3, 3], on_scan)
    corrections = anchor(corrections, rough)

    def at(query_ns: IntArray | list[int]) -> FloatArray:
        return transforms.interpolate_many(stamps_ns, corrections, query_ns)

    moved = at([s.stamp_ns for s in survey.scans])
    scans = tuple(
        Scan(s.stamp_ns, transforms.apply(T, s.points_map.astype(float)).astype(np.float32))
        for s, T in zip(survey.scans, moved, strict=True)
    )
    poses = at(survey.stamps_ns) @ survey.T_map_base
    return dataclasses.replace(survey, T_map_base=poses, scans=scans)


def _scans(path: Path, survey: Survey) -> Iterator[Scan]:
    folder = path / "velodyne_points"
    files = sorted((folder / "data").glob("*.bin"))
    if not files:
        raise InputError(
            f"{folder}/data holds no scans; download the drive with its velodyne data"
        )
    stamps_ns = kitti.read_stamps(folder / "timestamps.txt", kitti.datetime_to_ns)
    T_base_velo = kitti_raw.velodyne_pose(path.resolve().parent)
    for file in files:
        i = int(file.stem)
        if i < len(stamps_ns):
            points = np.fromfile(file, np.float32).reshape(-1, 4)[:, :3].astype(float)
            distance = np.linalg.norm(points[:, :2], axis=1)
            points = points[(distance > _MIN_RANGE_M) & (distance < _MAX_RANGE_M)]
            yield Scan(stamps_ns[i], _unroll(points, stamps_ns[i], T_base_velo, survey))


def _unroll(
    points_velo: FloatArray, stamp_ns: int, T_base_velo: FloatArray, survey: Survey
) -> NDArray[np.float32]:
    """Bring a scan (n, 3) into the map, each point by the pose at its own time.

    The head turns clockwise seen from above, starts backwards and is stamped looking forward.
    """
    turn = -np.arctan2(points_velo[:, 1], points_velo[:, 0]) / (2 * np.pi)
    slots, slot = np.unique(np.rint(turn * _NUM_SLOTS).astype(np.int64), return_inverse=True)
    at_ns = stamp_ns + (slots / _NUM_SLOTS * _SCAN_PERIOD_S * 1e9).astype(np.int64)
    out = np.empty(points_velo.shape, np.float32)
    for k, T in enumerate(survey.poses(at_ns) @ T_base_velo):
        out[slot == k] = transforms.apply(T, points_velo[slot == k])
    return out
