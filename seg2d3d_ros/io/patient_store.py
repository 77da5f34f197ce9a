"""A store for runs that cannot wait for the disk."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.io.folder_store import FolderStore

_LOG = logging.getLogger(__name__)


class PatientStore(FolderStore):
    """Keeps in memory what the disk refuses, and tries again with whatever comes next.

    A vehicle under way goes on while its disk is full, and nothing is lost once there is room.

    Attributes:
        problem: What waits, and what the disk said last; empty when everything is written.
    """

    def __init__(self, folder: Path, digests: Mapping[str, str] | None = None) -> None:
        """Use a folder, which is made if it is not there; `digests` are of files in it."""
        super().__init__(folder, digests)
        self._waiting: dict[str, dict[str, NDArray[Any]]] = {}
        self.problem = ""

    def put(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep a group, on disk or until there is room; one of the same name is replaced."""
        self._waiting[name] = dict(arrays)
        self.digests.pop(name, None)
        try:
            for first in list(self._waiting):
                super().put(first, self._waiting[first])
                del self._waiting[first]
        except ResultError as error:
            if not self.problem:
                _LOG.warning("%s; it is kept in memory until there is room", error)
            self.problem = f"{len(self._waiting)} groups wait for room on the disk: {error}"
            return
        if self.problem:
            _LOG.info("there is room on the disk again: all is written")
        self.problem = ""

    def get(self, name: str) -> dict[str, NDArray[Any]]:
        """Return a group; raises what `FolderStore.get` does."""
        return dict(self._waiting[name]) if name in self._waiting else super().get(name)

    def drop(self, name: str) -> None:
        """Forget a group; KeyError where there is none of that name."""
        is_waiting = self._waiting.pop(name, None) is not None
        if not is_waiting or self.path(name).exists():
            super().drop(name)

    def names(self) -> list[str]:
        """Return the names of all groups, sorted."""
        return sorted({*super().names(), *self._waiting})
