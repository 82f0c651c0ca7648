"""A picture through a model's autoencoder and back."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from artgen import images


def factor(vae: Any) -> int:
    """Pixels a side that become one latent."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


@torch.inference_mode()
def reconstruct(vae: Any, picture: Image.Image) -> Image.Image:
    """What the autoencoder makes of a picture: encoded to the mean of its latents, and decoded.

    Args:
        vae: diffusers' `AutoencoderKL`.
        picture: mode RGB, any size; extended by reflection where the autoencoder needs it, and cut again.

    Returns:
        a picture of the same size, mode RGB.
    """
    padded, _ = images.pad_to_multiple(picture, factor(vae))
    pixels = torch.from_numpy(np.array(padded, dtype=np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    pixels = pixels.to(vae.device, vae.dtype)
    rebuilt = vae.decode(vae.encode(pixels).latent_dist.mean).sample[0].float()
    array = ((rebuilt.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).to(torch.uint8).cpu().numpy()
    return Image.fromarray(array).crop((0, 0, picture.width, picture.height))
