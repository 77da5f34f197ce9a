"""SAM 3 (Meta, 2025) by transformers: masks of all instances of a phrase, in one network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seg2d3d_ros.segmentation.checkpoints import load_network, load_tokenizer
from seg2d3d_ros.segmentation.memory import Settings
from seg2d3d_ros.segmentation.networks.pictures import (
    HALF_MEAN,
    HALF_STD,
    PRECISIONS,
    prepare,
    upsample_masks,
)
from seg2d3d_ros.segmentation.networks.pipeline import Candidates
from seg2d3d_ros.segmentation.prompts import Prompt


class Sam3Pipeline:
    """Encodes pictures once and every phrase once; the decoder sees each pair of them."""

    def __init__(self, folder: Path, settings: Settings, threshold: float) -> None:
        """Load the network from its folder; the input has the one size it was trained with."""
        # from the module: the package's own name insists on torchvision, which text prompts do
        # without
        from transformers.models.sam3.modeling_sam3 import Sam3Model

        self._dtype = PRECISIONS[settings.precision]
        self._network = load_network(Sam3Model, folder, self._dtype).to(settings.device)
        encoder = self._network.vision_encoder
        encoder.forward = settings.compiled(encoder.forward)
        self._tokenizer = load_tokenizer(folder)
        self._side = int(self._network.config.vision_config.image_size)
        self._threshold = threshold
        self._texts: list[tuple[Any, Tensor]] = []
        self._class_of_phrase: list[int] = []

    @torch.inference_mode()
    def set_prompt(self, prompt: Prompt) -> None:
        """Encode the phrases once."""
        length = self._network.config.text_config.max_position_embeddings
        self._texts = []
        for phrase in prompt.phrases:
            text = self._tokenizer(
                phrase,
                padding="max_length",
                truncation=True,
                max_length=length,
                return_tensors="pt",
            ).to(self._network.device)
            mask = text["attention_mask"]
            features = self._network.get_text_features(
                input_ids=text["input_ids"], attention_mask=mask, return_dict=True
            )
            self._texts.append((features, mask))
        self._class_of_phrase = prompt.class_of_phrase

    @torch.inference_mode()
    def run(self, pictures: Tensor) -> list[Candidates]:
        """Find regions in pictures (b, 3, h, w) uint8 RGB."""
        num, _, h, w = pictures.shape
        size = (self._side, self._side)
        pixels = prepare(pictures, size, HALF_MEAN, HALF_STD, self._dtype)
        vision = self._network.get_vision_features(pixel_values=pixels)
        masks: list[list[np.ndarray]] = [[] for _ in range(num)]
        scores: list[list[np.ndarray]] = [[] for _ in range(num)]
        classes: list[list[np.ndarray]] = [[] for _ in range(num)]
        for (features, mask), position in zip(self._texts, self._class_of_phrase, strict=True):
            found = self._network(
                vision_embeds=vision,
                text_embeds=_repeat(features, num),
                attention_mask=mask.expand(num, -1),
            )
            quality = found.pred_logits.float().sigmoid()
            if found.presence_logits is not None:
                quality = quality * found.presence_logits.float().sigmoid()
            for i in range(num):
                kept = quality[i] > self._threshold
                masks[i].append(upsample_masks(found.pred_masks[i][kept], (h, w)))
                scores[i].append(quality[i][kept].cpu().numpy())
                classes[i].append(np.full(int(kept.sum()), position))
        return [
            Candidates(
                np.concatenate(masks[i]),
                np.concatenate(classes[i]).astype(np.int64),
                np.concatenate(scores[i]).astype(np.float32),
            )
            for i in range(num)
        ]

    def to(self, device: str) -> None:
        """Move the network; phrases are moved with it."""
        self._network.to(device)
        for features, _ in self._texts:
            features.pooler_output = features.pooler_output.to(device)
        self._texts = [(features, mask.to(device)) for features, mask in self._texts]


def _repeat(features: Any, num: int) -> Any:
    """Return text features for a batch."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    return BaseModelOutputWithPooling(pooler_output=features.pooler_output.expand(num, -1, -1))
