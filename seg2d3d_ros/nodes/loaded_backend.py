"""The segmentation backend of a node: loaded before any camera is known."""

from __future__ import annotations

from seg2d3d_ros.config import Config
from seg2d3d_ros.segmentation.backend import (
    Choice,
    SegmentationBackend,
    choose_backend,
    create_backend,
)
from seg2d3d_ros.types import Rig


class LoadedBackend:
    """Holds one backend.

    Attributes:
        backend: The backend.
        choice: Its name and why it was chosen.
    """

    def __init__(self, config: Config) -> None:
        """Load what the configuration says; with `auto` the cameras may ask for another one later.

        Raises:
            BackendError: the backend is unknown or cannot run here.
            WeightsError: its weights cannot be used.
        """
        self._config = config
        self.choice: Choice = choose_backend(config, Rig(cameras=()))
        self.backend: SegmentationBackend = create_backend(self.choice.name, config)

    def serve(self, rig: Rig) -> SegmentationBackend:
        """Return the backend for a rig: another one if its cameras bring their own masks."""
        choice = choose_backend(self._config, rig)
        if choice.name != self.choice.name:
            self.backend.close()
            self.backend = create_backend(choice.name, self._config)
        self.choice = choice
        return self.backend
