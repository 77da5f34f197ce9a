import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seg2d3d_ros.geometry.masks import (
    MaskStack,
    area,
    contains,
    contains_each,
    decode,
    encode,
    every_nth_pixel,
)

ANY_MASK = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@given(ANY_MASK)
@settings(max_examples=200, deadline=None)
def test_encode_any_mask_decodes_to_itself(mask):
    bbox_px, runs = encode(mask)
    np.testing.assert_array_equal(decode(bbox_px, runs, mask.shape), mask)
    assert area(bbox_px, runs) == mask.sum()
    assert runs.dtype == np.uint32
    assert (np.diff(runs.astype(int)) > 0).all()


@given(ANY_MASK, st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_contains_random_pixels_agrees_with_decoded_mask(mask, seed):
    uv_px = np.random.default_rng(seed).uniform(-2, 14, (50, 2))
    column, row = np.floor(uv_px + 0.5).astype(int).T
    h, w = mask.shape
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    expected = np.zeros(50, bool)
    expected[inside] = mask[row[inside], column[inside]]
    np.testing.assert_array_equal(contains(*encode(mask), uv_px), expected)


def test_encode_box_is_tight():
    mask = np.zeros((10, 20), bool)
    mask[3, 5] = mask[7, 11] = True
    bbox_px, runs = encode(mask)
    assert bbox_px == (5, 3, 12, 8)
    assert runs.tolist() == [0, 1, 34]  # the last boundary equals the size of the crop: left out


def test_contains_pixel_edges_are_half_way_between_centres():
    mask = np.zeros((4, 4), bool)
    mask[1, 2] = True
    uv_px = [[1.49, 1], [1.5, 1], [2.49, 1], [2.5, 1], [2, 0.49], [2, 0.5]]
    assert contains(*encode(mask), uv_px).tolist() == [False, True, True, False, False, True]


def test_contains_nan_and_infinity_lie_in_no_mask():
    uv_px = [[np.nan, 1], [1, np.nan], [np.inf, 1], [1, 1]]
    assert contains(*encode(np.ones((3, 3), bool)), uv_px).tolist() == [False, False, False, True]


@given(st.lists(ANY_MASK, max_size=4), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_contains_each_any_masks_agrees_with_one_by_one(masks, seed):
    uv_px = np.random.default_rng(seed).uniform(-2, 14, (30, 2))
    uv_px[0], uv_px[1] = np.nan, np.inf
    encoded = [encode(mask) for mask in masks]
    expected = [contains(*one, uv_px) for one in encoded]
    np.testing.assert_array_equal(
        contains_each(encoded, uv_px), np.array(expected, bool).reshape(len(masks), 30)
    )


@pytest.mark.parametrize("width", [40_000, 50_000])  # 2 ** 31 pixels lie in between
def test_hits_masks_of_very_many_pixels_agree_with_one_by_one(width):
    runs = np.array([7 * width + 5, 7 * width + 9, width * width - 3], np.uint32)
    box = (0, 0, width, width)
    uv_px = np.array(
        [[4, 7], [5, 7], [8, 7], [9, 7], [width - 4, width - 1], [width - 1, width - 1]]
    )
    inside = contains_each([(box, runs)], uv_px.astype(float))
    assert inside.tolist() == [[False, True, True, False, False, True]]


def test_contains_empty_mask_and_no_pixels():
    bbox_px, runs = encode(np.zeros((5, 5), bool))
    assert bbox_px == (0, 0, 0, 0)
    assert not contains(bbox_px, runs, [[0, 0], [2, 2]]).any()
    assert contains(*encode(np.ones((2, 2), bool)), np.zeros((0, 2))).shape == (0,)


def is_deep(bbox_px, runs, uv_px, depth_px):
    """Return which pixels (n, 2) lie deep in one mask."""
    uv_px = np.asarray(uv_px, float)
    mask = np.zeros(len(uv_px), np.int64)
    return MaskStack([(bbox_px, runs)]).are_deep(mask, uv_px, np.array([depth_px]))


def test_are_deep_square_distance_to_the_nearest_pixel_outside_counts():
    mask = np.zeros((60, 60), bool)
    mask[10:50, 10:50] = True
    uv_px = [[10, 30], [12, 30], [13, 30], [12, 12], [30, 30], [9, 30], [-4, 90]]
    # the last column outside is 9: as far from 12 as from (12, 12), and 13 is 4 away
    assert np.flatnonzero(is_deep(*encode(mask), uv_px, 4.0)).tolist() == [2, 4]
    assert is_deep(*encode(mask), uv_px, 1.0).tolist() == [True] * 5 + [False] * 2
    mask[20, 20] = False
    assert is_deep(*encode(mask), [[22, 22], [23, 23]], 3.0).tolist() == [False, True]


def test_are_deep_border_of_the_picture_is_an_edge():
    assert not is_deep(*encode(np.ones((40, 40), bool)), [[0, 20]], 2.0).any()


@given(ANY_MASK, st.floats(1.0, 5.0), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_are_deep_any_mask_is_what_the_distance_transform_gives(mask, depth_px, seed):
    uv_px = np.random.default_rng(seed).uniform(-2, 14, (40, 2))
    room = np.pad(mask, 20).astype(np.uint8)
    field = cv2.distanceTransform(room, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    column, row = np.floor(uv_px + 0.5).astype(int).T + 20
    clear = abs(field[row, column] - depth_px) > 1e-4
    expected = field[row, column] >= depth_px
    found = is_deep(*encode(mask), uv_px, depth_px)
    np.testing.assert_array_equal(found[clear], expected[clear])


@given(ANY_MASK, st.integers(1, 9), st.integers(0, 5))
@settings(deadline=None)
def test_every_nth_pixel_any_mask_is_what_decoding_gives(mask, step, first):
    v, u = np.nonzero(mask)
    expected = np.stack([u[first::step], v[first::step]], axis=1)
    assert np.array_equal(every_nth_pixel(*encode(mask), step, first), expected)


@given(st.lists(ANY_MASK, max_size=4), st.lists(st.integers(1, 9), min_size=4), st.integers(0, 5))
@settings(deadline=None)
def test_every_nth_pixel_of_a_stack_is_what_each_mask_alone_gives(masks, steps, first):
    encoded = [encode(m) for m in masks]
    stack, step = MaskStack(encoded), np.array(steps[: len(masks)], dtype=np.int64)
    mask, pixels = stack.every_nth_pixel(step, np.full(len(masks), first))
    assert stack.areas.tolist() == [int(m.sum()) for m in masks]
    alone = [every_nth_pixel(*m, n, first) for m, n in zip(encoded, steps, strict=False)]
    assert mask.tolist() == np.repeat(np.arange(len(masks)), [len(a) for a in alone]).tolist()
    assert pixels.tolist() == np.concatenate([np.zeros((0, 2)), *alone]).tolist()


@given(st.lists(ANY_MASK, min_size=1, max_size=4), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_are_deep_pixels_of_many_masks_agree_with_one_by_one(masks, seed):
    rng = np.random.default_rng(seed)
    encoded, depth_px = [encode(m) for m in masks], rng.uniform(1.0, 4.0, len(masks))
    mask, uv_px = rng.integers(0, len(masks), 40), rng.uniform(-2, 14, (40, 2))
    expected = [
        is_deep(*encoded[m], uv, depth_px[m])[0] for m, uv in zip(mask, uv_px, strict=True)
    ]
    assert MaskStack(encoded).are_deep(mask, uv_px, depth_px).tolist() == expected
