"""The drives that `geometry.py` judges: simulated streets and real recordings, with truth."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from seg2d3d_ros.evaluation import read_truth
from seg2d3d_ros.evaluation.trajectory import Poses
from seg2d3d_ros.geometry.geodesy import enu_to_geodetic, geodetic_to_enu
from seg2d3d_ros.geometry.transforms import rigid
from seg2d3d_ros.io import kitti
from seg2d3d_ros.io.sources import open_source
from seg2d3d_ros.types import Fix, Item, Origin, Rig

GNSS_SIGMA_M = 0.6
SMALL = ("--cameras", "front", "--width-px", "480", "--height-px", "288")
HARD = (
    *("--mask-noise", "2", "--dropped", "0.1", "--compressed"),
    *("--moving-cars", "6", "--odometry-noise", "3"),
)


@dataclass(frozen=True)
class Must:
    """What a drive must show; None where nothing is asked.

    Attributes:
        ate_to_odometry: SE(3) error at most this many times that of the odometry alone.
        ate_m: SE(3) error, metres.
        ate_percent: SE(3) error, per cent of the path.
        sim3_percent: Sim(3) error, per cent of the path.
        scale_percent: Scale off by at most so much.
        rotation_deg: Mean error of rotation over 10 m.
        posed: Share of picture stamps with a pose.
        to_colmap: Sim(3) error at most this many times COLMAP's, where that is whole.
        speed_to_colmap: At least so many times faster than COLMAP.
    """

    ate_to_odometry: float | None = None
    ate_m: float | None = None
    ate_percent: float | None = None
    sim3_percent: float | None = None
    scale_percent: float | None = None
    rotation_deg: float | None = None
    posed: float | None = None
    to_colmap: float | None = 1.5
    speed_to_colmap: float | None = 5.0


@dataclass(frozen=True)
class Drive:
    """A recording and the truth about it.

    Attributes:
        name: Row of the table.
        recording: What `open_source` reads.
        truth: True poses of base_link.
        must: What it must show.
        gnss_sigma_m: White noise that is added to the recording's fixes.
        piece_m: Truth is compared over pieces of this length, each aligned alone; 0 as a whole.
        settings: Configuration by dotted key.
    """

    name: str
    recording: Path
    truth: Poses
    must: Must
    gnss_sigma_m: float = 0.0
    piece_m: float = 0.0
    settings: dict[str, object] = field(default_factory=dict)

    def open(self) -> tuple[Rig, Iterator[Item]]:
        """Return the rig and the items, fixes with the noise that was asked for."""
        source = open_source(self.recording)
        return source.rig, self._items(iter(source))

    def _items(self, items: Iterator[Item]) -> Iterator[Item]:
        rng = np.random.default_rng(0)
        for item in items:
            if isinstance(item, Fix) and self.gnss_sigma_m:
                item = noisy(item, self.gnss_sigma_m, rng)
            yield item


STREETS: dict[str, tuple[tuple[str, ...], Must]] = {
    "straight": (("--length-m", "160"), Must(ate_to_odometry=0.4)),
    "short": (("--length-m", "70"), Must(ate_to_odometry=0.4)),
    "two_cameras": (("--length-m", "35"), Must()),
    "one_camera": (("--length-m", "70", "--cameras", "front"), Must()),
    "city": (
        ("--route", "corner", "--length-m", "80", "--cameras", "stereo", "--gnss")
        + ("--moving-cars", "6"),
        Must(ate_m=0.4),
    ),
    "out_and_back": (
        ("--route", "out_and_back", "--length-m", "260"),
        Must(ate_to_odometry=0.4),
    ),
    "loop": (("--route", "loop", "--length-m", "420", "--gnss"), Must(ate_m=0.2)),
    "big_loop": (
        ("--route", "loop", "--length-m", "1400", *SMALL),
        Must(ate_to_odometry=0.3, ate_percent=0.5),
    ),
    "hard": (("--length-m", "160", *HARD), Must(ate_to_odometry=0.4, posed=0.98)),
}


def simulated(street: str, seed: int, out: Path) -> Drive:
    """Return a simulated street; made by `seg2d3d simulate` unless it is there already."""
    options, must = STREETS[street]
    folder = out / f"{street}_{seed}"
    if not (folder / "truth" / "truth.json").is_file():
        command = [sys.executable, "-m", "seg2d3d_ros.cli.main", "simulate", str(folder), *options]
        subprocess.run([*command, "--seed", str(seed)], check=True, stdout=sys.stderr)
    return Drive(folder.name, folder / "bag", read_truth(folder / "truth").trajectory, must)


def recorded(data: Path) -> list[Drive]:
    """Return the KITTI recordings of a data folder."""
    no_masks: dict[str, object] = {
        "segmentation.backend": "classical",
        "segmentation.every_nth": 1000,
    }
    stereo = Must(ate_percent=0.25, scale_percent=0.5, rotation_deg=0.1)
    mono = Must(sim3_percent=0.09, rotation_deg=0.1)
    drives = []
    for name, must in (("04", stereo), ("06", mono)):
        folder = data / "kitti_odometry"
        if (folder / "sequences" / name).is_dir():
            truth = read_truth(folder / "poses" / f"{name}.txt").trajectory
            recording = folder / "sequences" / name
            drives.append(Drive(f"KITTI {name}", recording, truth, must, settings=no_masks))
    for folder in sorted(data.glob("kitti_raw/*/*_sync")):
        name = f"KITTI raw {folder.name.split('_')[-2]}"
        city = Drive(name, folder, read_oxts(folder / "oxts"), Must(ate_m=0.4), settings=no_masks)
        drives.append(replace(city, gnss_sigma_m=GNSS_SIGMA_M, piece_m=70.0))
    return drives


def noisy(fix: Fix, sigma_m: float, rng: np.random.Generator) -> Fix:
    """Add white noise to a fix, twice as much to its height, and say so in its covariance."""
    sigma = sigma_m * np.array([1.0, 1.0, 2.0])
    here = Origin(fix.lat_deg, fix.lon_deg, fix.alt_m)
    lat, lon, alt = enu_to_geodetic((sigma * rng.standard_normal(3))[None], here)[0]
    return Fix(
        fix.stamp_ns,
        float(lat),
        float(lon),
        float(alt),
        np.diag(sigma**2),
        fix.antenna_base,
    )


def read_oxts(folder: Path) -> Poses:
    """Read the true poses of the GNSS/IMU frame of a KITTI raw drive, in ENU at the first.

    T = Rz(yaw) Ry(pitch) Rx(roll) at the position: the development kit's convertOxtsToPose.
    """
    stamps = kitti.read_stamps(folder / "timestamps.txt", kitti.datetime_to_ns)
    files = sorted((folder / "data").glob("*.txt"))
    rows = np.array([np.loadtxt(file) for file in files])
    positions = geodetic_to_enu(rows[:, :3], Origin(*rows[0, :3]))
    rotations = Rotation.from_euler("ZYX", rows[:, [5, 4, 3]]).as_matrix()
    T = np.stack([rigid(R, p) for R, p in zip(rotations, positions, strict=True)])
    return Poses(np.array([stamps[int(file.stem)] for file in files], dtype=np.int64), T)
