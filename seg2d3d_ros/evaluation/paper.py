"""The published rules as a baseline: masks of a recording named by the preset `seg2d3d_paper`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from seg2d3d_ros.clusters.stage import ClusterStage
from seg2d3d_ros.config import Config
from seg2d3d_ros.evaluation.masks import MaskKey
from seg2d3d_ros.mapping.paper import PaperAssociator
from seg2d3d_ros.mapping.state import MapState
from seg2d3d_ros.segmentation.labels import LabelsBackend
from seg2d3d_ros.segmentation.stage import SegmentationStage
from seg2d3d_ros.types import Cluster, Item, LabelImage, Rig


def name_as_paper(rig: Rig, items: Iterable[Item]) -> dict[MaskKey, int]:
    """Name the masks of a recording by the paper's rules, on the landmarks of our own clusters.

    The paper takes its points from COLMAP; here they are the tracks of the cluster stage with its
    defaults, so that association alone is compared. Pictures are those the stage used.

    Args:
        rig: The cameras.
        items: A recording with label pictures, in stamp order.

    Returns:
        Id by mask, from 1.
    """
    return name_clusters(_clusters(rig, items))


def name_clusters(clusters: Iterable[Cluster]) -> dict[MaskKey, int]:
    """Name the masks of clusters by the paper's rules, all at once; id by mask, from 1."""
    config = Config()
    state, rules = MapState(), PaperAssociator(config)
    for cluster in clusters:
        rules.collect(state, state.add(cluster, np.eye(4)).new_frames)
    rules.rebuild(state)
    out = {}
    for p in rules.pictures:
        masks = state.frames[p.frame].masks[p.camera]
        for mask, i in zip(masks, rules.instances_of_masks(p, len(masks)), strict=True):
            if i:
                out[*state.picture(p.frame, p.camera), mask.label] = i
    return out


def _clusters(rig: Rig, items: Iterable[Item]) -> Iterator[Cluster]:
    """Run the first two stages by hand."""
    config = Config()
    segmentation = SegmentationStage(config, rig, LabelsBackend())
    clusters = ClusterStage(config, rig)
    for item in items:
        segmented = segmentation.push(item)
        if not isinstance(item, LabelImage):
            yield from clusters.push(item)
        for one in segmented:
            yield from clusters.push(one)
    for one in segmentation.finish():
        yield from clusters.push(one)
    yield from clusters.finish()
