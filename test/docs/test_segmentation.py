"""What docs/segmentation.md shows runs as it stands there."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "segmentation.md"


def test_masks_for_others_of_the_page_are_written_as_it_says(drive, tmp_path, monkeypatch):
    coco = pytest.importorskip("pycocotools.mask")
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "drive").symlink_to(drive)
    (tmp_path / "masks").mkdir()
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(PAGE), "exec"), {})
    rows = json.loads(Path("masks/coco.json").read_text())
    pictures = sorted(Path("masks").glob("*.png"))
    assert len(pictures) == 104
    assert {row["image"] for row in rows} == {path.stem for path in pictures}
    first = [row for row in rows if row["image"] == pictures[0].stem]
    labels = cv2.imread(str(pictures[0]), cv2.IMREAD_UNCHANGED)
    assert labels.dtype == np.uint16
    assert {row["label"] for row in first} == set(np.unique(labels)) - {0}
    for row in first:  # masks of label pictures do not overlap
        assert np.array_equal(
            coco.decode(row["segmentation"]).astype(bool), labels == row["label"]
        )
