"""The folder of a recording that is being made: there whole, or not at all."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seg2d3d_ros.errors import DiskError, InputError

_PARTS = ("bag", "truth")


@contextmanager
def new_recording(out: Path) -> Iterator[Path]:
    """Yield a folder for `bag` and `truth`; they move into `out` once both are finished.

    After an error or an interrupt nothing of them is left, and `out` neither if it was not there.

    Raises:
        InputError: `out` holds a recording already.
        DiskError: SQLite cannot write the bag.
    """
    for name in _PARTS:
        if (out / name).exists():
            raise InputError(f"{out / name} exists already; choose another folder or remove it")
    out.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=out))
    try:
        yield unfinished
        for name in _PARTS:
            (unfinished / name).rename(out / name)
    except sqlite3.OperationalError as error:
        raise DiskError(
            f"the recording cannot be written to {out}: {error}; make room there, or choose "
            "another place"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        with suppress(OSError):  # not empty: there are other things in it, or the recording
            out.rmdir()
