import numpy as np
import pytest

from seg2d3d_ros.clusters.mask_corners import BuildingCorners
from seg2d3d_ros.clusters.tracker import Tracker
from seg2d3d_ros.config import Config, override
from seg2d3d_ros.geometry import masks
from seg2d3d_ros.types import Mask, Segmentation

SHAPE = (240, 320)
PLAIN = (slice(60, 180), slice(200, 300))  # a faint facade
TREE = (slice(20, 220), slice(10, 150))


@pytest.fixture
def tracker():
    """A tracker that has found all the corners it may have: they are in the tree."""
    rng = np.random.default_rng(5)
    image = np.full(SHAPE, 200.0)
    image[TREE] = rng.uniform(0, 255, (200, 140))
    image[PLAIN] += np.kron(rng.uniform(-4, 4, (15, 20)), np.ones((8, 5)))
    t = Tracker(100, 10)
    t.advance(image.astype(np.uint8), np.zeros((0, 2)))
    uv = t.find_corners(None)
    strong = uv[uv[:, 0] < 160]
    t.add(np.arange(len(strong)), strong)
    return t


def mask(region, label=11001, class_id=11):
    picture = np.zeros(SHAPE, dtype=bool)
    picture[region] = True
    return Mask(label, class_id, 1.0, *masks.encode(picture))


def find(tracker, *regions, blocked=None, num=24):
    config = override(Config(), {"clusters.building_features": num})
    made = Segmentation("c", 0, SHAPE[1], SHAPE[0], tuple(regions))
    corners = BuildingCorners(config)
    return corners.find(tracker, corners.regions(made), blocked)


def test_building_corners_plain_facade_gets_its_share(tracker):
    uv = find(tracker, mask(PLAIN), mask(TREE, 21001, 21))
    assert len(uv) == 24
    # three pixels off the silhouette, each in a cell of its own
    assert ((uv >= [203, 63]) & (uv <= [296, 176])).all()
    assert len(np.unique(uv // 10, axis=0)) == 24


def test_building_corners_small_masks_get_fewer(tracker):
    assert len(find(tracker, mask((slice(80, 110), slice(210, 240))))) == 900 // 150
    assert len(find(tracker, mask((slice(80, 90), slice(210, 220))))) == 0


def test_building_corners_tracks_there_are_count(tracker):
    uv = find(tracker, mask(PLAIN))
    tracker.add(1000 + np.arange(10), uv[:10])
    more = find(tracker, mask(PLAIN))
    assert len(more) == 14
    assert not {tuple(p) for p in more} & {tuple(p) for p in uv[:10]}


def test_building_corners_other_classes_and_blocked_pixels_get_none(tracker):
    assert len(find(tracker, mask(PLAIN, 21001, 21))) == 0
    assert len(find(tracker, mask(PLAIN, 1, 0))) == 0
    blocked = np.zeros(SHAPE, dtype=np.uint8)
    blocked[:, :250] = 1
    uv = find(tracker, mask(PLAIN), blocked=blocked)
    assert len(uv) > 5 and (uv[:, 0] >= 250).all()


def test_building_corners_inner_mask_takes_precedence(tracker):
    inner = (slice(100, 140), slice(230, 270))
    uv = find(tracker, mask(PLAIN), mask(inner, 11002), num=8)
    inside = ((uv >= [233, 103]) & (uv <= [266, 136])).all(axis=1)
    assert inside.sum() == 8 and (~inside).sum() == 8


def test_building_corners_none_asked_for_or_no_masks(tracker):
    assert find(tracker, mask(PLAIN), num=0).shape == (0, 2)
    assert find(tracker).shape == (0, 2)
