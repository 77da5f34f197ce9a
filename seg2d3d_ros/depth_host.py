"""Depths of pictures, measured in a process of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import cv2

from seg2d3d_ros.clusters.depth_meter import DepthMeter, DepthTask
from seg2d3d_ros.config import Config
from seg2d3d_ros.stage_process import StageProcess
from seg2d3d_ros.types import DepthSamples, Rig


class DepthsApart:
    """Measures depths beside another interpreter lock than the one that tracking holds."""

    def __init__(self, config: Config, rig: Rig) -> None:
        """Start the process."""
        self._process = StageProcess(partial(_make, config, rig), "the depths")

    def begin(self, tasks: Sequence[DepthTask]) -> Callable[[], list[DepthSamples]]:
        """Begin to measure and return what waits for the depths; one after another.

        Raises:
            StageError: the process was killed.
        """
        if not tasks:
            return list
        self._process.ask("measure_all", tasks)
        return self._process.hear

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.end()

    @property
    def busy_s(self) -> float:
        """Return the CPU time of the process so far."""
        return self._process.busy_s

    @property
    def peak_memory_mib(self) -> float:
        """Return the most resident memory of the process so far."""
        return self._process.peak_memory_mib


def _make(config: Config, rig: Rig) -> DepthMeter:
    cv2.setNumThreads(1)
    return DepthMeter(config, rig)
