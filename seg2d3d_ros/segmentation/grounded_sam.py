"""Backend `grounded_sam`: Grounding DINO finds boxes by text, Segment Anything masks them."""

from __future__ import annotations

from seg2d3d_ros.config import Config
from seg2d3d_ros.segmentation.memory import Settings
from seg2d3d_ros.segmentation.network_backend import NetworkBackend
from seg2d3d_ros.segmentation.networks.grounding_dino import GroundingDino
from seg2d3d_ros.segmentation.networks.pipeline import BoxPipeline
from seg2d3d_ros.segmentation.networks.segment_anything import SegmentAnything
from seg2d3d_ros.segmentation.weights import OpenModel


def create(config: Config) -> NetworkBackend:
    """Make the backend; its weights are verified, its networks not yet built."""
    return NetworkBackend("grounded_sam", config, build)


def build(model: OpenModel, settings: Settings, config: Config) -> BoxPipeline:
    """Build the networks on their device."""
    detector = GroundingDino(model.folders["detector"], settings)
    segmenter = SegmentAnything(model.file("segmenter"), settings)
    return BoxPipeline(detector, segmenter, config.segmentation)
