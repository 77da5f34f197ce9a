"""Segment Anything (Kirillov et al., ICCV 2023) by its authors' package: masks from boxes.

The package's own entry imports torchvision for a predictor that is not used here, so only its
networks are imported. The architecture is read off the checkpoint's tensors, so that vit_b, vit_l,
vit_h and any other size load alike.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seg2d3d_ros.errors import WeightsError
from seg2d3d_ros.segmentation.checkpoints import load_state_dict
from seg2d3d_ros.segmentation.memory import Settings
from seg2d3d_ros.segmentation.networks.pictures import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PRECISIONS,
    prepare,
    upsample_masks,
)


class SegmentAnything:
    """Encodes pictures in a batch and decodes the boxes of each by itself."""

    def __init__(self, path: Path, settings: Settings) -> None:
        """Load a checkpoint of segment-anything."""
        self._dtype = PRECISIONS[settings.precision]
        self._network = load_sam(path).to(settings.device)
        self._network.image_encoder.to(self._dtype)
        self._network.mask_decoder.to(self._dtype)
        self._encode = settings.compiled(self._network.image_encoder)
        self._side = self._network.image_encoder.img_size

    @torch.inference_mode()
    def segment_boxes(self, pictures: Tensor, boxes_px: Sequence[NDArray]) -> list[NDArray]:
        """Return (n, h, w) bool masks for the (n, 4) boxes of each picture (b, 3, h, w)."""
        h, w = pictures.shape[-2:]
        masks = [np.zeros((len(boxes), h, w), bool) for boxes in boxes_px]
        wanted = [i for i, boxes in enumerate(boxes_px) if len(boxes)]
        if not wanted:
            return masks
        scale = self._side / max(h, w)
        size = (max(1, round(h * scale)), max(1, round(w * scale)))
        pixels = prepare(pictures[wanted], size, IMAGENET_MEAN, IMAGENET_STD, self._dtype)
        pixels = functional.pad(pixels, (0, self._side - size[1], 0, self._side - size[0]))
        embeddings = self._encode(pixels)
        for row, i in enumerate(wanted):
            boxes = boxes_px[i] * np.tile([size[1] / w, size[0] / h], 2)
            logits = self._decode(embeddings[row : row + 1], boxes)
            logits = functional.interpolate(
                logits[:, None].float(), (self._side, self._side), mode="bilinear"
            )[:, 0, : size[0], : size[1]]
            masks[i] = upsample_masks(logits, (h, w))
        return masks

    def to(self, device: str) -> None:
        """Move the network."""
        self._network.to(device)

    def _decode(self, embedding: Tensor, boxes: NDArray) -> Tensor:
        """Return mask logits (n, h', w') of the padded input at low resolution."""
        prompts = self._network.prompt_encoder
        sparse, dense = prompts(
            points=None,
            boxes=torch.as_tensor(boxes, dtype=torch.float32, device=embedding.device),
            masks=None,
        )
        logits, _ = self._network.mask_decoder(
            image_embeddings=embedding,
            image_pe=prompts.get_dense_pe().to(self._dtype),
            sparse_prompt_embeddings=sparse.to(self._dtype),
            dense_prompt_embeddings=dense.to(self._dtype),
            multimask_output=False,
        )
        return logits[:, 0]


def load_sam(path: Path) -> torch.nn.Module:
    """Build the network that a checkpoint was made of and load it.

    Raises:
        WeightsError: the checkpoint is damaged, holds code, or is of another network.
    """
    state = load_state_dict(path)
    try:
        network = _build(state)
        network.load_state_dict(state, strict=True)
    except (KeyError, RuntimeError, ValueError, ZeroDivisionError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"{path} is not a checkpoint of segment-anything ({reason}); sam_vit_b, _l or _h is "
            "needed"
        ) from error
    return network.eval()


def _build(state: dict[str, Tensor]) -> torch.nn.Module:
    """Build a Sam whose sizes are those of the tensors."""
    modeling = import_package("modeling")
    position = state["image_encoder.pos_embed"]  # (1, grid, grid, width)
    grid, width = position.shape[1], position.shape[3]
    patch = state["image_encoder.patch_embed.proj.weight"].shape[-1]
    prefix = "image_encoder.blocks."
    depth = 1 + max(int(k[len(prefix) :].split(".")[0]) for k in state if k.startswith(prefix))
    reach = [state[f"{prefix}{i}.attn.rel_pos_h"].shape[0] for i in range(depth)]
    window = (min(reach) + 1) // 2
    channels = state["image_encoder.neck.0.weight"].shape[0]
    layers = "mask_decoder.transformer.layers."
    transformer = modeling.TwoWayTransformer(
        depth=1 + max(int(k[len(layers) :].split(".")[0]) for k in state if k.startswith(layers)),
        embedding_dim=channels,
        mlp_dim=state[f"{layers}0.mlp.lin1.weight"].shape[0],
        num_heads=8,
    )
    return modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=grid * patch,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=width // state[f"{prefix}0.attn.rel_pos_h"].shape[1],
            mlp_ratio=state[f"{prefix}0.mlp.lin1.weight"].shape[0] / width,
            out_chans=channels,
            qkv_bias=True,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=window,
            global_attn_indexes=[i for i in range(depth) if reach[i] == 2 * grid - 1],
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=channels,
            image_embedding_size=(grid, grid),
            input_image_size=(grid * patch, grid * patch),
            mask_in_chans=state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            transformer=transformer,
            transformer_dim=channels,
            iou_head_depth=3,
            iou_head_hidden_dim=state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
        ),
    )


def import_package(module: str) -> Any:
    """Import a module of segment_anything without running the package's entry (see above)."""
    name = "segment_anything"
    if name in sys.modules:
        return importlib.import_module(f"{name}.{module}")
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)
    bare = types.ModuleType(name)
    bare.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = bare
    try:
        return importlib.import_module(f"{name}.{module}")
    finally:
        del sys.modules[name]
