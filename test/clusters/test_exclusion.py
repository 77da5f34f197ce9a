import numpy as np
import pytest

from seg2d3d_ros.clusters.exclusion import Exclusion
from seg2d3d_ros.config import SegmentationConfig
from seg2d3d_ros.geometry import masks
from seg2d3d_ros.types import Mask, Segmentation, SegmentationStatus

WIDTH, HEIGHT = 200, 100
BUILDING, SKY, CAR = 11, 23, 26
MS = 1_000_000


def segmentation(class_id=CAR, stamp_ms=0, status=SegmentationStatus.OK):
    """One mask of 20 by 10 pixels at (100, 50)."""
    picture = np.zeros((HEIGHT, WIDTH), bool)
    picture[50:60, 100:120] = True
    made = (Mask(class_id * 1000 + 1, class_id, 1.0, *masks.encode(picture)),)
    if status != SegmentationStatus.OK:
        made = ()
    return Segmentation("camera", stamp_ms * MS, WIDTH, HEIGHT, made, status)


def extent(picture):
    v, u = np.nonzero(picture)
    return int(u.min()), int(v.min()), int(u.max()), int(v.max())


@pytest.mark.parametrize("class_id", [SKY, CAR])
def test_look_moving_things_and_sky_are_excluded_with_a_margin(class_id):
    picture = Exclusion(SegmentationConfig()).look(0, segmentation(class_id))
    assert picture.shape == (HEIGHT, WIDTH)
    assert extent(picture) == (98, 48, 121, 61)
    assert picture[55, 110]


def test_look_buildings_are_not_excluded():
    exclusion = Exclusion(SegmentationConfig())
    assert exclusion.look(0, segmentation(BUILDING)) is None
    assert exclusion.forbid(0, 0) is None


@pytest.mark.parametrize("without", [None, segmentation(0, 200, SegmentationStatus.NO_LABELS)])
def test_forbid_picture_without_masks_is_kept_from_where_things_may_have_moved(without):
    exclusion = Exclusion(SegmentationConfig())
    exclusion.look(0, segmentation())
    # tracks go on until masks say otherwise, new ones start well away from what moves
    assert exclusion.look(0, without) is None
    # 0.2 s of 0.15 picture widths a second, and the margin
    assert extent(exclusion.forbid(0, 200 * MS)) == (92, 42, 127, 67)
    assert extent(exclusion.forbid(0, 0)) == (98, 48, 121, 61)


def test_forbid_memory_fades_and_belongs_to_its_camera():
    exclusion = Exclusion(SegmentationConfig())
    exclusion.look(0, segmentation())
    assert exclusion.forbid(1, 100 * MS) is None
    assert exclusion.forbid(0, 1_100 * MS) is None
    assert exclusion.forbid(0, -100 * MS) is None
    exclusion.clear()
    assert exclusion.forbid(0, 100 * MS) is None


def test_forbid_new_masks_replace_the_old_ones():
    exclusion = Exclusion(SegmentationConfig())
    exclusion.look(0, segmentation())
    exclusion.look(0, segmentation(BUILDING, 100))
    assert exclusion.forbid(0, 150 * MS) is None


def test_hold_up_to_the_edge_of_the_picture_beside_what_moves():
    exclusion = Exclusion(SegmentationConfig())
    exclusion.look(0, segmentation())
    exclusion.hold(0, 0, np.array([[WIDTH - 0.3, HEIGHT - 0.3]]), (HEIGHT, WIDTH))
    picture = exclusion.forbid(0, 0)
    assert picture[-1, -1] and picture[55, 110]
    assert extent(picture) == (98, 48, WIDTH - 1, HEIGHT - 1)
    assert not picture[:48].any() and not picture[70:80].any()
