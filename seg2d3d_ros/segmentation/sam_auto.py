"""Backend `sam_auto`: SAM 2 segments everything, without classes."""

from __future__ import annotations

from seg2d3d_ros.config import Config
from seg2d3d_ros.segmentation.memory import Settings
from seg2d3d_ros.segmentation.network_backend import NetworkBackend
from seg2d3d_ros.segmentation.networks.points import PointPipeline
from seg2d3d_ros.segmentation.networks.sam2 import Sam2
from seg2d3d_ros.segmentation.weights import OpenModel

MIN_QUALITY = 0.8
GRID_SIDE = 24


def create(config: Config) -> NetworkBackend:
    """Make the backend; its weights are verified, its networks not yet built."""
    return NetworkBackend("sam_auto", config, build, takes_prompt=False)


def build(model: OpenModel, settings: Settings, config: Config) -> PointPipeline:
    """Build the network on its device."""
    segmenter = Sam2(model.folders["segmenter"], settings)
    return PointPipeline(segmenter, MIN_QUALITY, config.segmentation.max_masks, GRID_SIDE)
