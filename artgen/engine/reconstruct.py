"""Encode and decode images with a model's VAE."""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from artgen import images
from artgen.engine.acceleration import apply
from artgen.engine.loading import components, loaded_models, pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.free_memory import retry_without_idle_models
from artgen.engine.metrics import compare_images
from artgen.engine.out_of_memory import report_out_of_memory
from artgen.errors import ModelUnavailableError, NonFiniteError
from artgen.events import Listener, Loading, no_op
from artgen.registry import ResolvedModel


def vae_downscale(vae: Any) -> int:
    """Return the ratio of the image side to the latent side."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


@torch.inference_mode()
def vae_roundtrip(vae: Any, image: Image.Image) -> Image.Image:
    """Return the decoded image of the mean of an image's latent distribution.

    Args:
        vae: diffusers' `AutoencoderKL`.
        image: mode RGB, any size; padded by reflection if the VAE requires it. The output has the same size and mode.

    Raises:
        NonFiniteError: the VAE produced NaN or infinity.
    """
    padded, _ = images.pad_to_multiple(image, vae_downscale(vae))
    pixels = torch.from_numpy(np.array(padded, dtype=np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    pixels = pixels.to(vae.device, vae.dtype)
    decoded = vae.decode(vae.encode(pixels).latent_dist.mean).sample[0].float()
    if not decoded.isfinite().all():
        raise NonFiniteError("Cannot reconstruct the image: the VAE produced NaN or infinity.", "Use --dtype fp32.")
    array = ((decoded.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).to(torch.uint8).cpu().numpy()
    return Image.fromarray(array).crop((0, 0, image.width, image.height))


@dataclass(frozen=True)
class Reconstruction:
    """Store an image and its reconstruction.

    Attributes:
        original: input image, mode RGB.
        reconstructed: decoded image, same size and mode.
        metrics: values of `artgen.engine.metrics.METRICS`.
    """

    original: Image.Image
    reconstructed: Image.Image
    metrics: dict[str, float]


def reconstruct_all(
    model: ResolvedModel, originals: Iterable[Image.Image], device_config: DeviceConfig, listener: Listener = no_op
) -> Iterator[Reconstruction]:
    """Yield the reconstruction of each image.

    Args:
        model: model with an `AutoencoderKL`.
        originals: images in mode RGB, any size.
        device_config: device and precision.
        listener: receives loading events.

    Raises:
        ModelUnavailableError: the VAE is damaged or is not an `AutoencoderKL`.
        NonFiniteError: the VAE produced NaN or infinity.
        MemoryExhaustedError: an image is too large for the memory.
    """
    vae = load_vae(model, device_config, listener)
    for original in originals:
        size = f"{original.width}x{original.height}"
        message = f"Cannot reconstruct {size} on {device_config.device}: out of memory."
        with report_out_of_memory(message, "Use a smaller image."), loaded_models.unloaded_after_error():
            reconstructed = retry_without_idle_models(functools.partial(vae_roundtrip, vae, original))
        yield Reconstruction(original, reconstructed, compare_images(reconstructed, original))


def load_vae(model: ResolvedModel, device_config: DeviceConfig, listener: Listener = no_op) -> Any:
    """Return the cached or newly loaded VAE of a model. From a model folder only the VAE is loaded.

    Raises:
        ModelUnavailableError: the VAE is damaged or is not an `AutoencoderKL`.
    """

    def load(listener: Listener) -> Any:
        listener(Loading("vae"))
        return components.load_component(AutoencoderKL, model, "vae", device_config).to(device_config.device)

    if model.is_file:
        vae = apply.load_unoptimized(model, device_config, listener).vae
    else:
        vae = pipeline_cache.cached(("vae", device_config), model, device_config, load, listener)
    if not isinstance(vae, AutoencoderKL):
        raise ModelUnavailableError(
            f"Cannot use the VAE of '{model.name}': it is a {type(vae).__name__}, not an AutoencoderKL.",
            "Choose another --model.",
        )
    return vae.eval()
