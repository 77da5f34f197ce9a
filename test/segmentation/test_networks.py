"""Our preparation and decoding against what the authors' own code makes of the same picture."""

import numpy as np
import pytest

from seg2d3d_ros.segmentation.memory import Settings
from seg2d3d_ros.segmentation.prompts import parse_prompt

CPU = Settings(4, "fp32", 1.0, "tiny", "cpu")
PROMPT = parse_prompt(["building=house,building", "sky", "car"])


@pytest.fixture(scope="module")
def picture():
    """Return a smooth picture (h, w, 3) BGR: where resampling differs, it differs little."""
    v, u = np.mgrid[:96, :160]
    waves = [np.sin(u / 17 + v / 23), np.cos(u / 31), np.sin(v / 19)]
    return (127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def to_rgb(picture):
    return np.ascontiguousarray(picture[..., ::-1])


def test_grounding_dino_boxes_and_scores_agree_with_its_processor(torch, weights, picture):
    from transformers import (
        BertTokenizer,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessorPil,
        GroundingDinoProcessor,
    )

    from seg2d3d_ros.segmentation.networks.grounding_dino import GroundingDino
    from seg2d3d_ros.segmentation.networks.pictures import to_tensor

    folder = weights / "tiny-dino"
    processor = GroundingDinoProcessor(
        GroundingDinoImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 160}),
        BertTokenizer.from_pretrained(folder),
    )
    inputs = processor(images=to_rgb(picture), text=[PROMPT.phrases], return_tensors="pt")
    network = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = network(**inputs)
    boxes = processor.post_process_grounded_object_detection(
        expected, inputs["input_ids"], threshold=0.0, target_sizes=[picture.shape[:2]]
    )[0]["boxes"]
    detector = GroundingDino(folder, CPU)
    detector.set_prompt(PROMPT)
    (found,) = detector.detect(to_tensor([picture], "cpu"))
    # the picture has the input's size: only rounding is left
    np.testing.assert_allclose(found.boxes_px, boxes.numpy(), atol=0.05)
    # [CLS] house . building . sky . car . [SEP]
    tokens = expected.logits[0].sigmoid().numpy()
    by_hand = np.stack(
        [np.maximum(tokens[:, 1], tokens[:, 3]), tokens[:, 5], tokens[:, 7]], axis=1
    )
    np.testing.assert_allclose(found.class_scores, by_hand, atol=1e-3)


def test_owlv2_boxes_and_scores_agree_with_its_processor(torch, weights, picture):
    from transformers import (
        CLIPTokenizer,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessorPil,
        Owlv2Processor,
    )

    from seg2d3d_ros.segmentation.networks.owlv2 import Owlv2
    from seg2d3d_ros.segmentation.networks.pictures import to_tensor

    folder = weights / "tiny-owl"
    processor = Owlv2Processor(
        Owlv2ImageProcessorPil(size={"height": 64, "width": 64}),
        CLIPTokenizer.from_pretrained(folder),
    )
    phrases = [f"a photo of a {phrase}" for phrase in PROMPT.phrases]
    inputs = processor(
        images=to_rgb(picture),
        text=[phrases],
        padding="max_length",
        max_length=24,
        truncation=True,
        return_tensors="pt",
    )
    network = Owlv2ForObjectDetection.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = network(**inputs)
    detector = Owlv2(folder, CPU)
    detector.set_prompt(PROMPT)
    (found,) = detector.detect(to_tensor([picture], "cpu"))
    side = max(picture.shape)
    centre, size = expected.pred_boxes[0].numpy()[:, :2], expected.pred_boxes[0].numpy()[:, 2:]
    corners = np.concatenate((centre - size / 2, centre + size / 2), axis=1) * side
    # the processor resamples 160 px to 64 px by another filter
    np.testing.assert_allclose(found.boxes_px, corners, atol=2.0)
    phrase_scores = expected.logits[0].sigmoid().numpy()
    by_hand = np.stack(
        [phrase_scores[:, :2].max(axis=1), phrase_scores[:, 2], phrase_scores[:, 3]], axis=1
    )
    np.testing.assert_allclose(found.class_scores, by_hand, atol=0.05)
    assert np.linalg.norm(found.embeddings, axis=1) == pytest.approx(1, abs=1e-4)


def test_segment_anything_masks_agree_with_its_own_forward(torch, weights, picture):
    from seg2d3d_ros.segmentation.networks.pictures import to_tensor
    from seg2d3d_ros.segmentation.networks.segment_anything import SegmentAnything, load_sam

    path = weights / "tiny-sam" / "sam.pth"
    boxes = np.array([[20, 20, 100, 80], [0, 0, 160, 96], [5, 5, 6, 6]], np.float32)
    (found,) = SegmentAnything(path, CPU).segment_boxes(to_tensor([picture], "cpu"), [boxes])
    sam = load_sam(path)
    scale = 256 / 160
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(to_rgb(picture)).permute(2, 0, 1)[None].float(),
        (round(96 * scale), 256),
        mode="bilinear",
        antialias=True,
    )[0]
    with torch.inference_mode():
        (expected,) = sam(
            [
                {
                    "image": resized,
                    "boxes": torch.from_numpy(boxes * scale),
                    "original_size": (96, 160),
                }
            ],
            multimask_output=False,
        )
    assert found.shape == (3, 96, 160)
    differ = found ^ expected["masks"][:, 0].numpy()
    assert differ.mean() < 0.002  # rounding of the mean and deviation moves single pixels


def test_segment_anything_architecture_is_read_off_the_tensors(weights):
    from seg2d3d_ros.segmentation.networks.segment_anything import load_sam

    encoder = load_sam(weights / "tiny-sam" / "sam.pth").image_encoder
    assert encoder.img_size == 256
    assert [block.window_size for block in encoder.blocks] == [6, 0]
    assert encoder.blocks[0].attn.num_heads == 2


def test_sam2_boxes_agree_with_the_network_called_by_hand(torch, weights, picture):
    from transformers.models.sam2.modeling_sam2 import Sam2Model

    from seg2d3d_ros.segmentation.networks.pictures import (
        IMAGENET_MEAN,
        IMAGENET_STD,
        prepare,
        to_tensor,
    )
    from seg2d3d_ros.segmentation.networks.sam2 import Sam2

    pictures = to_tensor([picture, picture[::-1].copy()], "cpu")
    boxes = np.array([[20, 20, 100, 80]], np.float32)
    none = np.zeros((0, 4), np.float32)
    first, second = Sam2(weights / "tiny-sam2", CPU).segment_boxes(pictures, [none, boxes])
    assert first.shape == (0, 96, 160)
    network = Sam2Model.from_pretrained(weights / "tiny-sam2").eval()
    pixels = prepare(pictures[1:], (128, 128), IMAGENET_MEAN, IMAGENET_STD, torch.float32)
    scaled = torch.tensor([[[20 * 0.8, 20 * 128 / 96, 100 * 0.8, 80 * 128 / 96]]])
    with torch.inference_mode():
        logits = network(
            pixel_values=pixels, input_boxes=scaled, multimask_output=False
        ).pred_masks[0]
    expected = torch.nn.functional.interpolate(logits, (96, 160), mode="bilinear")[0, 0] > 0
    assert (second[0] ^ expected.numpy()).mean() < 0.002
