from collections.abc import Sequence

import numpy as np
import pytest

from seg2d3d_ros.config import Config, override
from seg2d3d_ros.errors import BackendError, InputError
from seg2d3d_ros.geometry.masks import decode, encode
from seg2d3d_ros.segmentation.stage import SegmentationStage
from seg2d3d_ros.types import Camera, Frame, LabelImage, Mask, Odometry, Rig

SHAPE = (12, 16)
STEP_NS = 100_000_000


def make_rig(*names: str, labelled: Sequence[str] = ()) -> Rig:
    cameras = tuple(Camera(n, SHAPE[1], SHAPE[0], np.eye(3), np.eye(4)) for n in sorted(names))
    return Rig(cameras, has_labels=frozenset(labelled))


def make_frame(camera: str, index: int, shape: tuple[int, int] = SHAPE) -> Frame:
    return Frame(camera, index * STEP_NS, np.full(shape, index % 256, np.uint8))


def make_labels(camera: str, index: int) -> LabelImage:
    labels = np.zeros(SHAPE, np.uint16)
    labels[:3] = 23
    labels[4:9, 2:10] = 11001
    labels[4:9, 10:15] = 11002
    return LabelImage(camera, index * STEP_NS, labels)


def run(stage: SegmentationStage, items: Sequence) -> list:
    made = [segmentation for item in items for segmentation in stage.push(item)]
    return made + stage.finish()


def labels_stage(**options) -> SegmentationStage:
    values = {"min_area_px": 1, **options}
    config = override(Config(), {f"segmentation.{k}": v for k, v in values.items()})
    return SegmentationStage(config, make_rig("left", labelled=["left"]))


class BatchRecorder:
    """A backend that notes the batches it is given; one mask over the whole picture."""

    name = "recorder"
    classes = {11: "building"}
    max_batch = 8

    def __init__(self):
        self.counts = {}
        self.batches = []
        self.prompts = []

    def segment(self, frames):
        self.batches.append([(frame.camera, frame.stamp_ns // STEP_NS) for frame in frames])
        h, w = frames[0].image.shape[:2]
        mask = Mask(11001, 11, 0.5, *encode(np.ones((h, w), bool)))
        return [None if frame.image.min() == 99 else [mask] for frame in frames]

    def set_prompt(self, classes):
        self.prompts.append(list(classes))

    def activate(self, shapes=()): ...

    def deactivate(self): ...

    def close(self): ...


def test_labels_picture_then_labels_gives_masks_with_their_classes():
    stage = labels_stage()
    assert stage.push(make_frame("left", 1)) == []
    (made,) = stage.push(make_labels("left", 1))
    assert (made.status, made.backend, made.width_px, made.height_px) == ("ok", "labels", 16, 12)
    assert [(m.label, m.class_id) for m in made.masks] == [(23, 23), (11001, 11), (11002, 11)]
    truth = make_labels("left", 1).labels
    for mask in made.masks:
        np.testing.assert_array_equal(decode(mask.bbox_px, mask.runs, SHAPE), truth == mask.label)


def test_labels_before_picture_are_kept_for_it():
    stage = labels_stage()
    assert stage.push(make_labels("left", 1)) == []
    (made,) = stage.push(make_frame("left", 1))
    assert made.status == "ok"


def test_labels_of_every_third_picture_the_others_are_no_labels():
    items = [make_frame("left", i) for i in range(7)]
    for index in (6, 3, 0):  # the label comes two pictures late
        items.insert(min(index + 3, len(items)), make_labels("left", index))
    made = run(labels_stage(), items)
    assert [m.stamp_ns // STEP_NS for m in made] == list(range(7))
    ok = {m.stamp_ns // STEP_NS for m in made if m.status == "ok"}
    assert ok == {0, 3, 6}
    assert {m.status.value for m in made} == {"ok", "no_labels"}


def test_labels_later_labels_decide_without_waiting():
    stage = labels_stage(label_wait_s=60.0)
    stage.push(make_frame("left", 1))
    stage.push(make_frame("left", 2))
    made = stage.push(make_labels("left", 2))
    assert [m.status.value for m in made] == ["no_labels", "ok"]


def test_labels_missing_for_long_are_given_up_by_stamps():
    stage = labels_stage(label_wait_s=0.25)
    assert run_statuses(stage, [make_frame("left", i) for i in range(3)]) == [[], [], []]
    assert run_statuses(stage, [make_frame("left", 3)]) == [["no_labels"]]


def run_statuses(stage, items):
    return [[m.status.value for m in stage.push(item)] for item in items]


def test_labels_too_late_are_counted_and_change_nothing():
    stage = labels_stage(label_wait_s=0.1)
    for i in range(4):
        stage.push(make_frame("left", i))
    assert stage.push(make_labels("left", 0)) == []
    assert stage.backend_counts["unused_labels"] == 1


def test_labels_of_other_size_fail_and_are_counted():
    stage = labels_stage()
    stage.push(make_frame("left", 1, (10, 10)))
    (made,) = stage.push(make_labels("left", 1))
    assert (made.status, made.masks) == ("failed", ())
    assert stage.backend_counts["labels_of_other_size"] == 1
    assert any("not one of 1 pictures of left got masks: 1 label" in r for r in stage.remarks)
    stage.push(make_frame("left", 2))
    stage.push(make_labels("left", 2))
    assert not any("not one" in r for r in stage.remarks)


def test_labels_a_whole_number_of_times_smaller_are_enlarged():
    labels = np.zeros((8, 10), np.uint16)
    labels[2:5, 3:9] = 11001
    stage = labels_stage()
    stage.push(make_frame("left", 1, (24, 30)))
    (made,) = stage.push(LabelImage("left", make_labels("left", 1).stamp_ns, labels))
    (mask,) = made.masks
    assert mask.bbox_px == (9, 6, 27, 15)
    np.testing.assert_array_equal(
        decode(mask.bbox_px, mask.runs, (24, 30)), labels.repeat(3, 0).repeat(3, 1) > 0
    )
    stage.push(make_frame("left", 2, (24, 20)))  # three times and twice: of another shape
    (made,) = stage.push(LabelImage("left", make_labels("left", 2).stamp_ns, labels))
    assert made.status == "failed"


def test_labels_camera_without_labels_is_not_waited_for():
    config = override(Config(), {"segmentation.min_area_px": 1})
    stage = SegmentationStage(config, make_rig("left", "right", labelled=["left"]))
    (made,) = stage.push(make_frame("right", 1))
    assert (made.camera, made.status) == ("right", "no_labels")


def test_labels_time_starts_anew_every_picture_still_gets_one_segmentation():
    items = [make_frame("left", i) for i in (50, 51)]
    items += [x for i in (0, 1) for x in (make_frame("left", i), make_labels("left", i))]
    made = run(labels_stage(), items)
    assert [(m.stamp_ns // STEP_NS, m.status.value) for m in made] == [
        (50, "no_labels"),
        (51, "no_labels"),
        (0, "ok"),
        (1, "ok"),
    ]


def test_labels_arrival_order_across_cameras_changes_no_segmentation():
    rig = make_rig("left", "right", labelled=["left", "right"])
    config = override(Config(), {"segmentation.min_area_px": 1})
    left = [x for i in range(5) for x in (make_frame("left", i), make_labels("left", i))]
    right = [x for i in range(5) for x in (make_labels("right", i), make_frame("right", i))]
    alternating = [x for pair in zip(left, right, strict=True) for x in pair]
    results = []
    for items in (
        alternating,
        [x for i in range(0, 10, 2) for x in right[i : i + 2] + left[i : i + 2]],
    ):
        made = run(SegmentationStage(config, rig), items)
        results.append(sorted((m.camera, m.stamp_ns, m.status.value, len(m.masks)) for m in made))
    assert results[0] == results[1]
    assert len(results[0]) == 10


@pytest.mark.parametrize("labelled", [True, False])
def test_every_nth_skips_the_others_and_keeps_the_order(labelled):
    options = {"segmentation.every_nth": 3, "segmentation.min_area_px": 1}
    config = override(Config(), options)
    items = [x for i in range(6) for x in (make_frame("left", i), make_labels("left", i))]
    rig = make_rig("left", labelled=["left"] if labelled else [])
    stage = SegmentationStage(config, rig, None if labelled else BatchRecorder())
    made = run(stage, items)
    assert [m.status.value for m in made] == ["ok", "skipped", "skipped"] * 2
    assert stage.counts == {"left": {"ok": 2, "skipped": 4}}
    assert stage.backend_counts["unused_labels"] == 0


def test_masks_small_and_surplus_are_left_out():
    stage = labels_stage(min_area_px=26, max_masks=2)
    stage.push(make_frame("left", 1))
    (made,) = stage.push(make_labels("left", 1))  # areas: sky 48, 11001 40, 11002 25
    assert [m.label for m in made.masks] == [23, 11001]
    stage = labels_stage(max_masks=1)
    stage.push(make_frame("left", 1))
    (made,) = stage.push(make_labels("left", 1))
    assert [m.label for m in made.masks] == [23]


def test_batch_cameras_of_one_time_and_size_share_a_call():
    backend = BatchRecorder()
    stage = SegmentationStage(Config(), make_rig("a", "b", "c"), backend)
    frames = [make_frame(c, i, (20, 20) if c == "c" else SHAPE) for i in (0, 1) for c in "abc"]
    made = run(stage, frames)
    assert backend.batches == [[("a", 0), ("b", 0)], [("c", 0)], [("a", 1), ("b", 1)], [("c", 1)]]
    assert len(made) == 6


def test_batch_missing_camera_is_not_waited_for_longer_than_the_next_picture():
    backend = BatchRecorder()
    stage = SegmentationStage(Config(), make_rig("a", "b"), backend)
    made = run(stage, [make_frame("a", 0), make_frame("a", 1), make_frame("b", 1)])
    assert backend.batches == [[("a", 0)], [("a", 1), ("b", 1)]]
    assert [(m.camera, m.stamp_ns // STEP_NS) for m in made] == [("a", 0), ("a", 1), ("b", 1)]


def test_backend_that_gives_up_on_a_picture_yields_failed():
    stage = SegmentationStage(Config(), make_rig("a"), BatchRecorder())
    made = run(stage, [make_frame("a", 98), make_frame("a", 99)])
    assert [m.status.value for m in made] == ["ok", "failed"]


def test_backend_that_raises_loses_no_other_picture_of_the_batch():
    backend = BatchRecorder()
    stage = SegmentationStage(Config(), make_rig("a", "b"), backend)
    stage.push(make_frame("a", 0))
    backend.segment = lambda frames: 1 / 0
    with pytest.raises(ZeroDivisionError):
        stage.push(make_frame("b", 0))
    del backend.segment
    made = run(stage, [make_frame("a", 1), make_frame("b", 1)])
    assert [(m.camera, m.status.value) for m in made] == [
        ("a", "failed"),
        ("a", "ok"),
        ("b", "ok"),
    ]


def test_shed_picture_is_overload_and_counted():
    stage = SegmentationStage(Config(), make_rig("a"), BatchRecorder())
    (made,) = stage.shed(make_frame("a", 0))
    assert made.status == "overload"
    assert stage.counts == {"a": {"overload": 1}}


def test_shed_picture_is_not_lost_when_the_batch_before_it_fails():
    backend = BatchRecorder()
    stage = SegmentationStage(Config(), make_rig("a", "b"), backend)
    stage.push(make_frame("a", 0))
    backend.segment = lambda frames: 1 / 0
    with pytest.raises(ZeroDivisionError):
        stage.shed(make_frame("b", 0))
    assert [(m.camera, m.status.value) for m in stage.finish()] == [
        ("a", "failed"),
        ("b", "overload"),
    ]


def test_activate_names_the_shape_of_every_camera():
    backend, shapes = BatchRecorder(), []
    backend.activate = shapes.extend
    SegmentationStage(Config(), make_rig("a", "b"), backend).activate()
    assert shapes == [SHAPE, SHAPE]


def test_set_prompt_pictures_pushed_before_keep_the_old_version():
    backend = BatchRecorder()
    stage = SegmentationStage(Config(), make_rig("a", "b"), backend)
    assert stage.push(make_frame("a", 0)) == []  # waits for camera b
    assert stage.set_prompt(["bridge"]) == 1
    made = run(stage, [make_frame("a", 1), make_frame("b", 1)])
    assert [m.prompt_version for m in made] == [0, 1, 1]
    assert backend.prompts == [["bridge"]]
    assert stage.remarks[1:] == ("prompt 1: bridge",)


def test_set_prompt_without_text_encoder_says_so_and_keeps_the_version():
    stage = labels_stage()
    with pytest.raises(BackendError, match="takes no text prompt"):
        stage.set_prompt(["bridge"])
    assert stage.prompt_version == 0


def test_push_unknown_camera_names_the_known_ones():
    with pytest.raises(InputError, match="'rear'.*left"):
        labels_stage().push(make_frame("rear", 0))


def test_push_odometry_passes_without_effect():
    assert labels_stage().push(Odometry(0, np.eye(4))) == []
