"""Whether the disks that a run writes to have room for what it will still write."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from seg2d3d_ros.errors import DiskError

_MIB = 2**20
_LEAST_MIB = 64.0
# Beside the frozen frames lie sums of depths while the map is finished, and then the result.
_PER_WRITTEN = 4.0


class DiskRoom:
    """Watches free space, so that a run ends while there is room for its result."""

    def __init__(self, folders: Iterable[str | Path]) -> None:
        """Look at the disks of folders, or of what is there of the way to them, before a run."""
        paths = [Path(f).resolve() for f in folders]
        there = {next(p for p in (path, *path.parents) if p.exists()) for path in paths}
        self._first_mib = {path: _free_mib(path) for path in sorted(there)}

    def check(self) -> None:
        """Check that four times what was written since is still free, and 64 MiB at least.

        Raises:
            DiskError: a disk has less.
        """
        for path, first in self._first_mib.items():
            free = _free_mib(path)
            needed = max(_LEAST_MIB, _PER_WRITTEN * (first - free))
            if free < needed:
                raise DiskError(
                    f"only {free:.0f} MiB are free on the disk of {path}, {needed:.0f} MiB are "
                    "needed to finish the map and write it: make room or choose another disk"
                )


def _free_mib(path: Path) -> float:
    return shutil.disk_usage(path).free / _MIB
