"""Create tiny unconditional pixel diffusion models with random weights, in the folder layouts of diffusers."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, UNet2DModel

SIZE = 16
"""Native image side of each tiny model in pixels."""


def unet(*, channels: int = 3, out_channels: int | None = None, attention: bool = False) -> UNet2DModel:
    torch.manual_seed(7)
    return UNet2DModel(
        sample_size=SIZE,
        in_channels=channels,
        out_channels=out_channels or channels,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        add_attention=attention,
        attention_head_dim=8,
        norm_num_groups=4,
    ).eval()


def save(folder: Path, network: UNet2DModel | None = None, **scheduler: Any) -> str:
    """Save a model as a `DDIMPipeline` and return its folder as a `--model` value."""
    DDIMPipeline(network or unet(), DDIMScheduler(**scheduler)).save_pretrained(folder)
    return str(folder)


def save_old(folder: Path, *, pickled: bool = False) -> str:
    """Save a model in the oldest layout (all files in one folder, without `model_index.json`) and return its folder."""
    unet().save_pretrained(folder, safe_serialization=not pickled)
    DDPMScheduler().save_pretrained(folder)
    return str(folder)
