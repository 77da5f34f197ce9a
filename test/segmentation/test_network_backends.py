"""Every network backend on tiny checkpoints: the real architectures, loaded by the real code."""

import dataclasses

import numpy as np
import pytest

from seg2d3d_ros.errors import BackendError, ConfigError
from seg2d3d_ros.geometry.masks import area, decode
from seg2d3d_ros.segmentation.backend import create_backend
from seg2d3d_ros.segmentation.stage import SegmentationStage
from seg2d3d_ros.types import Camera, Frame, Rig

BACKENDS = ["grounded_sam", "grounded_sam2", "owlv2_sam2", "sam_auto", "sam3"]
PROMPTED = [name for name in BACKENDS if name != "sam_auto"]


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [
        np.kron(rng.integers(0, 255, (6, 10, 3)), np.ones((12, 12, 1))).astype(np.uint8)
        for _ in range(4)
    ]


@pytest.fixture(autouse=True)
def lenient_points(monkeypatch):
    """Random weights find no mask good; let sam_auto keep them. Few points, for speed."""
    monkeypatch.setattr("seg2d3d_ros.segmentation.sam_auto.MIN_QUALITY", 0.0)
    monkeypatch.setattr("seg2d3d_ros.segmentation.sam_auto.GRID_SIDE", 6)


def to_frames(images):
    return [Frame("front", i, image) for i, image in enumerate(images)]


def to_comparable(masks):
    return [(m.label, m.class_id, round(m.score, 4), m.bbox_px, m.runs.tolist()) for m in masks]


@pytest.mark.parametrize("name", BACKENDS)
def test_backend_masks_lie_in_the_picture_and_are_numbered_per_class(name, tiny_config, pictures):
    config = tiny_config(name)
    (masks,) = create_backend(name, config).segment(to_frames(pictures[:1]))
    h, w = pictures[0].shape[:2]
    assert masks
    labels = [m.label for m in masks]
    assert len(labels) == len(set(labels))
    for mask in masks:
        x0, y0, x1, y1 = mask.bbox_px
        assert 0 <= x0 < x1 <= w and 0 <= y0 < y1 <= h
        assert area(mask.bbox_px, mask.runs) == decode(mask.bbox_px, mask.runs, (h, w)).sum() > 0
        assert 0 <= mask.score <= 1
        expected = 23 if mask.class_id == 23 else mask.class_id * 1000 + mask.label % 1000
        assert mask.label == expected
    allowed = {0} if name == "sam_auto" else {11, 23, 26, 15}
    assert {m.class_id for m in masks} <= allowed


@pytest.mark.parametrize("name", BACKENDS)
def test_backend_batch_of_four_equals_four_batches_of_one(name, tiny_config, pictures):
    together = create_backend(name, tiny_config(name, max_batch=4)).segment(to_frames(pictures))
    backend = create_backend(name, tiny_config(name, max_batch=1))
    apart = [backend.segment([frame])[0] for frame in to_frames(pictures)]
    for one, other in zip(together, apart, strict=True):
        assert [m.label for m in one] == [m.label for m in other]
        for a, b in zip(one, other, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-4)
            # sums in another order move a border by single pixels
            shape = pictures[0].shape[:2]
            differ = decode(a.bbox_px, a.runs, shape) ^ decode(b.bbox_px, b.runs, shape)
            assert differ.sum() <= 5


@pytest.mark.parametrize("name", BACKENDS)
def test_backend_same_picture_twice_gives_the_same_masks(name, tiny_config, pictures):
    backend = create_backend(name, tiny_config(name))
    first, second = (backend.segment(to_frames(pictures[:1]))[0] for _ in range(2))
    assert to_comparable(first) == to_comparable(second)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 40), (120, 30), (30, 120, 3)], ids=["1px", "row", "portrait", "wide"]
)
@pytest.mark.parametrize("name", BACKENDS)
def test_backend_odd_pictures_give_masks_inside_them(name, shape, tiny_config):
    image = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)
    (masks,) = create_backend(name, tiny_config(name)).segment(to_frames([image]))
    for mask in masks:
        assert mask.bbox_px[2] <= shape[1]
        assert mask.bbox_px[3] <= shape[0]


@pytest.mark.parametrize("name", PROMPTED)
def test_backend_without_detections_gives_no_masks(name, tiny_config, pictures):
    backend = create_backend(name, tiny_config(name, box_threshold=1.0))
    assert backend.segment(to_frames(pictures[:2])) == [[], []]


@pytest.mark.parametrize("name", BACKENDS)
def test_backend_no_pictures_gives_nothing(name, tiny_config):
    assert create_backend(name, tiny_config(name)).segment([]) == []


@pytest.mark.parametrize("name", PROMPTED)
def test_backend_prompt_change_mid_stream_changes_the_classes(name, tiny_config, pictures):
    rig = Rig((Camera("front", 120, 72, np.eye(3), np.eye(4)),))
    stage = SegmentationStage(tiny_config(name), rig)
    (before,) = stage.push(Frame("front", 0, pictures[0]))
    assert stage.set_prompt(["tower=bridge", "road"]) == 1
    (after,) = stage.push(Frame("front", 1, pictures[0]))
    assert (before.prompt_version, after.prompt_version) == (0, 1)
    assert {m.class_id for m in before.masks} <= {11, 23, 26, 15}
    assert {m.class_id for m in after.masks} <= {40, 7}
    assert after.masks
    assert stage.classes[40] == "tower"


def test_sam_auto_refuses_a_prompt(tiny_config):
    with pytest.raises(BackendError, match="takes no text prompt"):
        create_backend("sam_auto", tiny_config("sam_auto")).set_prompt(["building"])


def test_prompt_that_is_wrong_leaves_the_old_one_in_force(tiny_config, pictures):
    backend = create_backend("grounded_sam2", tiny_config("grounded_sam2"))
    first = backend.segment(to_frames(pictures[:1]))
    with pytest.raises(ConfigError, match="twice"):
        backend.set_prompt(["car", "car"])
    second = backend.segment(to_frames(pictures[:1]))
    assert to_comparable(first[0]) == to_comparable(second[0])


def test_owlv2_masks_bear_unit_embeddings_and_their_model(tiny_config, pictures):
    backend = create_backend("owlv2_sam2", tiny_config("owlv2_sam2"))
    (masks,) = backend.segment(to_frames(pictures[:1]))
    vectors = [m for m in masks if m.class_id != 23]
    assert vectors
    for mask in vectors:
        assert mask.embedding_model_id == "owlv2:tiny-owl"
        assert np.linalg.norm(mask.embedding) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", BACKENDS)
def test_backend_half_precision_runs_through_and_gives_finite_scores(
    name, precision, tiny_config, pictures
):
    backend = create_backend(name, tiny_config(name, precision=precision))
    (masks,) = backend.segment(to_frames(pictures[:1]))
    assert masks
    assert all(0 <= mask.score <= 1 for mask in masks)


def test_backend_deactivated_leaves_and_comes_back_with_the_same_result(tiny_config, pictures):
    backend = create_backend("grounded_sam2", tiny_config("grounded_sam2"))
    backend.activate([(72, 120)])
    first = backend.segment(to_frames(pictures[:1]))
    backend.deactivate()
    backend.deactivate()
    second = backend.segment(to_frames(pictures[:1]))
    assert to_comparable(first[0]) == to_comparable(second[0])
    backend.close()


def test_activate_on_a_gpu_warms_up_once_per_shape_with_a_picture_per_camera(
    tiny_config, monkeypatch
):
    backend = create_backend("grounded_sam2", tiny_config("grounded_sam2"))
    warmed = []
    monkeypatch.setattr(backend, "_ready_pipeline", lambda: True)
    monkeypatch.setattr(backend, "segment", lambda f: warmed.append([x.image.shape for x in f]))
    backend.activate([(72, 120), (40, 50), (72, 120)])
    assert warmed == []  # a processor needs none
    backend.ladder.settings = dataclasses.replace(backend.ladder.settings, device="cuda")
    backend.activate([(72, 120), (40, 50), (72, 120)])
    assert warmed == [[(72, 120, 3)] * 2, [(40, 50, 3)]]


def test_backend_threads_of_the_processor_are_those_of_the_configuration(torch, tiny_config):
    from seg2d3d_ros.config import override

    config = override(tiny_config("sam_auto"), {"runtime.num_threads": 2})
    try:
        create_backend("sam_auto", config).activate()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_backend_unknown_device_is_named(tiny_config):
    from seg2d3d_ros.config import override

    config = override(tiny_config("grounded_sam2"), {"runtime.device": "cuda:97"})
    with pytest.raises(BackendError, match="cuda:97"):
        create_backend("grounded_sam2", config)
