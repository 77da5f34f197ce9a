"""OWLv2 (Minderer et al., NeurIPS 2023) by transformers: boxes for phrases, with embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from seg2d3d_ros.segmentation.checkpoints import load_network, load_tokenizer
from seg2d3d_ros.segmentation.memory import Settings
from seg2d3d_ros.segmentation.networks.grounding_dino import best_phrase, to_corners
from seg2d3d_ros.segmentation.networks.pictures import CLIP_MEAN, CLIP_STD, PRECISIONS, prepare
from seg2d3d_ros.segmentation.networks.pipeline import Detections
from seg2d3d_ros.segmentation.prompts import Prompt


class Owlv2:
    """Finds boxes by text; each box has an embedding in the space of the text."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Load the network from its folder; the input has the one size it was trained with."""
        from transformers import Owlv2ForObjectDetection

        self._dtype = PRECISIONS[settings.precision]
        network = load_network(Owlv2ForObjectDetection, folder, self._dtype)
        self._network = network.to(settings.device)
        vision = self._network.owlv2.vision_model
        vision.forward = settings.compiled(vision.forward)
        self._tokenizer = load_tokenizer(folder)
        self._side = self._network.config.vision_config.image_size
        self.embedding_model_id = f"owlv2:{folder.name}"
        self._queries = torch.zeros((0, 0))
        self._class_of_phrase: list[int] = []

    @torch.inference_mode()
    def set_prompt(self, prompt: Prompt) -> None:
        """Encode the phrases once; pictures are compared with them."""
        length = self._network.config.text_config.max_position_embeddings
        text = self._tokenizer(
            [f"a photo of a {phrase}" for phrase in prompt.phrases],
            padding="max_length",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        ).to(self._network.device)
        found = self._network.owlv2.get_text_features(
            input_ids=text["input_ids"], attention_mask=text["attention_mask"]
        )
        embeddings = getattr(found, "pooler_output", found)
        self._queries = functional.normalize(embeddings.float(), dim=-1).to(self._dtype)
        self._class_of_phrase = prompt.class_of_phrase

    @torch.inference_mode()
    def detect(self, pictures: Tensor) -> list[Detections]:
        """Find boxes in pictures (b, 3, h, w) uint8 RGB."""
        num, _, h, w = pictures.shape
        side = max(h, w)
        square = functional.pad(pictures, (0, side - w, 0, side - h))
        pixels = prepare(square, (self._side, self._side), CLIP_MEAN, CLIP_STD, self._dtype)
        field, _ = self._network.image_embedder(pixel_values=pixels)
        features = field.reshape(num, -1, field.shape[-1])
        queries = self._queries.expand(num, -1, -1)
        logits, embeddings = self._network.class_predictor(features, queries)
        boxes = self._network.box_predictor(features, field).float().cpu().numpy()
        classes = best_phrase(logits.float().sigmoid().cpu().numpy(), self._class_of_phrase)
        vectors = functional.normalize(embeddings.float(), dim=-1).cpu().numpy()
        return [
            Detections(to_corners(b, (side, side)), c, np.ascontiguousarray(e))
            for b, c, e in zip(boxes, classes, vectors, strict=True)
        ]

    def to(self, device: str) -> None:
        """Move the network."""
        self._network.to(device)
        self._queries = self._queries.to(device)
