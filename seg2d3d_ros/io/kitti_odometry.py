"""KITTI odometry folders (`sequences/NN`): rectified pictures, calib.txt, maybe times.txt.

base_link is the centre of camera 0 in REP 103 axes. The benchmark's poses are truth, never read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seg2d3d_ros.config import InputsConfig
from seg2d3d_ros.errors import InputError
from seg2d3d_ros.geometry import transforms
from seg2d3d_ros.io import calibration, kitti
from seg2d3d_ros.types import Item, Rig


def is_kitti_odometry(path: Path) -> bool:
    """Return whether a folder looks like a sequence of KITTI odometry."""
    return (path / "calib.txt").is_file() and any(path.glob("image_[0-3]"))


class KittiOdometrySource(kitti.KittiFolder):
    """Reads one sequence; iterate as often as wanted."""

    def __init__(self, path: Path, inputs: InputsConfig | None = None) -> None:
        """Read calibration and stamps.

        Raises:
            InputError: there are no pictures, or files cannot be read.
            CalibrationError: a projection matrix is missing or unusable.
        """
        wanted = (inputs or InputsConfig()).cameras
        self.name = f"kitti_odometry_{path.resolve().name}"
        calib = path / "calib.txt"
        values = kitti.read_calibration(calib)
        times = path / "times.txt"
        self._has_times = times.is_file()
        stamps = kitti.read_stamps(times, kitti.seconds_to_ns) if self._has_times else None
        cameras = []
        self.files = []
        for i in range(4):
            name = f"image_{i}"
            files = kitti.list_pictures(path / name, name, stamps)
            if not files or (wanted and name not in wanted):
                continue
            P = kitti.matrix(values, f"P{i}", (3, 4), calib)
            T_rect0_cam = transforms.rigid(np.eye(3), calibration.baseline(P))
            T_base_rect0 = transforms.rigid(transforms.R_BODY_OPTICAL, np.zeros(3))
            camera = kitti.rectified_camera(name, P, kitti.size_of_first(files))
            cameras.append(dataclasses.replace(camera, T_base_cam=T_base_rect0 @ T_rect0_cam))
            self.files += files
        if not cameras:
            what = f"the cameras {wanted}" if wanted else "image_0 to image_3"
            raise InputError(f"no pictures in {what} of {self.name}")
        remark = "no times.txt: stamps are the picture number x 0.1 s"
        self.rig = Rig(
            tuple(cameras), base="kitti_odometry", remarks=() if self._has_times else (remark,)
        )

    def describe(self) -> list[str]:
        """Return sentences that say what was found."""
        lines = [f"KITTI odometry {self.name}: {self.duration_s:.1f} s", *self.describe_cameras()]
        lines += ["odometry: none", "GNSS: none"]
        return lines + [f"note: {remark}" for remark in self.rig.remarks]

    def remarks(self) -> tuple[str, ...]:
        """Return what was skipped besides pictures: nothing."""
        return ()

    def __iter__(self) -> Iterator[Item]:
        """Yield the pictures in stamp order."""
        return kitti.in_order(self.files, [], self.rig.cameras)
