"""Masks written for others are read by their own tools."""

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.io.mask_export import export_masks
from seg2d3d_ros.types import Camera, Frame, LabelImage, Rig

SHAPE = (24, 32)


class Recording:
    """Two pictures with labels and a third without."""

    def __init__(self):
        camera = Camera("front", SHAPE[1], SHAPE[0], np.eye(3), np.eye(4))
        self.rig = Rig((camera,), has_labels=frozenset({"front"}))
        self.labels = np.zeros((2, *SHAPE), np.uint16)
        self.labels[0, 2:10, 3:20] = 11001
        self.labels[0, 4:8, 5:9] = 11002  # a hole in the one, filled by the other
        self.labels[1, 12:20, 1:30] = 26001
        self.labels[1, 0:5] = 23

    def __iter__(self):
        for i, labels in enumerate(self.labels):
            yield Frame("front", i, np.zeros((*SHAPE, 3), np.uint8))
            yield LabelImage("front", i, labels)
        yield Frame("front", 2, np.zeros((*SHAPE, 3), np.uint8))


def config():
    return override(Config(), {"segmentation.min_area_px": 1})


def test_export_masks_pycocotools_reads_what_the_labels_say(tmp_path):
    recording = Recording()
    assert export_masks(recording, config(), tmp_path / "masks") == 2
    read = COCO(tmp_path / "masks" / "instances.json")
    assert len(read.imgs) == 2
    assert {c["name"] for c in read.loadCats([11, 23, 26])} == {"building", "sky", "car"}
    for image in read.loadImgs(read.getImgIds()):
        labels = recording.labels[image["stamp_ns"]]
        anns = read.loadAnns(read.getAnnIds(imgIds=image["id"]))
        assert sorted(a["label"] for a in anns) == sorted(set(labels.ravel().tolist()) - {0})
        for ann in anns:
            mask = read.annToMask(ann).astype(bool)
            assert np.array_equal(mask, labels == ann["label"])
            assert ann["area"] == mask.sum()
            x, y, w, h = ann["bbox"]
            assert mask[y : y + h, x : x + w].sum() == mask.sum()
        png = cv2.imread(str(tmp_path / "masks" / image["file_name"]), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(png, labels)


def test_export_masks_folder_that_exists_is_left_alone(tmp_path):
    with pytest.raises(ResultError, match="is there already"):
        export_masks(Recording(), config(), tmp_path)
    assert list(tmp_path.iterdir()) == []


class BrokenRecording(Recording):
    def __iter__(self):
        yield from list(super().__iter__())[:3]
        raise OSError("the disk went away")


def test_export_masks_broken_off_leaves_no_folder(tmp_path):
    with pytest.raises(OSError, match="went away"):
        export_masks(BrokenRecording(), config(), tmp_path / "masks")
    assert list(tmp_path.iterdir()) == []
