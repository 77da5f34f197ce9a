"""A saved map that is opened to be edited or continued, and saved again whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seg2d3d_ros.accounts import FrameCounts, RunReport
from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.io.folder_store import FolderStore
from seg2d3d_ros.io.map_store import copy_groups, open_blocks
from seg2d3d_ros.io.result import read_run, write_result
from seg2d3d_ros.mapping.stage import MappingStage
from seg2d3d_ros.types import MapUpdate

_MAP = "map"
_STATE = "state"


def find_map(folder: str | Path) -> Path:
    """Return the `map` folder of a result folder, or the folder itself if it is one.

    Raises:
        ResultError: there is neither.
    """
    folder = Path(folder)
    for found in (folder / _MAP, folder):
        if (found / "map.json").is_file():
            return found
    raise ResultError(f"{folder} holds no saved map: name a result folder, or the map in it")


def load_stage(folder: str | Path, store: FolderStore) -> MappingStage:
    """Return the mapping stage of a saved map; its groups are copied into a store to work on.

    Raises:
        ResultError: the map is missing, damaged, of another version, or only to be looked at.
    """
    copy_map(folder, store)
    return MappingStage.restore(store)


def copy_map(folder: str | Path, store: FolderStore) -> None:
    """Copy what a saved map rests on into a store.

    Raises:
        ResultError: the map is missing, damaged or of another version.
    """
    blocks = open_blocks(find_map(folder))
    blocks.check(sorted(blocks.digests.keys() - {_STATE}))  # the copy would be as damaged, and go
    copy_groups(blocks, store, without=(_STATE,))


@contextmanager
def open_map(folder: str | Path) -> Iterator[SavedMap]:
    """Open the map of a result folder to be edited; nothing is changed before `save`.

    Raises:
        ResultError: it is no result folder, or its map cannot be read.
    """
    folder = Path(folder).absolute()
    report = read_report(folder)
    # beside the result: what did not change is then linked instead of copied
    with FolderStore.temporary(folder.parent) as store:
        yield SavedMap(folder, load_stage(folder, store), store, report)


class SavedMap:
    """A mapping stage that was read from a result folder, and the way back."""

    def __init__(
        self, folder: Path, stage: MappingStage, store: FolderStore, report: RunReport
    ) -> None:
        """Hold a stage, the store it works in and the accounts of its run."""
        self.stage, self.report = stage, report
        self._folder, self._store = folder, store

    def save(self, map: MapUpdate) -> None:
        """Write the whole result folder again, in one step.

        Raises:
            ResultError: the folder cannot be written.
        """
        self.stage.keep()
        write_result(self._folder, map, self.report, overwrite=True, blocks=self._store)


def read_report(folder: Path) -> RunReport:
    """Return the accounts of the run that left a result folder.

    Raises:
        ResultError: it is no result folder, of another version or lacks a value.
    """
    run = read_run(folder)
    try:
        return RunReport(
            source=run["source"],
            backend=run["backend"],
            frames={name: FrameCounts(**counts) for name, counts in run["frames"].items()},
            seconds=_numbers(run["seconds"]),
            counts=_numbers(run["counts"]),
            wall_s=float(run["wall_s"]),
            recording_s=float(run["recording_s"]),
            peak_memory_mib=float(run["peak_memory_mib"]),
            config=run["config"],
            classes={int(k): name for k, name in run["classes"].items()},
            remarks=tuple(run["remarks"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ResultError(f"{folder / 'run.json'} cannot be read: {error!r}") from error


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """Return numbers by name; null stands for what is not finite."""
    return {k: float("nan") if v is None else float(v) for k, v in values.items()}
