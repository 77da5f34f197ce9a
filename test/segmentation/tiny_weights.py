"""Tiny checkpoints of the real architectures, for the real code to load offline."""

import json
from pathlib import Path

import yaml

WORDS = ["house", "building", "tree", "sky", "car", "road", "a", "photo", "of", "bridge", "shop"]
TEXT_FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
FILES = {
    "tiny-dino": TEXT_FILES,
    "tiny-owl": TEXT_FILES,
    "tiny-sam3": TEXT_FILES,
    "tiny-sam2": TEXT_FILES[:2],
    "tiny-sam": ["sam.pth"],
}
ROLES = {
    "grounded_sam": {"detector": "tiny-dino", "segmenter": "tiny-sam"},
    "grounded_sam2": {"detector": "tiny-dino", "segmenter": "tiny-sam2"},
    "owlv2_sam2": {"detector": "tiny-owl", "segmenter": "tiny-sam2"},
    "sam_auto": {"segmenter": "tiny-sam2"},
    "sam3": {"model": "tiny-sam3"},
}


def save_weights(folder: Path) -> None:
    """Save weights for every network backend, and `manifest.yaml` with models `tiny-<backend>`."""
    import torch

    torch.manual_seed(0)
    for save in (save_grounding_dino, save_owlv2, save_sam2, save_sam3, save_sam):
        save(folder)
    manifest = {
        "version": 1,
        "weights": {
            name: {
                "licence": "none",
                "source": "the test",
                "files": {file: {"sha256": None} for file in names},
            }
            for name, names in FILES.items()
        },
        "models": {f"tiny-{b}": {"backend": b, "weights": roles} for b, roles in ROLES.items()},
    }
    manifest["models"]["tiny-grounded_sam2"]["smaller"] = "tiny-owlv2_sam2"
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest))


def tiny_values(folder: Path, backend: str) -> dict[str, str | float | int]:
    """Return the configuration of a backend with the weights of a folder, by key."""
    return {
        "runtime.device": "cpu",
        "runtime.num_threads": 1,
        "segmentation.backend": backend,
        "segmentation.model": f"tiny-{backend}",
        "segmentation.weights_dir": str(folder),
        "segmentation.weights_manifest": str(folder / "manifest.yaml"),
        "segmentation.box_threshold": 0.0,
        "segmentation.min_area_px": 1,
    }


def save_bert_tokenizer(folder: Path) -> int:
    from transformers import BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *WORDS]
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(folder)
    return len(words)


def save_clip_tokenizer(folder: Path, length: int) -> int:
    from transformers import CLIPTokenizer

    letters = list("abcdefghijklmnopqrstuvwxyz")
    pieces = ["!", *letters, *[c + "</w>" for c in letters], "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=length
    )
    tokenizer.save_pretrained(folder)
    return len(pieces)


def save_grounding_dino(root: Path) -> None:
    from random_weights import small_dino
    from transformers import GroundingDinoForObjectDetection

    folder = root / "tiny-dino"
    size = save_bert_tokenizer(folder)
    config = small_dino(size, num_queries=12)
    config.max_text_len = 64
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    edges = {"size": {"shortest_edge": 96, "longest_edge": 160}}
    (folder / "preprocessor_config.json").write_text(json.dumps(edges))


def save_owlv2(root: Path) -> None:
    from transformers import Owlv2Config, Owlv2ForObjectDetection

    folder = root / "tiny-owl"
    size = save_clip_tokenizer(folder, 24)
    shared = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = Owlv2Config(
        text_config={
            **shared,
            "vocab_size": size,
            "max_position_embeddings": 24,
            "pad_token_id": 0,
            "bos_token_id": size - 2,
            "eos_token_id": size - 1,
        },
        vision_config={**shared, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )
    network = Owlv2ForObjectDetection(config)
    for head in (network.box_head, network.class_head):  # else sigmoids saturate
        for parameter in head.parameters():
            parameter.data *= 0.1
    network.save_pretrained(folder)


def save_sam2(root: Path) -> None:
    from random_weights import small_sam2
    from transformers.models.sam2.modeling_sam2 import Sam2Model

    Sam2Model(small_sam2()).save_pretrained(root / "tiny-sam2")


def save_sam3(root: Path) -> None:
    from transformers import CLIPTextConfig, Sam3Config
    from transformers.models.sam3.modeling_sam3 import Sam3Model

    folder = root / "tiny-sam3"
    size = save_clip_tokenizer(folder, 16)
    hidden = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}
    config = Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                **hidden,
                "num_hidden_layers": 2,
                "image_size": 112,
                "pretrain_image_size": 56,
                "patch_size": 14,
                "window_size": 4,
                "global_attn_indexes": [1],
            },
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config=CLIPTextConfig(
            vocab_size=size,
            hidden_size=32,
            intermediate_size=32,
            projection_dim=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=16,
            pad_token_id=0,
            bos_token_id=size - 2,
            eos_token_id=size - 1,
        ).to_dict(),
        geometry_encoder_config={**hidden, "num_layers": 1},
        detr_encoder_config={**hidden, "num_layers": 1},
        detr_decoder_config={**hidden, "num_layers": 1, "num_queries": 8},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )
    Sam3Model(config).save_pretrained(folder)


def save_sam(root: Path) -> None:
    """Save a state dict of segment-anything's own classes, as its authors publish them."""
    import torch

    from seg2d3d_ros.segmentation.networks.segment_anything import import_package

    modeling = import_package("modeling")
    network = modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=256,
            embed_dim=32,
            depth=2,
            num_heads=2,
            out_chans=32,
            use_rel_pos=True,
            window_size=6,
            global_attn_indexes=(1,),
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=32,
            image_embedding_size=(16, 16),
            input_image_size=(256, 256),
            mask_in_chans=16,
        ),
        mask_decoder=modeling.MaskDecoder(
            transformer_dim=32,
            transformer=modeling.TwoWayTransformer(
                depth=2, embedding_dim=32, mlp_dim=32, num_heads=8
            ),
            iou_head_hidden_dim=32,
        ),
    )
    (root / "tiny-sam").mkdir()
    torch.save(network.state_dict(), root / "tiny-sam" / "sam.pth")
