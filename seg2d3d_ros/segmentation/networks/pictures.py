"""From pictures to network inputs, on the device, without torchvision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF_MEAN, HALF_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def to_tensor(images: Sequence[NDArray[np.uint8]], device: str) -> Tensor:
    """Stack pictures of equal size, (h, w) or (h, w, 3) BGR, to (b, 3, h, w) uint8 RGB."""
    stacked = torch.from_numpy(np.stack(images)).to(device)
    if stacked.ndim == 3:
        return stacked[:, None].expand(-1, 3, -1, -1)
    return stacked.flip(-1).permute(0, 3, 1, 2)


def prepare(
    pictures: Tensor,
    size: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype,
) -> Tensor:
    """Resize (b, 3, h, w) uint8 to a size (h, w), smoothing where it shrinks, and normalise."""
    resized = functional.interpolate(
        pictures.float(), size=size, mode="bilinear", align_corners=False, antialias=True
    )
    offset, scale = (torch.tensor(v, device=pictures.device)[:, None, None] for v in (mean, std))
    return ((resized / 255 - offset) / scale).to(dtype)


def fit_edges(
    shape: tuple[int, int], shortest: float, longest: float, least: int = 32
) -> tuple[int, int]:
    """Return the size (h, w) whose short edge is `shortest`, its long one `longest` at most."""
    h, w = shape
    scale = min(shortest / min(h, w), longest / max(h, w))
    return max(least, round(h * scale)), max(least, round(w * scale))


def read_input_edges(folder: Path, default: tuple[int, int]) -> tuple[int, int]:
    """Return shortest and longest edge of a network's input from its preprocessor_config.json."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return default
    size = json.loads(path.read_text()).get("size") or {}
    if isinstance(size, dict) and "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size.get("longest_edge", default[1]))
    return default


def upsample_masks(logits: Tensor, shape: tuple[int, int], chunk: int = 16) -> NDArray[np.bool_]:
    """Resize mask logits (n, h, w) bilinearly to a shape (h, w) and cut at 0; (n, h, w) bool."""
    masks = np.zeros((len(logits), *shape), bool)
    if logits.device.type == "cpu":  # OpenCV is four times as fast as torch here
        for mask, one in zip(masks, logits.float().numpy(), strict=True):
            np.greater(cv2.resize(one, shape[::-1], interpolation=cv2.INTER_LINEAR), 0, out=mask)
        return masks
    for start in range(0, len(logits), chunk):
        part = logits[None, start : start + chunk].float()
        large = functional.interpolate(part, size=shape, mode="bilinear", align_corners=False)[0]
        masks[start : start + chunk] = (large > 0).cpu().numpy()
    return masks
