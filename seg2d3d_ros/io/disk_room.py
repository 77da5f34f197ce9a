"""Whether the disks that a run writes to have room for what it will still write."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from seg2d3d_ros.errors import DiskError

_MIB = 2**20
_LEAST_MIB = 64.0
# Beside the frozen frames lie sums of depths while the map is finished, and then the result.
_PER_WRITTEN = 4.0


class DiskRoom:
    """Watches free space, so that a run ends while there is room for its result."""

    def __init__(self, scratch: Path, folders: Iterable[Path]) -> None:
        """Look at the disks of folders before a run.

        Args:
            scratch: Where the run writes; what is there by now is not counted as written.
            folders: Where it and its result will lie; the way to them may not be there yet.
        """
        self._scratch, self._first_mib = scratch, _size_mib(scratch)
        paths = [Path(f).resolve() for f in folders]
        self._disks = sorted({next(p for p in (at, *at.parents) if p.exists()) for at in paths})

    def check(self) -> None:
        """Check that four times what was written since is still free, and 64 MiB at least.

        Raises:
            DiskError: a disk has less.
        """
        written = _size_mib(self._scratch) - self._first_mib
        needed = max(_LEAST_MIB, _PER_WRITTEN * written)
        for path in self._disks:
            free = _free_mib(path)
            if free < needed:
                raise DiskError(
                    f"only {free:.0f} MiB are free on the disk of {path}, {needed:.0f} MiB are "
                    "needed to finish the map and write it: make room or choose another disk"
                )


def _free_mib(path: Path) -> float:
    return shutil.disk_usage(path).free / _MIB


def _size_mib(folder: Path) -> float:
    """Return the size of the files below a folder, of which some may go meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total / _MIB
