import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seg2d3d_ros.geometry.masks import decode, encode
from seg2d3d_ros.segmentation.masks import encode_labels, to_coco, to_label_image, to_png
from seg2d3d_ros.types import Mask

LABELS = arrays(
    np.uint16,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.sampled_from([0, 7, 11001, 65535]),
)


@given(LABELS)
@settings(max_examples=200, deadline=None)
def test_encode_labels_any_picture_equals_encoding_each_value(labels):
    found = encode_labels(labels)
    assert [value for value, _, _ in found] == sorted(set(labels.ravel().tolist()) - {0})
    for value, bbox_px, runs in found:
        expected_box, expected_runs = encode(labels == value)
        assert bbox_px == expected_box
        np.testing.assert_array_equal(runs, expected_runs)


def test_encode_labels_empty_pictures_give_nothing():
    assert encode_labels(np.zeros((4, 6), np.uint16)) == []
    assert encode_labels(np.zeros((0, 6), np.uint16)) == []


def test_to_label_image_small_mask_over_large_stays_visible():
    large, small = np.ones((6, 6), bool), np.zeros((6, 6), bool)
    small[2:4, 2:4] = True
    masks = [Mask(11002, 11, 1.0, *encode(small)), Mask(11001, 11, 1.0, *encode(large))]
    labels = to_label_image(masks, (6, 6))
    assert (labels[small] == 11002).all()
    assert (labels[~small] == 11001).all()


@given(LABELS)
@settings(max_examples=50, deadline=None)
def test_to_png_masks_that_do_not_overlap_come_back_as_they_were(labels):
    masks = [Mask(v, v // 1000, 1.0, box, runs) for v, box, runs in encode_labels(labels)]
    read = cv2.imdecode(np.frombuffer(to_png(masks, labels.shape), np.uint8), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, labels)


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(max_examples=50, deadline=None)
def test_to_coco_any_mask_is_read_by_pycocotools_and_comes_back(mask):
    coco = pytest.importorskip("pycocotools.mask")
    bbox_px, runs = encode(mask)
    rle = to_coco(bbox_px, runs, mask.shape)
    np.testing.assert_array_equal(coco.decode(rle).astype(bool), mask)
    again = encode(coco.decode(rle).astype(bool))
    np.testing.assert_array_equal(decode(*again, mask.shape), mask)
