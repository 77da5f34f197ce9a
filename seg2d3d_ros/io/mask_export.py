"""Masks of a recording for others: COCO instances (overlaps kept) and label pictures as PNG."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seg2d3d_ros.config import Config
from seg2d3d_ros.errors import ResultError
from seg2d3d_ros.geometry.masks import area
from seg2d3d_ros.io.sources import Source
from seg2d3d_ros.segmentation.masks import to_coco, to_png
from seg2d3d_ros.segmentation.stage import SegmentationStage
from seg2d3d_ros.types import Mask, Segmentation, SegmentationStatus


def export_masks(source: Source, config: Config, folder: Path) -> int:
    """Segment a recording and write `instances.json` (COCO) and `<stamp_ns>_<camera>.png`.

    An annotation's `label` is the one in the PNG (of masks that overlap the smaller one is seen)
    and in a result's observations.csv, which says the instance: join by picture and label.

    Args:
        source: The recording.
        config: Configuration; `segmentation` and `runtime` matter.
        folder: New folder; written whole or not at all.

    Returns:
        How many pictures were written: all that could be segmented.

    Raises:
        ResultError: the folder is there already.
    """
    if folder.exists():
        raise ResultError(f"{folder} is there already; name a new folder for the masks")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    stage = SegmentationStage(config, source.rig)
    partial.mkdir(parents=True)
    try:
        num = _write(partial, stage, source)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial)
        raise
    finally:
        stage.close()
    return num


def _write(folder: Path, stage: SegmentationStage, source: Source) -> int:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for made in _segmentations(stage, source):
        name, shape = f"{made.stamp_ns}_{made.camera}.png", (made.height_px, made.width_px)
        (folder / name).write_bytes(to_png(made.masks, shape))
        images.append(_image(len(images) + 1, name, made))
        for mask in made.masks:
            annotations.append(_annotation(len(annotations) + 1, len(images), mask, shape))
    names = {m["category_id"]: str(m["category_id"]) for m in annotations} | stage.classes
    categories = [{"id": k, "name": v, "supercategory": ""} for k, v in sorted(names.items())]
    tree = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(tree) + "\n")
    return len(images)


def _segmentations(stage: SegmentationStage, source: Source) -> Iterator[Segmentation]:
    for item in source:
        yield from _seen(stage.push(item))
    yield from _seen(stage.finish())


def _seen(made: list[Segmentation]) -> list[Segmentation]:
    return [one for one in made if one.status == SegmentationStatus.OK]


def _image(number: int, name: str, made: Segmentation) -> dict[str, Any]:
    return {
        "id": number,
        "file_name": name,
        "width": made.width_px,
        "height": made.height_px,
        "camera": made.camera,
        "stamp_ns": made.stamp_ns,
    }


def _annotation(number: int, image: int, mask: Mask, shape: tuple[int, int]) -> dict[str, Any]:
    x0, y0, x1, y1 = mask.bbox_px
    return {
        "id": number,
        "image_id": image,
        "category_id": mask.class_id,
        "label": mask.label,
        "score": mask.score,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": int(area(mask.bbox_px, mask.runs)),
        "iscrowd": 0,
        "segmentation": to_coco(mask.bbox_px, mask.runs, shape),
    }
