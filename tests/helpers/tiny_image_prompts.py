"""Build adapters of image prompts and their image encoder at tiny sizes: real classes with random weights."""

from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPriorReduxPipeline, UNet2DConditionModel
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from safetensors.torch import save_file
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
    SiglipVisionModel,
)

IMAGE_PX = 32
PROJECTION_DIM = 16
HIDDEN_SIZE = 64


def save(folder: Path, model: Path, variant: str = "base", *, seed: int = 5) -> Path:
    """Save an adapter for a tiny model, with its image encoder in the folder `image_encoder`. Return the file.

    Args:
        folder: new folder.
        model: folder of the tiny model.
        variant: base, or plus (which reads the hidden states of the image encoder).
        seed: seed of the weights.
    """
    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    width = unet.config.cross_attention_dim
    tensors = {f"image_proj.{name}": value for name, value in _projection(variant, width).items()}
    number = 1
    for name in unet.attn_processors:
        if name.endswith("attn2.processor"):
            attention = unet.get_submodule(name.removesuffix(".processor"))
            for key in ("k", "v"):
                tensors[f"ip_adapter.{number}.to_{key}_ip.weight"] = torch.randn(attention.inner_dim, width) * 0.5
            number += 2
    folder.mkdir(parents=True)
    save_file(tensors, folder / f"{variant}.safetensors")
    torch.manual_seed(seed)  # all adapters have the same image encoder
    config = CLIPVisionConfig(
        hidden_size=HIDDEN_SIZE,
        intermediate_size=64,
        projection_dim=PROJECTION_DIM,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=IMAGE_PX,
        patch_size=8,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder / "image_encoder")
    return folder / f"{variant}.safetensors"


def _projection(variant: str, width: int) -> dict[str, Any]:
    if variant == "base":
        return {
            "proj.weight": torch.randn(4 * width, PROJECTION_DIM) * 0.5,
            "proj.bias": torch.zeros(4 * width),
            "norm.weight": torch.ones(width),
            "norm.bias": torch.zeros(width),
        }
    shapes: dict[str, tuple[int, ...]] = {
        "latents": (1, 4, 64), "proj_in.weight": (64, HIDDEN_SIZE), "proj_in.bias": (64,),
        "proj_out.weight": (width, 64), "proj_out.bias": (width,), "norm_out.weight": (width,),
        "norm_out.bias": (width,),
    }  # fmt: skip
    layer = {
        "0.norm1.weight": (64,), "0.norm1.bias": (64,), "0.norm2.weight": (64,), "0.norm2.bias": (64,),
        "0.to_q.weight": (64, 64), "0.to_kv.weight": (128, 64), "0.to_out.weight": (64, 64), "1.0.weight": (64,),
        "1.0.bias": (64,), "1.1.weight": (256, 64), "1.3.weight": (64, 256),
    }  # fmt: skip
    for number in range(4):  # the depth is fixed in diffusers
        shapes |= {f"layers.{number}.{name}": shape for name, shape in layer.items()}
    return {name: torch.randn(shape) * 0.5 for name, shape in shapes.items()}


def save_redux(folder: Path, text_width: int) -> Path:
    """Save Flux Redux in the layout of the hub repository, with random weights. Return the file of the image embedder.

    Args:
        folder: new folder.
        text_width: width of the text embedding of the model.
    """
    torch.manual_seed(5)
    config = SiglipVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8
    )
    embedder = ReduxImageEncoder(redux_dim=32, txt_in_features=text_width)
    processor = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    FluxPriorReduxPipeline(SiglipVisionModel(config), processor, embedder).save_pretrained(folder)
    return folder / "image_embedder" / "diffusion_pytorch_model.safetensors"
