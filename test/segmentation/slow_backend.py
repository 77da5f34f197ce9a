"""A backend of another package, installed by a test: takes its time and keeps a diary."""

import os
import time
from pathlib import Path

import numpy as np

from seg2d3d_ros.errors import BackendError, ConfigError
from seg2d3d_ros.segmentation.masks import encode
from seg2d3d_ros.types import Mask


class SlowBackend:
    name = "slow"
    classes = {11: "building"}
    max_batch = 1

    def __init__(self):
        self.counts = {}
        self._seconds = float(os.environ["SLOW_BACKEND_S"])
        self._num_left = int(os.environ.get("SLOW_BACKEND_PICTURES", 1_000_000))
        self._write("made")

    def segment(self, frames):
        time.sleep(self._seconds)
        self._num_left -= len(frames)
        if self._num_left < 0:
            raise BackendError("out of memory, and the ladder says to stop")
        return [[Mask(11001, 11, 0.5, *encode(np.ones(f.image.shape[:2], bool)))] for f in frames]

    def set_prompt(self, classes):
        if "=" in "".join(classes):
            raise ConfigError("no synonyms here; give names alone")
        self._write("prompt", *classes)

    def activate(self, shapes=()):
        self._write("activate", *shapes)

    def deactivate(self):
        self._write("deactivate")

    def close(self):
        self._write("close")

    def _write(self, *words):
        with Path(os.environ["SLOW_BACKEND_DIARY"]).open("a") as file:
            print(*words, file=file)


def create(config):
    return SlowBackend()
