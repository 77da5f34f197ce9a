"""SAM 2 (Ravi et al., 2024) by transformers: masks from boxes or points of single pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg2d3d_ros.segmentation.checkpoints import load_network
from seg2d3d_ros.segmentation.memory import Settings
from seg2d3d_ros.segmentation.networks.pictures import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PRECISIONS,
    prepare,
    upsample_masks,
)


class Sam2:
    """Encodes pictures in a batch and decodes the prompts of each by itself."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Load the network from its folder; the input has the one size it was trained with."""
        # from the module: the package's own name insists on torchvision, which only its processor
        # needs
        from transformers.models.sam2.modeling_sam2 import Sam2Model

        self._dtype = PRECISIONS[settings.precision]
        self._network = load_network(Sam2Model, folder, self._dtype).to(settings.device)
        encoder = self._network.vision_encoder
        encoder.forward = settings.compiled(encoder.forward)
        self._side = int(self._network.config.prompt_encoder_config.image_size)

    @torch.inference_mode()
    def segment_boxes(self, pictures: Tensor, boxes_px: Sequence[NDArray]) -> list[NDArray]:
        """Return (n, h, w) bool masks for the (n, 4) boxes of each picture (b, 3, h, w)."""
        h, w = pictures.shape[-2:]
        masks = [np.zeros((len(boxes), h, w), bool) for boxes in boxes_px]
        wanted = [i for i, boxes in enumerate(boxes_px) if len(boxes)]
        if not wanted:
            return masks
        embeddings = self._encode(pictures[wanted])
        for row, i in enumerate(wanted):
            boxes = self._scaled(boxes_px[i].reshape(-1, 2, 2), (h, w)).reshape(1, -1, 4)
            found = self._network(
                image_embeddings=[level[row : row + 1] for level in embeddings],
                input_boxes=boxes,
                multimask_output=False,
            )
            masks[i] = upsample_masks(found.pred_masks[0, :, 0], (h, w))
        return masks

    @torch.inference_mode()
    def segment_points(
        self, pictures: Tensor, uv_px: NDArray, chunk: int = 64
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the masks that one point each may mean.

        Args:
            pictures: (b, 3, h, w) uint8 RGB.
            uv_px: (n, 2) pixels, the same in each picture.
            chunk: Points decoded at once.

        Returns:
            Per picture: mask logits (3 n, h', w') that cover the whole picture at low resolution,
            and the quality (3 n,) the network gives each, both on the device.
        """
        embeddings = self._encode(pictures)
        points = self._scaled(uv_px, tuple(pictures.shape[-2:])).reshape(1, -1, 1, 2)
        results = []
        for row in range(len(pictures)):
            logits, quality = [], []
            for part in points.split(chunk, dim=1):
                found = self._network(
                    image_embeddings=[level[row : row + 1] for level in embeddings],
                    input_points=part,
                    multimask_output=True,
                )
                logits.append(found.pred_masks[0].flatten(0, 1))
                quality.append(found.iou_scores[0].flatten().float())
            results.append((torch.cat(logits), torch.cat(quality)))
        return results

    def to(self, device: str) -> None:
        """Move the network."""
        self._network.to(device)

    def _encode(self, pictures: Tensor) -> list[Tensor]:
        size = (self._side, self._side)
        pixels = prepare(pictures, size, IMAGENET_MEAN, IMAGENET_STD, self._dtype)
        return self._network.get_image_embeddings(pixels)

    def _scaled(self, uv_px: NDArray, shape: tuple[int, ...]) -> Tensor:
        """Turn pixels (..., 2) of a picture of shape (h, w) into pixels of the input."""
        scale = self._side / np.array([shape[1], shape[0]])
        return torch.as_tensor(uv_px * scale, dtype=torch.float32, device=self._network.device)
