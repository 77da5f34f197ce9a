import numpy as np

from seg2d3d_ros.geometry import masks
from seg2d3d_ros.mapping.incidence import by_place, incidence
from seg2d3d_ros.types import Mask

BUILDINGS = frozenset({0, 11})


def rectangle(box, label, class_id=11):
    picture = np.zeros((100, 160), dtype=bool)
    picture[box[1] : box[3], box[0] : box[2]] = True
    return Mask(label, class_id, 1.0, *masks.encode(picture))


def look_up(uv, *regions):
    """Mask by landmark, and class by landmark; landmarks are numbered from 10."""
    seen = incidence(10 + np.arange(len(uv)), np.array(uv, dtype=float), regions, BUILDINGS)
    owner = dict(zip(seen.ids.tolist(), seen.mask.tolist(), strict=True))
    return owner, dict(zip(seen.all_ids.tolist(), seen.class_id.tolist(), strict=True))


def test_incidence_landmark_counts_in_the_smallest_of_overlapping_masks():
    large, small = rectangle((0, 0, 150, 90), 11001), rectangle((40, 20, 100, 70), 11002)
    uv = [(60, 40), (10, 40), (155, 95)]
    for regions in ((large, small), (small, large)):
        owner, classes = look_up(uv, *regions)
        assert {i: regions[k] for i, k in owner.items()} == {10: small, 11: large}
        assert classes == {10: 11, 11: 11, 12: -1}


def test_incidence_what_stands_before_a_building_takes_its_landmarks():
    house, car = rectangle((0, 0, 150, 90), 11001), rectangle((40, 40, 90, 80), 26001, 26)
    owner, classes = look_up([(60, 60), (20, 60)], house, car)
    assert owner == {11: 0}
    assert classes == {10: 26, 11: 11}


def test_incidence_landmarks_at_the_border_are_left_out_but_keep_their_class():
    house = rectangle((20, 20, 120, 90), 11001)
    owner, classes = look_up([(20, 50), (119, 50), (60, 20), (60, 55)], house)
    assert set(owner) == {13}
    assert set(classes.values()) == {11}


def test_incidence_small_masks_leave_out_less_than_large_ones():
    large, small = rectangle((20, 20, 120, 90), 11001), rectangle((20, 20, 30, 34), 11001)
    uv = [(20 + k, 27) for k in range(5)]
    kept = [len(look_up(uv, region)[0]) for region in (large, small)]
    assert kept[0] < kept[1]


def test_incidence_class_agnostic_masks_count_and_others_do_not():
    unknown, tree = rectangle((0, 0, 60, 90), 1, 0), rectangle((80, 0, 150, 90), 21001, 21)
    owner, classes = look_up([(30, 40), (100, 40)], unknown, tree)
    assert owner == {10: 0}
    assert classes == {10: 0, 11: 21}


def test_incidence_without_masks_or_landmarks_is_empty():
    owner, classes = look_up([(30, 40), (np.nan, 3)])
    assert owner == {}
    assert classes == {10: -1, 11: -1}
    owner, classes = look_up(np.zeros((0, 2)), rectangle((0, 0, 60, 90), 11001))
    assert owner == classes == {}


def test_incidence_nan_pixel_lies_in_no_mask():
    owner, classes = look_up([(np.nan, 40)], rectangle((0, 0, 150, 90), 11001))
    assert owner == {}
    assert classes == {10: -1}


def test_by_place_labels_have_no_say_in_the_order_of_masks():
    boxes = [(40, 20, 60, 40), (0, 0, 150, 90), (40, 20, 60, 40), (3, 2, 9, 8)]
    for labels in ([1, 2, 3, 4], [4, 3, 2, 1], [2, 4, 1, 3]):
        masks_here = tuple(rectangle(b, n) for b, n in zip(boxes, labels, strict=True))
        found = by_place(masks_here)
        assert [m.bbox_px for m in found] == sorted(boxes)
        twins = [m.label for m in found if m.bbox_px == boxes[0]]
        assert twins == sorted((labels[0], labels[2]))
