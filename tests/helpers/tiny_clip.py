"""Build a CLIP model at a tiny size: the real class of transformers with random weights."""

from pathlib import Path

import torch
from helpers.tiny_models import tokenizer
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

_LAYERS = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}


def clip(folder: Path) -> Path:
    """Save a CLIP model with 2 layers for images of 32 pixels."""
    tokens = tokenizer(folder)
    torch.manual_seed(0)
    special = {"bos_token_id": tokens.bos_token_id, "eos_token_id": tokens.eos_token_id, "pad_token_id": 1}
    config = CLIPConfig(
        text_config={**_LAYERS, "vocab_size": len(tokens), **special},
        vision_config={**_LAYERS, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        initializer_factor=4.0,
    )
    CLIPModel(config).eval().save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder
