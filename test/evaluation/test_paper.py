import numpy as np
import pytest

from seg2d3d_ros.evaluation.paper import name_clusters
from seg2d3d_ros.geometry.masks import encode
from seg2d3d_ros.types import (
    Camera,
    Cluster,
    Keyframe,
    Landmarks,
    Mask,
    Observations,
    Rig,
    Segmentation,
)

NUM_STAMPS, NUM_POINTS = 5, 12


def seen_at(stamps: range, num_overlap: int = 0) -> Cluster:
    """A house with twelve landmarks and a car with as many, in pictures of 40x30."""
    camera = Camera("front", 40, 30, np.eye(3), np.eye(4))
    house = np.zeros((30, 40), bool)
    house[5:20, 5:20] = True
    shapes = [encode(house), encode(np.roll(house, 20, axis=1))]
    masks = tuple(
        Mask(label, label // 1000, 1.0, *s)
        for label, s in zip((11001, 26001), shapes, strict=True)
    )
    grid = np.stack(np.meshgrid(np.arange(6, 18, 3), np.arange(6, 15, 3)), -1).reshape(-1, 2)
    uv = np.concatenate([grid, grid + [20, 0]]).astype(np.float32)
    num = len(stamps)
    ids = np.arange(2 * NUM_POINTS)
    return Cluster(
        sequence=int(num_overlap > 0),
        session=0,
        is_last=True,
        scale="metric",
        num_overlap=num_overlap,
        rig=Rig((camera,)),
        frames=tuple(Keyframe(100 * i, np.eye(4), True, (0,), (100 * i,)) for i in stamps),
        landmarks=Landmarks(
            ids,
            np.zeros((len(ids), 3)),
            np.zeros((len(ids), 3), np.uint8),
            np.zeros((len(ids), 0), np.uint8),
            np.zeros(len(ids), np.float32),
        ),
        observations=Observations(
            np.tile(ids, num),
            np.repeat(np.arange(num), len(ids)),
            np.zeros(num * len(ids), np.int64),
            np.tile(uv, (num, 1)),
        ),
        segmentations=tuple(
            Segmentation("front", 100 * i, 40, 30, masks) for i in stamps[num_overlap:]
        ),
    )


def test_name_clusters_names_building_masks_alone() -> None:
    found = name_clusters([seen_at(range(NUM_STAMPS))])
    assert found == {(100 * i, "front", 11001): 1 for i in range(NUM_STAMPS)}


def test_name_clusters_that_overlap_count_each_picture_once() -> None:
    both = [seen_at(range(3)), seen_at(range(1, NUM_STAMPS), num_overlap=2)]
    assert name_clusters(both) == name_clusters([seen_at(range(NUM_STAMPS))])


@pytest.mark.parametrize(("num", "is_kept"), [(3, False), (4, True)])
def test_name_clusters_needs_four_pictures(num: int, is_kept: bool) -> None:
    assert bool(name_clusters([seen_at(range(num))])) == is_kept
