"""Encode and decode images with a VAE, and scale latents between the VAE and the denoiser."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image

from artgen.engine.loading.device import execution_device


def unscale_latents(latents: torch.Tensor, config: Any) -> torch.Tensor:
    """Convert the denoiser's latents to the input of the VAE decoder; shape (B, C, h, w).

    Args:
        latents: latents with approximately unit variance.
        config: configuration of the VAE: scaling_factor, and optionally shift_factor, latents_mean and latents_std.
    """
    latents = latents / config.scaling_factor
    if (statistics := _latent_statistics(latents, config)) is not None:
        mean, std = statistics
        latents = latents * std + mean
    return latents + (getattr(config, "shift_factor", None) or 0.0)


def scale_latents(latents: torch.Tensor, config: Any) -> torch.Tensor:
    """Convert the output of the VAE encoder to the denoiser's latents, the inverse of `unscale_latents`."""
    latents = latents - (getattr(config, "shift_factor", None) or 0.0)
    if (statistics := _latent_statistics(latents, config)) is not None:
        mean, std = statistics
        latents = (latents - mean) / std
    scaled: torch.Tensor = latents * config.scaling_factor
    return scaled


def _latent_statistics(latents: torch.Tensor, config: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
    mean, std = (getattr(config, name, None) for name in ("latents_mean", "latents_std"))
    if mean is None or std is None:
        return None
    first, second = (torch.tensor(each).to(latents).view(1, -1, 1, 1) for each in (mean, std))
    return first, second


@torch.no_grad()
def encode_images(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Return the denoiser's latents of images, shape (B, 3, H, W), -1 to 1; the mode of the latent distribution."""
    with _upcast_if_needed(vae):
        output = vae.encode(pixels.to(vae.dtype))
    latents = output.latent_dist.mode() if hasattr(output, "latent_dist") else output.latents
    return scale_latents(latents, vae.config).to(pixels.dtype)


def decode_latents(pipe: Any, latents: torch.Tensor) -> Iterator[Image.Image | None]:
    """Yield the image of each of the denoiser's latents, shape (B, C, h, w); None if the image has NaN or infinity."""
    vae = pipe.vae
    with _upcast_if_needed(vae):
        for each in latents:
            with torch.no_grad():
                pixels = vae.decode(
                    unscale_latents(each[None].to(execution_device(pipe), vae.dtype), vae.config)
                ).sample
            if not torch.isfinite(pixels).all():
                yield None
                continue
            yield pipe.image_processor.postprocess(pixels.float(), output_type="pil")[0]


@contextlib.contextmanager
def _upcast_if_needed(vae: Any) -> Iterator[None]:
    """Run a VAE with `force_upcast`, which overflows in fp16, in fp32, as diffusers does."""
    dtype = vae.dtype
    upcast = dtype == torch.float16 and getattr(vae.config, "force_upcast", False)
    has_weights = not any(parameter.is_meta for parameter in vae.parameters())  # False with sequential offloading
    try:
        if upcast and has_weights:
            vae.to(torch.float32)
        yield
    finally:
        if upcast and has_weights:
            vae.to(dtype)
