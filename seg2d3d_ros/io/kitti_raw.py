"""KITTI raw drives (`…_drive_NNNN_sync`): rectified pictures, odometry and fixes from `oxts`.

base_link is the GNSS/IMU frame. Odometry is integrated in the plane from forward speed and yaw
rate alone; roll, pitch and yaw of `oxts` are truth and never read.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seg2d3d_ros.config import InputsConfig
from seg2d3d_ros.errors import InputError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.io import calibration, kitti
from seg2d3d_ros.types import Camera, Fix, FloatArray, Item, Odometry, Rig

_LOG = logging.getLogger(__name__)

# Columns of an oxts file (dataformat.txt).
_LAT, _LON, _ALT, _FORWARD_SPEED, _YAW_RATE, _ACCURACY = 0, 1, 2, 8, 19, 23
_NUM_COLUMNS = 30


def is_kitti_raw(path: Path) -> bool:
    """Return whether a folder looks like a synchronised drive of KITTI raw."""
    return any((path / f"image_0{i}" / "data").is_dir() for i in range(4))


class KittiRawSource(kitti.KittiFolder):
    """Reads one drive; iterate as often as wanted."""

    def __init__(self, path: Path, inputs: InputsConfig | None = None) -> None:
        """Read calibration, stamps and `oxts`.

        Raises:
            InputError: there are no pictures, or files cannot be read.
            CalibrationError: a calibration file or matrix is missing or unusable.
        """
        inputs = inputs or InputsConfig()
        path = path.resolve()
        self.name = path.name
        self.files = []
        cameras = []
        for i in range(4):
            name = f"image_0{i}"
            folder = path / name
            if not (folder / "data").is_dir() or (inputs.cameras and name not in inputs.cameras):
                continue
            stamps = kitti.read_stamps(folder / "timestamps.txt", kitti.datetime_to_ns)
            files = kitti.list_pictures(folder / "data", name, stamps)
            if files:
                self.files += files
                cameras.append(_camera(path.parent, i, kitti.size_of_first(files)))
        if not cameras:
            what = f"the cameras {inputs.cameras}" if inputs.cameras else "image_00 to image_03"
            raise InputError(f"no pictures in {what} of {self.name}")
        stamps_ns, rows, self._skipped = read_oxts(path / "oxts")
        self._odometry: list[Item] = []
        self._fixes: list[Item] = []
        if len(rows):
            if inputs.odometry_topic != "none":
                self._odometry += integrate(stamps_ns, rows[:, _FORWARD_SPEED], rows[:, _YAW_RATE])
            if inputs.fix_topic != "none":
                self._fixes += [_fix(t, row) for t, row in zip(stamps_ns, rows, strict=True)]
        self.rig = Rig(tuple(cameras), base="kitti_raw", has_odometry=bool(self._odometry))

    def describe(self) -> list[str]:
        """Return sentences that say what was found."""
        lines = [f"KITTI raw {self.name}: {self.duration_s:.1f} s of pictures"]
        lines += [f"{line} (the GNSS/IMU frame)" for line in self.describe_cameras()]
        n, m = len(self._odometry), len(self._fixes)
        lines.append(f"odometry: {f'{n}, oxts forward speed and yaw rate' if n else 'none'}")
        lines.append(f"GNSS: {f'{m}, oxts position' if m else 'none'}")
        return lines

    def remarks(self) -> tuple[str, ...]:
        """Return what was skipped besides pictures."""
        return (f"{self._skipped} oxts files not used: unreadable or no stamp",) * bool(
            self._skipped
        )

    def __iter__(self) -> Iterator[Item]:
        """Yield odometry, fixes and pictures in stamp order, up to the last picture."""
        first_ns, last_ns = min(self.stamps_ns, default=0), max(self.stamps_ns, default=0)
        margin_ns = 1_000_000_000
        others = [
            item
            for pair in (self._odometry, self._fixes)
            for item in pair
            if first_ns - margin_ns <= item.stamp_ns <= last_ns + margin_ns
        ]
        return kitti.in_order(self.files, others, self.rig.cameras)


def _camera(folder: Path, i: int, size_px: tuple[int, int]) -> Camera:
    """Return rectified camera i.

    T_base_cam = inv(R_rect_00 T_cam0_velo T_velo_base) T_rect0_cam: Geiger et al., Vision meets
    Robotics (2013), eq. 5-8.
    """
    cam = folder / "calib_cam_to_cam.txt"
    cams = kitti.read_calibration(cam)
    R_rect0 = transforms.rigid(kitti.matrix(cams, "R_rect_00", (3, 3), cam), np.zeros(3))
    P = kitti.matrix(cams, f"P_rect_0{i}", (3, 4), cam)
    T_velo_base = _rigid_file(folder / "calib_imu_to_velo.txt")
    T_cam0_velo = _rigid_file(folder / "calib_velo_to_cam.txt")
    T_rect0_base = R_rect0 @ T_cam0_velo @ T_velo_base
    T_rect0_cam = transforms.rigid(np.eye(3), calibration.baseline(P))
    camera = kitti.rectified_camera(f"image_0{i}", P, size_px)
    return dataclasses.replace(camera, T_base_cam=transforms.invert(T_rect0_base) @ T_rect0_cam)


def read_oxts(folder: Path) -> tuple[list[int], FloatArray, int]:
    """Return stamps and rows (n, 30) of `oxts` in stamp order, and how many files were left out.

    Left out are files that cannot be read, have no stamp or one that came before. Without the
    folder there are none.

    Raises:
        InputError: the stamps cannot be read.
    """
    if not (folder / "data").is_dir():
        return [], np.zeros((0, _NUM_COLUMNS)), 0
    stamps_ns = kitti.read_stamps(folder / "timestamps.txt", kitti.datetime_to_ns)
    found: dict[int, FloatArray] = {}
    num_skipped = 0
    for file in sorted((folder / "data").glob("*.txt")):
        i = int(file.stem) if file.stem.isdigit() else len(stamps_ns)
        try:
            row = np.array([float(word) for word in file.read_text().split()])
        except (OSError, ValueError):
            row = np.zeros(0)
        is_whole = len(row) >= _ACCURACY + 1 and np.isfinite(row).all()
        if i < len(stamps_ns) and is_whole and stamps_ns[i] not in found:
            found[stamps_ns[i]] = row[:_NUM_COLUMNS]
        else:
            num_skipped += 1
    order = sorted(found)
    rows = np.array([found[t] for t in order]) if order else np.zeros((0, _NUM_COLUMNS))
    return order, rows, num_skipped


def velodyne_pose(folder: Path) -> FloatArray:
    """Return T_base_velo (4, 4) by `calib_imu_to_velo.txt` in a folder.

    Raises:
        CalibrationError: the file is missing or unusable.
    """
    return transforms.invert(_rigid_file(folder / "calib_imu_to_velo.txt"))


def _rigid_file(path: Path) -> FloatArray:
    values = kitti.read_calibration(path)
    R, t = kitti.matrix(values, "R", (3, 3), path), kitti.matrix(values, "T", (3, 1), path)
    return transforms.rigid(R, t[:, 0])


def integrate(
    stamps_ns: list[int], speed_mps: FloatArray, yaw_rate_rps: FloatArray
) -> list[Odometry]:
    """Return dead reckoning in the plane from speed and yaw rate (n,), by the midpoint rule."""
    poses = []
    x = y = yaw = 0.0
    for i, stamp_ns in enumerate(stamps_ns):
        if i:
            dt_s = (stamp_ns - stamps_ns[i - 1]) * 1e-9
            step_m = 0.5 * (speed_mps[i - 1] + speed_mps[i]) * dt_s
            turn_rad = 0.5 * (yaw_rate_rps[i - 1] + yaw_rate_rps[i]) * dt_s
            x += step_m * np.cos(yaw + 0.5 * turn_rad)
            y += step_m * np.sin(yaw + 0.5 * turn_rad)
            yaw += turn_rad
        c, s = np.cos(yaw), np.sin(yaw)
        poses.append(
            Odometry(stamp_ns, transforms.rigid([[c, -s, 0], [s, c, 0], [0, 0, 1]], [x, y, 0.0]))
        )
    return poses


def _fix(stamp_ns: int, row: FloatArray) -> Fix:
    sigma_m = float(row[_ACCURACY])
    covariance = np.eye(3) * sigma_m**2 if sigma_m > 0 else None
    return Fix(stamp_ns, float(row[_LAT]), float(row[_LON]), float(row[_ALT]), covariance)
