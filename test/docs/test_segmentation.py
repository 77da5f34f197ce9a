"""What docs/segmentation.md shows runs as it stands there."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "segmentation.md"


def test_masks_for_others_of_the_page_are_written_as_it_says(drive, tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "drive").symlink_to(drive)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(PAGE), "exec"), {})
    tree = json.loads(Path("masks/instances.json").read_text())
    pictures = sorted(Path("masks").glob("*.png"))
    assert sorted(image["file_name"] for image in tree["images"]) == [p.name for p in pictures]
    assert len(pictures) == 104
    image = tree["images"][0]
    labels = cv2.imread(f"masks/{image['file_name']}", cv2.IMREAD_UNCHANGED)
    found = {a["label"] for a in tree["annotations"] if a["image_id"] == image["id"]}
    assert found == set(np.unique(labels).tolist()) - {0}
    with (drive / "truth" / "masks.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["stamp_ns"] == str(image["stamp_ns"])]
    truth = {int(r["label"]) for r in rows if r["camera"] == image["camera"]}
    assert found & set(range(11000, 12000)) <= truth
