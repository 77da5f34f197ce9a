"""Groups of arrays as files in a folder: one `.npz` per group, hashed, written atomically.

The format is described in docs/map_format.md.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from seg2d3d_ros.errors import ResultError

_LOG = logging.getLogger(__name__)
_SUFFIX = ".npz"
_PREFIX, _LOCK = ".seg2d3d-blocks-", "lock"


class FolderStore:
    """A `mapping.archive.BlockStore` on disk.

    Attributes:
        folder: Where the files lie.
        digests: SHA-256 of each group's file, by name; a file that differs is refused.
    """

    def __init__(self, folder: Path, digests: Mapping[str, str] | None = None) -> None:
        """Use a folder, which is made if it is not there; `digests` are of files in it."""
        self.folder = folder
        self.digests = dict(digests or {})
        self._lock: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResultError(f"{folder} cannot be made for frozen frames: {error}") from error

    @classmethod
    def temporary(cls, parent: str | Path | None = None, result: Path | None = None) -> Self:
        """Make a store in a new folder, below `parent` or where the system keeps such.

        Folders that killed runs left there are removed.

        Args:
            parent: Folder, made if it is not there.
            result: What will be written from it, by nobody else in the meantime.

        Raises:
            ResultError: the parent cannot be written, or another run will write the result.
        """
        said = "" if result is None else str(result.absolute())
        parent = Path(parent or tempfile.gettempdir()).expanduser()
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _remove_orphans(parent, said)
            store = cls(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)))
            store._lock = _lock(store.folder, said)
            return store
        except OSError as error:
            raise ResultError(
                f"no folder for frozen frames can be made in {parent}: {error}; see to rights "
                "there, or choose another by runtime.scratch_dir"
            ) from error

    def put(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep a group; one of the same name is replaced in one step.

        Raises:
            ResultError: the disk refuses, because it is full for example.
        """
        path = self.path(name)
        partial = path.with_suffix(".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb+") as file:
                np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]
                digest = _digest(file)
            os.replace(partial, path)
        except OSError as error:
            raise ResultError(
                f"frozen frames cannot be written to {path}: {error}; make room there"
            ) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        self.digests[name] = digest

    def get(self, name: str) -> dict[str, NDArray[Any]]:
        """Return a group.

        Raises:
            KeyError: there is none of that name.
            ResultError: its file is damaged.
        """
        path = self.path(name)
        try:
            with path.open("rb") as file:
                self._verify(name, file)
                with np.load(file, allow_pickle=False) as loaded:
                    return {key: loaded[key] for key in loaded.files}
        except FileNotFoundError:
            raise KeyError(name) from None
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ResultError(f"{path} cannot be read: {error!r}") from error

    def check(self, names: Iterable[str]) -> None:
        """Look whether groups are as they were written.

        Raises:
            ResultError: the file of one is missing, cannot be read or is damaged.
        """
        for name in names:
            path = self.path(name)
            try:
                with path.open("rb") as file:
                    self._verify(name, file)
            except OSError as error:
                raise ResultError(f"{path} cannot be read: {error.strerror}") from error

    def _verify(self, name: str, file: BinaryIO) -> None:
        if self.digests.get(name) not in (None, _digest(file)):
            raise ResultError(
                f"{self.path(name)} is damaged: its hash is not the one that was noted"
            )

    def drop(self, name: str) -> None:
        """Delete a group, and the folders that are left empty; KeyError where there is none."""
        path = self.path(name)
        try:
            path.unlink()
        except FileNotFoundError:
            raise KeyError(name) from None
        self.digests.pop(name, None)
        for parent in path.relative_to(self.folder).parents[:-1]:
            if any((self.folder / parent).iterdir()):
                return
            (self.folder / parent).rmdir()

    def names(self) -> list[str]:
        """Return the names of all groups, sorted."""
        files = self.folder.rglob(f"*{_SUFFIX}")
        return sorted(str(f.relative_to(self.folder).with_suffix("")) for f in files)

    def catch_up(self, other: FolderStore) -> None:
        """Know the files that another process wrote by a copy of this store."""
        self.digests = other.digests

    def path(self, name: str) -> Path:
        """Return the file of a group."""
        return self.folder / f"{name}{_SUFFIX}"

    def __enter__(self) -> FolderStore:
        """Return itself; the folder goes when the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the folder and all in it."""
        self.remove()

    def remove(self) -> None:
        """Delete the folder and all in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _digest(file: BinaryIO) -> str:
    """Return the SHA-256 of a file, and go back to its beginning."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0)
    return digest


def _lock(folder: Path, result: str) -> int | None:
    """Lock a folder while this process lives; its file appears when it is locked already.

    It holds what will be written from the folder.
    """
    making = folder / "making"
    descriptor = os.open(making, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:  # some network disks have no locks
        _LOG.warning(
            "%s cannot be locked (%s): it stays there if the run is killed", folder, error
        )
        os.close(descriptor)
        making.unlink()
        return None
    os.write(descriptor, os.fsencode(result))
    os.rename(making, folder / _LOCK)
    return descriptor


def _remove_orphans(parent: Path, result: str) -> None:
    """Remove folders of stores whose process is no more: nobody holds their lock.

    Raises:
        ResultError: one that lives will write the result.
    """
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody works there, or it is not ours
            if result and _read(lock) == result:
                raise ResultError(
                    f"another run is about to write {result}; wait for its end, or choose another "
                    "folder"
                ) from None
            continue
        _LOG.info("removing %s, which a run left that was killed", lock.parent)
        shutil.rmtree(lock.parent, ignore_errors=True)


def _read(lock: Path) -> str:
    """Return what a lock says, nothing where it has gone or is not ours."""
    with suppress(OSError):
        return os.fsdecode(lock.read_bytes())
    return ""
