from seg2d3d_ros.evaluation.masks import build_mask_truth

ROWS = [
    (200, "front", 11002, 5, 0.4),
    (200, "front", 11002, 4, 0.5),
    (100, "front", 11001, 4, 1.0),
    (100, "front", 26001, 0, 1.0),
    (100, "front", 11002, 0, 1.0),
]


def test_build_mask_truth_two_houses_takes_larger_share_and_keeps_both() -> None:
    masks = build_mask_truth(ROWS)
    assert masks.keys == ((100, "front", 11001), (100, "front", 11002), (200, "front", 11002))
    assert masks.building.tolist() == [4, 0, 4]
    assert masks.picture.tolist() == [0, 0, 1]
    owners = zip(masks.share_mask.tolist(), masks.share_building.tolist(), strict=True)
    assert list(owners) == [(0, 4), (2, 4), (2, 5)]


def test_build_mask_truth_equal_shares_takes_smaller_id() -> None:
    masks = build_mask_truth([(1, "c", 11001, 9, 0.5), (1, "c", 11001, 3, 0.5)])
    assert masks.building.tolist() == [3]


def test_build_mask_truth_class_none_counts_cars_too() -> None:
    assert len(build_mask_truth(ROWS)) == 3
    assert len(build_mask_truth(ROWS, building_classes=None)) == 4


def test_in_pictures_keeps_shares_of_kept_masks_alone() -> None:
    masks = build_mask_truth(ROWS).in_pictures([(200, "front"), (300, "front")])
    assert masks.keys == ((200, "front", 11002),)
    assert masks.picture.tolist() == [0]
    assert masks.share_mask.tolist() == [0, 0]
    assert masks.share_building.tolist() == [4, 5]


def test_ids_mask_without_assignment_is_zero() -> None:
    masks = build_mask_truth(ROWS)
    assert masks.ids({(200, "front", 11002): 8, (9, "x", 1): 3}).tolist() == [0, 0, 8]


def test_owner_rows_small_share_counts_only_if_it_is_the_main_one() -> None:
    rows = [(1, "c", 11001, 4, 0.7), (1, "c", 11001, 5, 0.2), (1, "c", 11002, 5, 0.15)]
    masks = build_mask_truth(rows)
    owners = masks.owner_rows(0.25)
    assert masks.share_mask[owners].tolist() == [0, 1]
    assert masks.share_building[owners].tolist() == [4, 5]
