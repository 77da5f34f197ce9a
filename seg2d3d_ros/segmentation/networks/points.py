"""Masks without a class: points on a grid, each asked what it may be part of (as SAM does)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from seg2d3d_ros.segmentation.networks.pictures import upsample_masks
from seg2d3d_ros.segmentation.networks.pipeline import Candidates
from seg2d3d_ros.segmentation.networks.sam2 import Sam2
from seg2d3d_ros.segmentation.networks.suppression import keep_best
from seg2d3d_ros.segmentation.prompts import Prompt

STABILITY_OFFSET = 1.0  # logits


class PointPipeline:
    """Segments everything: keeps the masks that the network finds good and that are stable."""

    def __init__(self, segmenter: Sam2, threshold: float, max_masks: int, side: int) -> None:
        """Ask at side x side points; keep masks whose quality and stability pass the threshold."""
        self._segmenter, self._threshold, self._max_masks = segmenter, threshold, max_masks
        centres = (np.arange(side) + 0.5) / side
        self._grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)

    @torch.inference_mode()
    def run(self, pictures: Tensor) -> list[Candidates]:
        """Find regions in pictures (b, 3, h, w) uint8 RGB."""
        h, w = pictures.shape[-2:]
        found = self._segmenter.segment_points(pictures, self._grid * np.array([w, h]))
        return [self._candidates(logits, quality, (h, w)) for logits, quality in found]

    def set_prompt(self, prompt: Prompt) -> None:
        """Do nothing: masks have no class."""

    def to(self, device: str) -> None:
        """Move the network."""
        self._segmenter.to(device)

    def _candidates(self, logits: Tensor, quality: Tensor, shape: tuple[int, int]) -> Candidates:
        score = quality.clamp(0, 1) * _stability(logits)
        order = score.argsort(descending=True, stable=True)
        order = order[score[order] >= self._threshold][: 4 * self._max_masks]
        order = order[_suppress(logits[order] > 0)][: self._max_masks]
        masks = upsample_masks(logits[order], shape)
        scores = score[order].float().cpu().numpy().astype(np.float32)
        return Candidates(masks, np.zeros(len(masks), np.int64), scores)


def _stability(logits: Tensor) -> Tensor:
    """Return how little each mask (n, h, w) changes with the cut, 0..1."""
    tight = (logits > STABILITY_OFFSET).sum(dim=(1, 2)).float()
    loose = (logits > -STABILITY_OFFSET).sum(dim=(1, 2)).float()
    return tight / loose.clamp(min=1)


def _suppress(masks: Tensor, overlap: float = 0.7) -> Tensor:
    """Return positions of masks (n, h, w), best first, that double no better one."""
    flat = masks.flatten(1).float()
    shared = flat @ flat.T
    size = flat.sum(dim=1)
    iou = (shared / (size[:, None] + size[None] - shared).clamp(min=1)).cpu().numpy()
    kept = torch.from_numpy(keep_best(iou > overlap)).to(masks.device)
    return kept[size[kept] > 0]
