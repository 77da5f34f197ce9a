"""Weights of the published sizes, or of a small one, filled with random numbers.

Speed and memory do not depend on the values, so that they can be measured without any download.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import yaml
from transformers import PreTrainedConfig

WORDS = ["building", "house", "facade", "shop", "tree", "bush", "hedge", "sky", "road", "car"]
WORDS += ["van", "truck", "bus", "person", "bicycle", "a", "photo", "of"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ","]
TEXT_FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
DINO_STAGES = ["stage2", "stage3", "stage4"]
ROLES = {
    "grounded_sam": {"detector": "dino", "segmenter": "sam"},
    "grounded_sam2": {"detector": "dino", "segmenter": "sam2"},
    "owlv2_sam2": {"detector": "owlv2", "segmenter": "sam2"},
    "sam_auto": {"segmenter": "sam2"},
    "sam3": {"model": "sam3"},
}
FILES = {
    "dino": TEXT_FILES,
    "owlv2": TEXT_FILES,
    "sam3": TEXT_FILES,
    "sam2": TEXT_FILES[:2],
    "sam": ["sam.pth"],
}


def make_weights(root: Path, backends: list[str], size: str) -> Path:
    """Write the weights that backends need, unless they are there; return their manifest.

    Args:
        root: Folder of the weights.
        backends: Names of backends.
        size: `full` for the published sizes, `small` for quick trials.
    """
    torch.manual_seed(0)
    for name in sorted({weights for b in backends for weights in ROLES[b].values()}):
        if not (root / name).is_dir():
            (root / name).mkdir(parents=True)
            SAVE[name](root / name, size == "small")
    manifest = {
        "version": 1,
        "weights": {
            name: {
                "licence": "none",
                "source": "random numbers",
                "files": {file: {"sha256": None} for file in files},
            }
            for name, files in FILES.items()
        },
        "models": {
            f"random-{backend}": {"backend": backend, "weights": roles}
            for backend, roles in ROLES.items()
        },
    }
    path = root / "manifest.yaml"
    path.write_text(yaml.safe_dump(manifest))
    return path


def save_dino(folder: Path, is_small: bool) -> None:
    """Grounding DINO-T: Swin-T and BERT base, or a small one."""
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        SwinConfig,
    )

    num_words = len(SPECIAL) + len(WORDS) if is_small else 30522
    words = [*SPECIAL, *WORDS]
    words += [f"[unused{i}]" for i in range(num_words - len(words))]
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(folder)
    if is_small:
        config = small_dino(num_words, num_queries=50)
        edges = {"size": {"shortest_edge": 96, "longest_edge": 160}}
        (folder / "preprocessor_config.json").write_text(json.dumps(edges))
    else:
        config = GroundingDinoConfig(
            backbone_config=SwinConfig(
                window_size=7, image_size=224, depths=[2, 2, 6, 2], out_features=DINO_STAGES
            ),
            text_config=BertConfig(),
        )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)


def small_dino(num_words: int, num_queries: int) -> PreTrainedConfig:
    """Return the sizes of a small Grounding DINO that knows so many words."""
    from transformers import BertConfig, GroundingDinoConfig, SwinConfig

    return GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64,
            embed_dim=12,
            depths=[1, 1, 1, 1],
            num_heads=[1, 2, 2, 2],
            window_size=4,
            out_features=DINO_STAGES,
        ),
        text_config=BertConfig(
            vocab_size=num_words,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
        ),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=num_queries,
    )


def save_sam2(folder: Path, is_small: bool) -> None:
    """SAM 2.1 Hiera-T, which is the library's default, or a small one."""
    from transformers import Sam2Config
    from transformers.models.sam2.modeling_sam2 import Sam2Model

    config = small_sam2() if is_small else Sam2Config()
    Sam2Model(config).save_pretrained(folder)


def small_sam2() -> PreTrainedConfig:
    """Return the sizes of a small SAM 2, for pictures of 128 pixels."""
    from transformers import (
        Sam2Config,
        Sam2HieraDetConfig,
        Sam2MaskDecoderConfig,
        Sam2PromptEncoderConfig,
        Sam2VisionConfig,
    )

    backbone = Sam2HieraDetConfig(
        hidden_size=16,
        image_size=[128, 128],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 1, 2, 4],
        window_size_per_stage=[8, 4, 8, 4],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )
    return Sam2Config(
        vision_config=Sam2VisionConfig(
            backbone_config=backbone,
            backbone_channel_list=[128, 64, 32, 16],
            backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
            fpn_hidden_size=32,
        ),
        prompt_encoder_config=Sam2PromptEncoderConfig(
            hidden_size=32, image_size=128, patch_size=16
        ),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=32, mlp_dim=64, num_attention_heads=4, iou_head_hidden_dim=32
        ),
    )


def save_sam(folder: Path, is_small: bool) -> None:
    """Segment Anything vit_b; there is no small one."""
    from seg2d3d_ros.segmentation.networks.segment_anything import import_package

    torch.save(import_package("build_sam").build_sam_vit_b().state_dict(), folder / "sam.pth")


def save_owlv2(folder: Path, is_small: bool) -> None:
    """OWLv2 base with patches of 16 pixels; there is no small one."""
    from transformers import Owlv2Config, Owlv2ForObjectDetection

    save_clip_tokenizer(folder)
    config = Owlv2Config(vision_config={"image_size": 960, "patch_size": 16, "hidden_size": 768})
    Owlv2ForObjectDetection(config).save_pretrained(folder)


def save_sam3(folder: Path, is_small: bool) -> None:
    """SAM 3, which is the library's default; there is no small one."""
    from transformers import Sam3Config
    from transformers.models.sam3.modeling_sam3 import Sam3Model

    save_clip_tokenizer(folder)
    Sam3Model(Sam3Config()).save_pretrained(folder)


def save_clip_tokenizer(folder: Path) -> None:
    """Write a tokenizer of letters with the vocabulary size of CLIP's."""
    from transformers import CLIPTokenizer

    letters = list("abcdefghijklmnopqrstuvwxyz")
    pieces = ["!", *letters, *[c + "</w>" for c in letters]]
    pieces += [f"<|unused{i}|>" for i in range(49406 - len(pieces))]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77).save_pretrained(folder)


SAVE = {
    "dino": save_dino,
    "sam2": save_sam2,
    "sam": save_sam,
    "owlv2": save_owlv2,
    "sam3": save_sam3,
}
