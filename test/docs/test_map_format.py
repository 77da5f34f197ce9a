"""docs/map_format.md against the files: a block is read by its words alone."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from seg2d3d_ros.geometry import masks
from seg2d3d_ros.io.folder_store import FolderStore
from seg2d3d_ros.mapping.archive import Archive, FrameContent
from seg2d3d_ros.types import DepthSamples, Mask

TEXT = (Path(__file__).parents[2] / "docs" / "map_format.md").read_text()
SHAPE = (40, 60)


@pytest.fixture
def pictures():
    """Label pictures of 32 frames and two cameras: some blocks with holes, some at the edges."""
    rng, found = np.random.default_rng(4), {}
    for frame in range(32):
        for camera in range(2):
            picture = np.zeros(SHAPE, dtype=np.int64)
            for k in range(1, 1 + frame % 4):
                x, y = rng.integers(0, SHAPE[1] - 8), rng.integers(0, SHAPE[0] - 8)
                block = picture[y : y + rng.integers(2, 20), x : x + rng.integers(2, 20)]
                block[rng.random(block.shape) < 0.8] = 11000 + k
            found[1_700_000_000_000_000_000 + frame, camera] = picture
    return found


def content(stamp_ns, shown, seen):
    def of(picture):
        named = [(int(label), picture == label) for label in np.unique(picture[picture > 0])]
        return tuple(Mask(label, 11, 0.5, *masks.encode(area)) for label, area in named)

    ids, camera, uv_px = seen
    return FrameContent(
        ids, camera, uv_px, {c: of(picture) for c, picture in shown.items()}, stamp_ns
    )


def test_block_of_frames_can_be_read_by_the_words_alone(pictures, tmp_path):
    rng = np.random.default_rng(5)
    stamps = sorted({s for s, _ in pictures})
    seen = [
        (
            rng.integers(1, 10**6, n),
            rng.integers(0, 2, n),
            rng.uniform(0, 60, (n, 2)).astype(np.float32),
        )
        for n in rng.integers(0, 9, len(stamps))
    ]
    contents = [
        content(s, {c: pictures[s, c] for c in range(2)}, v)
        for s, v in zip(stamps, seen, strict=True)
    ]
    Archive(FolderStore(tmp_path)).freeze(contents)
    block = np.load(tmp_path / "frames" / "000000.npz")
    assert [n for n in block.files if f"`{n}`" not in TEXT] == []

    # "the first num_seen[0] rows of seen_* are of the first frame, and so on"
    end = np.cumsum(block["num_seen"])
    for k, (ids, camera, uv_px) in enumerate(seen):
        rows = slice(end[k] - block["num_seen"][k], end[k])
        np.testing.assert_array_equal(block["seen_id"][rows], ids)
        np.testing.assert_array_equal(block["seen_camera"][rows], camera)
        np.testing.assert_array_equal(block["seen_uv_px"][rows], uv_px)

    # lengths of runs, background first, over the box row by row; then the other kind
    found = {key: np.zeros(SHAPE, dtype=np.int64) for key in pictures}
    end = np.cumsum(block["num_runs"])
    for k, (frame, camera) in enumerate(block["mask_picture"].tolist()):
        x0, y0, x1, y1 = block["mask_bbox_px"][k]
        lengths = block["run_lengths"][end[k] - block["num_runs"][k] : end[k]].astype(int)
        lengths = np.r_[lengths, (y1 - y0) * (x1 - x0) - lengths.sum()]
        inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
        picture = found[int(block["stamp_ns"][frame]), camera]
        picture[y0:y1, x0:x1][inside.reshape(y1 - y0, x1 - x0)] = block["mask_label"][k]
    assert len(block["mask_label"]) > 50
    for key, picture in pictures.items():
        np.testing.assert_array_equal(found[key], picture)


def test_arrays_of_depths_are_all_in_the_text():
    names = [f.name for f in dataclasses.fields(DepthSamples)]
    assert [n for n in (*names, "path_frame", "path_m") if f"`{n}`" not in TEXT] == []


def test_arrays_and_values_of_the_map_are_all_in_the_text():
    source = (Path(__file__).parents[2] / "seg2d3d_ros" / "io" / "map_store.py").read_text()
    listed = re.findall(r"^_(?:TRAJECTORY|ASSIGNMENT) = \(([^)]*)\)", source, re.MULTILINE)
    prefixes = ("trajectory", "assignment")
    names = [
        f"{prefix}_{name}"
        for prefix, line in zip(prefixes, listed, strict=True)
        for name in re.findall(r'"(\w+)"', line)
    ]
    assert len(names) == 9
    head = re.findall(r'^        "(\w+)":', source, re.MULTILINE)
    assert {"format", "scale", "events"} <= set(head)
    assert [n for n in (*names, *head) if f"`{n}`" not in TEXT] == []
