"""The association of the Seg2D3D paper as its code runs it: the preset `seg2d3d_paper`.

Two stages on the sets of 3D points that masks share: greedy seeding from the largest mask with a
fixed reference, then one sweep of merging. Kept faithful for comparison, thresholds and all. Two
faults of the code are not copied: masks are keyed by their label, and a mask is named by the first
building that takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from seg2d3d_ros.clusters.stage import ClusterStage
from seg2d3d_ros.config import Config
from seg2d3d_ros.evaluation.masks import BUILDING_CLASSES, MaskKey
from seg2d3d_ros.geometry.masks import contains
from seg2d3d_ros.segmentation.labels import LabelsBackend
from seg2d3d_ros.segmentation.stage import SegmentationStage
from seg2d3d_ros.types import Cluster, IntArray, Item, LabelImage, Mask, Rig


@dataclass(frozen=True)
class PaperOptions:
    """Thresholds of the run that printed the published numbers.

    Attributes:
        attach_jaccard: A mask joins a seed above this Jaccard index.
        merge_jaccard: Buildings merge from this Jaccard index on.
        min_points: Points of a building that is kept.
        min_pictures: Pictures of a building that is kept.
    """

    attach_jaccard: float = 0.05
    merge_jaccard: float = 0.80
    min_points: int = 10
    min_pictures: int = 4


DEFAULTS = PaperOptions()


def associate_as_paper(
    incidence: sparse.csr_array, picture: IntArray, options: PaperOptions = DEFAULTS
) -> IntArray:
    """Group masks into buildings by the points they share.

    Args:
        incidence: (m, p) true where point p was seen inside mask m.
        picture: (m,) picture of each mask.
        options: Thresholds.

    Returns:
        (m,) building of each mask from 1, 0 where it has none.
    """
    rows = incidence.tocsr()
    seeds = _seed(rows, options.attach_jaccard)
    kept = [
        members
        for members in seeds
        if len(_points(rows, members)) >= options.min_points
        and len(np.unique(picture[members])) >= options.min_pictures
    ]
    ids = np.zeros(rows.shape[0], dtype=np.int64)
    for number, members in enumerate(_merge(rows, kept, options.merge_jaccard), 1):
        ids[members] = number
    return ids


def _seed(rows: sparse.csr_array, attach_jaccard: float) -> list[IntArray]:
    """Attach free masks to the largest free one, whose points stay the reference."""
    columns = rows.tocsc()
    num_masks = rows.shape[0]
    sizes = np.diff(rows.indptr)
    is_free = sizes > 0
    groups = []
    for reference in np.argsort(-sizes, kind="stable"):
        if not is_free[reference]:
            continue
        points = rows.indices[rows.indptr[reference] : rows.indptr[reference + 1]]
        sharing = columns[:, points].indices
        shared = np.bincount(sharing, minlength=num_masks)
        jaccard = shared / (sizes[reference] + sizes - shared)
        members = np.flatnonzero(is_free & (jaccard > attach_jaccard))
        is_free[members] = False
        is_free[reference] = False
        groups.append(np.union1d(members, [reference]))
    return groups


def _merge(rows: sparse.csr_array, groups: list[IntArray], merge_jaccard: float) -> list[IntArray]:
    """Let each group in order of creation absorb later ones that share nearly all points."""
    points = [_points(rows, members) for members in groups]
    is_absorbed = [False] * len(groups)
    merged = []
    for i, members in enumerate(groups):
        if is_absorbed[i]:
            continue
        for j in range(i + 1, len(groups)):
            smaller, larger = sorted((len(points[i]), len(points[j])))
            if is_absorbed[j] or smaller < merge_jaccard * larger:
                continue
            shared = len(np.intersect1d(points[i], points[j], assume_unique=True))
            if shared >= merge_jaccard * (smaller + larger - shared):
                is_absorbed[j] = True
                members = np.union1d(members, groups[j])
        merged.append(members)
    return merged


def _points(rows: sparse.csr_array, members: IntArray) -> IntArray:
    return np.unique(rows[members].indices)


def name_as_paper(
    path: str | Path, on_item: Callable[[Item], None] | None = None
) -> dict[MaskKey, int]:
    """Name the masks of a recording by the paper's rules, on the landmarks of our own clusters.

    The paper takes its points from COLMAP; here they are the tracks of the cluster stage with its
    defaults, so that association alone is compared. Pictures are those the stage used.

    Args:
        path: A recording with label pictures.
        on_item: Called with every item, for progress.

    Returns:
        Id by mask, from 1.
    """
    from seg2d3d_ros.io.sources import open_source

    source = open_source(path)
    incidence, keys = build_incidence(_clusters(source.rig, source, on_item))
    order = {p: i for i, p in enumerate(sorted({key[:2] for key in keys}))}
    picture = np.array([order[key[:2]] for key in keys], dtype=np.int64)
    ids = associate_as_paper(incidence, picture).tolist()
    return {key: i for key, i in zip(keys, ids, strict=True) if i != 0}


def _clusters(
    rig: Rig, items: Iterable[Item], on_item: Callable[[Item], None] | None
) -> Iterator[Cluster]:
    """Run the first two stages by hand."""
    config = Config()
    segmentation = SegmentationStage(config, rig, LabelsBackend())
    clusters = ClusterStage(config, rig)
    for item in items:
        if on_item is not None:
            on_item(item)
        segmented = segmentation.push(item)
        if not isinstance(item, LabelImage):
            yield from clusters.push(item)
        for one in segmented:
            yield from clusters.push(one)
    for one in segmentation.finish():
        yield from clusters.push(one)
    yield from clusters.finish()


def build_incidence(
    clusters: Iterable[Cluster], building_classes: Iterable[int] = BUILDING_CLASSES
) -> tuple[sparse.csr_array, list[MaskKey]]:
    """Collect which landmarks were seen inside which masks of the given classes.

    Returns:
        (m, p) incidence and the m masks, sorted by key.
    """
    classes = set(building_classes)
    masks: dict[tuple[int, str], list[Mask]] = {}
    seen: dict[MaskKey, set[int]] = {}
    for cluster in clusters:
        for segmentation in cluster.segmentations:
            chosen = [m for m in segmentation.masks if m.class_id in classes]
            masks[segmentation.stamp_ns, segmentation.camera] = chosen
            for mask in chosen:
                seen.setdefault((segmentation.stamp_ns, segmentation.camera, mask.label), set())
        _look_up(cluster, masks, seen)
    keys = sorted(seen)
    landmarks = np.unique(np.fromiter((i for s in seen.values() for i in s), dtype=np.int64))
    row = np.repeat(np.arange(len(keys)), [len(seen[key]) for key in keys])
    column = np.searchsorted(landmarks, [i for key in keys for i in sorted(seen[key])])
    shape = (len(keys), len(landmarks))
    values = np.ones(len(row), dtype=bool)
    return sparse.csr_array((values, (row, column)), shape=shape), keys


def _look_up(
    cluster: Cluster,
    masks: dict[tuple[int, str], list[Mask]],
    seen: dict[MaskKey, set[int]],
) -> None:
    """Add the landmarks that a cluster saw inside the masks of its pictures."""
    observations = cluster.observations
    num_cameras = len(cluster.rig.cameras)
    view = observations.frame * num_cameras + observations.camera
    order = np.argsort(view, kind="stable")
    starts = np.searchsorted(view[order], np.arange(len(cluster.frames) * num_cameras + 1))
    for f, frame in enumerate(cluster.frames):
        for camera, stamp_ns in zip(frame.cameras, frame.picture_stamps_ns, strict=True):
            name = cluster.rig.cameras[camera].name
            at = f * num_cameras + camera
            rows = order[starts[at] : starts[at + 1]]
            ids = cluster.landmarks.ids[observations.landmark[rows]]
            for mask in masks.get((stamp_ns, name), ()):
                inside = contains(mask.bbox_px, mask.runs, observations.uv_px[rows])
                seen[stamp_ns, name, mask.label].update(ids[inside].tolist())
