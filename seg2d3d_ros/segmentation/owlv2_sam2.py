"""Backend `owlv2_sam2`: OWLv2 finds boxes by text, SAM 2 makes masks of them."""

from __future__ import annotations

from seg2d3d_ros.config import Config
from seg2d3d_ros.segmentation.memory import Settings
from seg2d3d_ros.segmentation.network_backend import NetworkBackend
from seg2d3d_ros.segmentation.networks.owlv2 import Owlv2
from seg2d3d_ros.segmentation.networks.pipeline import BoxPipeline
from seg2d3d_ros.segmentation.networks.sam2 import Sam2
from seg2d3d_ros.segmentation.weights import OpenModel


def create(config: Config) -> NetworkBackend:
    """Make the backend; its weights are verified, its networks not yet built."""
    return NetworkBackend("owlv2_sam2", config, build)


def build(model: OpenModel, settings: Settings, config: Config) -> BoxPipeline:
    """Build the networks on their device."""
    detector = Owlv2(model.folders["detector"], settings)
    segmenter = Sam2(model.folders["segmenter"], settings)
    return BoxPipeline(detector, segmenter, config.segmentation)
