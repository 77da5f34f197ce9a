"""What a segmentation backend is, which ones there are, and which one `auto` means.

A backend of one's own needs no change here: an entry point of the group
`seg2d3d_ros.segmentation_backends` names a callable `(Config) -> SegmentationBackend`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import NamedTuple, Protocol

from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import BackendError, WeightsError, did_you_mean
from seg2d3d_ros.types import Frame, Mask, Rig

ENTRY_POINT_GROUP = "seg2d3d_ros.segmentation_backends"

# Each is a module in this room that holds `create(config) -> SegmentationBackend`.
_OWN = (
    "labels",
    "classical",
    "grounded_sam",
    "grounded_sam2",
    "owlv2_sam2",
    "sam3",
    "sam_auto",
)


class SegmentationBackend(Protocol):
    """Finds the regions of pictures.

    Attributes:
        name: Name by which it is chosen.
        classes: Class names by id, as far as it gives classes.
        max_batch: Largest number of equally sized pictures worth handing over at once.
        counts: What happened inside, by name (out-of-memory errors, ...), for the report.
    """

    name: str
    classes: dict[int, str]
    max_batch: int
    counts: dict[str, float]

    def segment(self, frames: Sequence[Frame]) -> list[list[Mask] | None]:
        """Return the masks of each picture; None for a picture that could not be processed.

        Pictures of one call have equal size. Masks may overlap; labels are unique in a picture.
        BackendError if it cannot go on at all: a replay ends with it, a node deactivates itself.
        """

    def set_prompt(self, classes: Sequence[str]) -> None:
        """Look for other classes from now on; BackendError if it takes no prompt."""

    def activate(self, shapes: Sequence[tuple[int, int]] = ()) -> None:
        """Take the device, and warm up for cameras with these shapes (h, w); idempotent.

        Models are on the device only from here, or the first picture, to `deactivate`.
        """

    def deactivate(self) -> None:
        """Leave the device, keep what is needed to come back; idempotent."""

    def close(self) -> None:
        """Free everything."""


class PromptlessBackend:
    """Base of backends that run on the processor and look for fixed classes."""

    name = ""
    classes: dict[int, str] = {}
    max_batch = 1

    def __init__(self) -> None:
        """Start with empty counts."""
        self.counts: dict[str, float] = {}

    def set_prompt(self, classes: Sequence[str]) -> None:
        """Refuse: there is no text encoder."""
        raise BackendError(
            f"the segmentation backend '{self.name}' was asked to look for {list(classes)}; it "
            "takes no text prompt. Choose a backend that does, such as grounded_sam2"
        )

    def activate(self, shapes: Sequence[tuple[int, int]] = ()) -> None:
        """Do nothing: no device is used."""

    def deactivate(self) -> None:
        """Do nothing: no device is used."""

    def close(self) -> None:
        """Do nothing: nothing is held."""


class Choice(NamedTuple):
    """A backend's name and the sentence that says why it was chosen."""

    name: str
    reason: str


def backend_names() -> list[str]:
    """Return the names of all backends, those of other packages by entry point included."""
    return sorted({*_OWN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def choose_backend(config: Config, rig: Rig) -> Choice:
    """Choose the backend: the configured one, or what `auto` means for this rig.

    `auto` takes `labels` if a camera has masks made elsewhere, else the backend of the configured
    model if its weights verify, else `classical`.

    Raises:
        BackendError: the configured name is unknown.
    """
    wanted, model = config.segmentation.backend, config.segmentation.model
    if wanted != "auto":
        if wanted not in backend_names():
            raise BackendError(_unknown(wanted))
        reason = f"backend '{wanted}' because segmentation.backend asks for it"
        if wanted == "labels" and rig.cameras and not rig.has_labels:
            reason += (
                "; but no camera brings masks (a topic `labels` beside its pictures), so that "
                "there will be no instances"
            )
        return Choice(wanted, reason)
    if rig.has_labels:
        cameras = ", ".join(sorted(rig.has_labels))
        return Choice("labels", f"backend 'labels' because {cameras} bring masks made elsewhere")
    if not model:
        return Choice(
            "classical",
            "backend 'classical' because no camera brings masks and segmentation.model names none",
        )
    from seg2d3d_ros.segmentation.weights import open_model

    try:
        backend = open_model(config).backend
    except WeightsError as error:
        return Choice(
            "classical", f"backend 'classical' because model '{model}' cannot be used: {error}"
        )
    return Choice(backend, f"backend '{backend}' because the weights of model '{model}' verify")


def create_backend(name: str, config: Config) -> SegmentationBackend:
    """Make a backend by name; heavy libraries are imported only here.

    Raises:
        BackendError: the name is unknown, or what the backend needs is not installed.
        WeightsError: its weights are missing, wrong or unsafe.
    """
    try:
        return _factory(name)(config)
    except ImportError as error:
        raise BackendError(
            f"the segmentation backend '{name}' needs '{error.name or error}', which cannot "
            "be imported here. Install the models extra (pip install 'seg2d3d_ros[models]') or "
            "choose another backend"
        ) from error


def _factory(name: str) -> Callable[[Config], SegmentationBackend]:
    if name in _OWN:
        return importlib.import_module(f"seg2d3d_ros.segmentation.{name}").create
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name == name:
            return point.load()
    raise BackendError(_unknown(name))


def _unknown(name: str) -> str:
    names = backend_names()
    known = f"there are: auto, {', '.join(names)}{did_you_mean(name, names)}"
    return f"unknown segmentation backend '{name}'; {known}"
