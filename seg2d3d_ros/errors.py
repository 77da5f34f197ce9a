"""The one error tree: everything a user can mend raises one of these.

A message says what was seen, what was needed and what to do. The command line prints it and exits
with 1; any other exception is our fault and exits with 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Seg2D3DError(Exception):
    """Base of all errors that a user can mend."""


class ConfigError(Seg2D3DError):
    """A configuration key or value is unknown, of the wrong type or out of range."""


class InputError(Seg2D3DError):
    """A recording, picture, calibration or topic cannot be used."""


class CalibrationError(InputError):
    """A camera has no usable intrinsics or extrinsics."""


class WeightsError(Seg2D3DError):
    """Model weights are missing, not the pinned ones, or unsafe to load."""


class BackendError(Seg2D3DError):
    """A segmentation backend is unknown or cannot run here."""


class ResultError(Seg2D3DError):
    """A result folder or saved map is missing, damaged or of another version."""


class DiskError(ResultError):
    """A disk has too little room for what is still to be written."""


class NodeError(Seg2D3DError):
    """A ROS 2 node could not be started, has ended or does not answer."""


class EditError(Seg2D3DError):
    """A manual edit names an instance that is not on the map, or cannot be done or undone."""


class StageError(Seg2D3DError):
    """The process of a stage was killed, mostly because memory ran out."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean '...'?` for a name that is not known, empty if none is near."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"; did you mean '{near[0]}'?" if near else ""
