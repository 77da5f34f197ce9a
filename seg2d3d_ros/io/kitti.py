"""What KITTI folders share: calibration files, stamps, pictures as files."""

from __future__ import annotations

import calendar
import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from seg2d3d_ros.errors import CalibrationError, InputError
from seg2d3d_ros.io import pictures
from seg2d3d_ros.io.stamps import StampGate
from seg2d3d_ros.types import Camera, Dropped, FloatArray, Item, Rig

_STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?")


@dataclass(frozen=True)
class PictureFile:
    """A picture on disk; stamp None if no stamp is known for it."""

    camera: str
    stamp_ns: int | None
    path: Path


class KittiFolder:
    """What both kinds of folders are besides their calibration: pictures as files, and a rig.

    Attributes:
        name: Name of the recording.
        rig: The cameras.
        files: All pictures.
    """

    name: str
    rig: Rig
    files: list[PictureFile]

    @property
    def num_pictures(self) -> int:
        """Return the number of pictures of all cameras."""
        return len(self.files)

    @property
    def stamps_ns(self) -> list[int]:
        """Return the stamps that are known."""
        return [f.stamp_ns for f in self.files if f.stamp_ns is not None]

    @property
    def duration_s(self) -> float:
        """Return the time between the first and last picture."""
        stamps = self.stamps_ns
        return (max(stamps) - min(stamps)) * 1e-9 if stamps else 0.0

    def describe_cameras(self) -> list[str]:
        """Return a sentence about each camera."""
        lines = []
        for c in self.rig.cameras:
            x, y, z = c.T_base_cam[:3, 3]
            n = sum(f.camera == c.name for f in self.files)
            lines.append(
                f"camera {c.name}: {c.width_px}x{c.height_px}, rectified, {n} pictures, at "
                f"({x:.2f}, {y:.2f}, {z:.2f}) m in base_link"
            )
        return lines


def read_calibration(path: Path) -> dict[str, FloatArray]:
    """Return the numbers of a file of `key: a b c` lines; lines without key are P0, P1 and so on.

    Raises:
        CalibrationError: the file cannot be read.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"cannot read the calibration file {path.name}: {error}") from error
    values: dict[str, FloatArray] = {}
    for line in filter(str.strip, lines):
        key, _, numbers = line.rpartition(":")
        try:
            row = np.array([float(word) for word in numbers.split()])
        except ValueError:
            continue  # calib_time and the like
        values[key.strip() or f"P{len(values)}"] = row
    return values


def matrix(
    values: dict[str, FloatArray], key: str, shape: tuple[int, int], path: Path
) -> FloatArray:
    """Return a matrix of a calibration file.

    Raises:
        CalibrationError: it is missing, of another size or not finite.
    """
    found = values.get(key)
    if found is None or found.size != shape[0] * shape[1] or not np.isfinite(found).all():
        seen = "is missing" if found is None else f"has {found.size} numbers or some not finite"
        raise CalibrationError(f"{path.name}: '{key}' {seen}; {shape[0]}x{shape[1]} are needed")
    return found.reshape(shape)


def rectified_camera(name: str, P: FloatArray, size_px: tuple[int, int]) -> Camera:
    """Return the camera of a projection matrix, with T_base_cam left at identity."""
    if P[0, 0] <= 0 or P[1, 1] <= 0:
        raise CalibrationError(f"camera '{name}': focal lengths {P[0, 0]:g}, {P[1, 1]:g} in P")
    return Camera(name, size_px[0], size_px[1], P[:, :3].copy(), np.eye(4))


def size_of_first(files: list[PictureFile]) -> tuple[int, int]:
    """Return (width, height) of the first picture that can be decoded.

    Raises:
        InputError: none can.
    """
    for file in files:
        image, _ = pictures.read_picture(file.path)
        if image is not None:
            return image.shape[1], image.shape[0]
    raise InputError(f"none of the {len(files)} pictures of '{files[0].camera}' can be decoded")


def list_pictures(folder: Path, camera: str, stamps_ns: list[int] | None) -> list[PictureFile]:
    """Return the pictures of a folder; the number in a file's name is its line in the stamps.

    Args:
        folder: Holds `000000.png`, ….
        camera: Camera name.
        stamps_ns: Stamps by line; None: ten pictures per second from zero.
    """
    files = []
    for path in sorted(folder.glob("*.png")):
        if not path.stem.isdigit():
            continue
        i = int(path.stem)
        known = (
            i * 100_000_000 if stamps_ns is None else stamps_ns[i] if i < len(stamps_ns) else None
        )
        files.append(PictureFile(camera, known, path))
    return files


def seconds_to_ns(text: str) -> int:
    """Return decimal seconds such as `1.041284e-01` as integer nanoseconds, exactly.

    Raises:
        ValueError: it is no finite number.
    """
    try:
        return int((Decimal(text) * 1_000_000_000).to_integral_value())
    except (InvalidOperation, OverflowError) as error:
        raise ValueError(f"'{text}' is no time in seconds") from error


def datetime_to_ns(text: str) -> int:
    """Return `2011-09-26 13:08:24.967930880`, taken as UTC, as exact nanoseconds since 1970.

    Raises:
        ValueError: it is no such time.
    """
    found = _STAMP.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"'{text}' is no time such as 2011-09-26 13:08:24.967930880")
    whole = time.strptime(" ".join(found.groups()[:6]), "%Y %m %d %H %M %S")
    return calendar.timegm(whole) * 1_000_000_000 + int((found[7] or "0").ljust(9, "0"))


def read_stamps(path: Path, parse: Callable[[str], int]) -> list[int]:
    """Return one stamp per line, by `seconds_to_ns` or `datetime_to_ns`.

    Raises:
        InputError: the file or a line cannot be read.
    """
    try:
        lines = path.read_text().split("\n")
        return [parse(line) for line in itertools.takewhile(str.strip, lines)]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the stamps {path.name}: {error}") from error


def in_order(
    files: list[PictureFile], others: list[Item], cameras: tuple[Camera, ...]
) -> Iterator[Item]:
    """Yield other items and decoded pictures by stamp; at equal stamps the others come first."""
    by_name = {c.name: c for c in cameras}
    gate = StampGate()
    queue: list[tuple[int, int, int, PictureFile | Item]] = [
        (item.stamp_ns, 0, i, item) for i, item in enumerate(others)
    ]
    queue += [(f.stamp_ns, 1, i, f) for i, f in enumerate(files) if f.stamp_ns is not None]
    for stamp_ns, _, _, entry in sorted(queue, key=lambda q: q[:3]):
        if not isinstance(entry, PictureFile):
            yield entry
        elif reason := gate.refuse(entry.camera, stamp_ns):
            yield Dropped(entry.camera, stamp_ns, reason)
        else:
            read = pictures.read_picture(entry.path)
            yield pictures.to_frame(read, by_name[entry.camera], stamp_ns)
    last_ns = max((q[0] for q in queue), default=0)
    for file in files:
        if file.stamp_ns is None:
            yield Dropped(file.camera, last_ns, "no_stamp")
