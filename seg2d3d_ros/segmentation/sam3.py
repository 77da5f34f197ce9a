"""Backend `sam3`: SAM 3 finds and segments all instances of phrases, in one network.

Its weights are under the SAM License, which is not an open-source licence: it allows commercial
use and excludes military use and more. They are given out on request only; whoever asks for this
backend by name has accepted it.
"""

from __future__ import annotations

from seg2d3d_ros.config import Config
from seg2d3d_ros.segmentation.memory import Settings
from seg2d3d_ros.segmentation.network_backend import NetworkBackend
from seg2d3d_ros.segmentation.networks.sam3 import Sam3Pipeline
from seg2d3d_ros.segmentation.weights import OpenModel


def create(config: Config) -> NetworkBackend:
    """Make the backend; its weights are verified, its network not yet built."""
    return NetworkBackend("sam3", config, build)


def build(model: OpenModel, settings: Settings, config: Config) -> Sam3Pipeline:
    """Build the network on its device."""
    return Sam3Pipeline(model.folders["model"], settings, config.segmentation.box_threshold)
