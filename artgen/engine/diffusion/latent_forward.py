"""Run the forward process in the latent space of a model, and decode the noisy latents."""

import numpy as np
import torch
from PIL import Image

from artgen import images
from artgen.engine.acceleration import apply
from artgen.engine.diffusion.noise_schedule import NoiseLevel, add_noise
from artgen.engine.loading.device import execution_device, resolve_device
from artgen.engine.sampling.vae import decode_latents, encode_images
from artgen.errors import NonFiniteError
from artgen.events import Listener, ModelSelected
from artgen.registry import ResolvedModel


def add_latent_noise(
    image: Image.Image, levels: list[NoiseLevel[float]], seed: int, model: ResolvedModel, listener: Listener
) -> list[Image.Image]:
    """Return an RGB image at each noise level, noised in latent space and decoded; the noise is the same at all levels.

    Raises:
        ModelUnavailableError: weights are missing or damaged.
        NonFiniteError: the VAE produced NaN or infinity.
    """
    device_config = resolve_device("auto", "auto")
    listener(ModelSelected(model.name, device_config.device, device_config.dtype))
    pipe = apply.load_unoptimized(model, device_config, listener)
    padded = images.pad_to_multiple(image, model.size_multiple)[0]
    pixels = torch.from_numpy(np.asarray(padded, np.float32).transpose(2, 0, 1))[None] / 127.5 - 1
    clean = encode_images(pipe.vae, pixels.to(execution_device(pipe), pipe.vae.dtype)).float().cpu()
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    states = torch.cat([add_noise(clean, noise, level) for level in levels])
    decoded = [each.crop((0, 0, *image.size)) for each in decode_latents(pipe, states) if each is not None]
    if len(decoded) < len(levels):
        raise NonFiniteError("Cannot decode the latents: the VAE produced NaN or infinity.", "Use --space pixel.")
    return decoded
