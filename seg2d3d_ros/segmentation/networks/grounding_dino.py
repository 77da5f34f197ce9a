"""Grounding DINO (Liu et al., ECCV 2024) by transformers: boxes for phrases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seg2d3d_ros.errors import BackendError
from seg2d3d_ros.segmentation.checkpoints import load_network, load_tokenizer
from seg2d3d_ros.segmentation.memory import Settings
from seg2d3d_ros.segmentation.networks.pictures import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PRECISIONS,
    fit_edges,
    prepare,
    read_input_edges,
)
from seg2d3d_ros.segmentation.networks.pipeline import Detections
from seg2d3d_ros.segmentation.prompts import Prompt


class GroundingDino:
    """Finds boxes by text: a class scores as its best phrase, a phrase as its tokens' mean."""

    embedding_model_id = ""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Load the network from its folder."""
        from transformers import GroundingDinoForObjectDetection

        self._dtype = PRECISIONS[settings.precision]
        network = load_network(GroundingDinoForObjectDetection, folder, self._dtype)
        self._network = network.to(settings.device)
        self._forward = settings.compiled(self._network)
        self._tokenizer = load_tokenizer(folder)
        shortest, longest = read_input_edges(folder, (800, 1333))
        self._edges = shortest * settings.input_scale, longest * settings.input_scale
        self._text: dict[str, Tensor] = {}
        self._token_of_phrase = torch.zeros((0, 0))
        self._class_of_phrase: list[int] = []

    def set_prompt(self, prompt: Prompt) -> None:
        """Encode phrases as one text, each ended by a full stop; find the tokens of each."""
        text, spans = "", []
        for phrase in prompt.phrases:
            spans.append((len(text), len(text) + len(phrase)))
            text += f"{phrase}. "
        encoded = self._tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
        offsets = encoded.pop("offset_mapping")[0]
        limit = self._network.config.max_text_len
        if len(offsets) > limit:
            raise BackendError(
                f"the prompt has {len(offsets)} tokens, Grounding DINO takes {limit}; name fewer "
                "classes or synonyms"
            )
        weights = torch.zeros((len(spans), limit))
        for row, (start, end) in enumerate(spans):
            inside = (offsets[:, 0] >= start) & (offsets[:, 1] <= end) & (offsets[:, 1] > start)
            weights[row, : len(offsets)] = inside.float() / inside.sum().clamp(min=1)
        device = self._network.device
        self._text = {k: v.to(device) for k, v in encoded.items()}
        self._token_of_phrase = weights.to(device)
        self._class_of_phrase = prompt.class_of_phrase

    @torch.inference_mode()
    def detect(self, pictures: Tensor) -> list[Detections]:
        """Find boxes in pictures (b, 3, h, w) uint8 RGB."""
        num, _, h, w = pictures.shape
        size = fit_edges((h, w), *self._edges)
        pixels = prepare(pictures, size, IMAGENET_MEAN, IMAGENET_STD, self._dtype)
        text = {k: v.expand(num, -1) for k, v in self._text.items()}
        mask = torch.ones((num, *size), dtype=torch.int64, device=pictures.device)
        found = self._forward(pixel_values=pixels, pixel_mask=mask, **text)
        tokens = found.logits.float().sigmoid()
        phrases = (tokens @ self._token_of_phrase.T).cpu().numpy()
        boxes = found.pred_boxes.float().cpu().numpy()
        classes = best_phrase(phrases, self._class_of_phrase)
        return [Detections(to_corners(b, (h, w)), c) for b, c in zip(boxes, classes, strict=True)]

    def to(self, device: str) -> None:
        """Move the network."""
        self._network.to(device)
        self._text = {k: v.to(device) for k, v in self._text.items()}
        self._token_of_phrase = self._token_of_phrase.to(device)


def best_phrase(phrase_scores: np.ndarray, class_of_phrase: list[int]) -> np.ndarray:
    """Return class scores (..., c) from phrase scores (..., p): each class's best phrase."""
    num = max(class_of_phrase) + 1
    owner = np.array(class_of_phrase)
    return np.stack(
        [phrase_scores[..., owner == i].max(axis=-1) for i in range(num)], axis=-1
    ).astype(np.float32)


def to_corners(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Turn (n, 4) centre and size, relative to a shape (h, w), into corners in pixels."""
    h, w = shape
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    corners = np.concatenate((centre - half, centre + half), axis=1)
    return (corners * np.array([w, h, w, h])).astype(np.float32)
