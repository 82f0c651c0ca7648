"""Between pictures, latents as the autoencoder has them, and latents as the denoiser works on them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image


def unscale_latents(latents: torch.Tensor, config: Any) -> torch.Tensor:
    """Latents as the decoder takes them, from latents as the denoiser makes them; (pictures, channels, h, w)."""
    latents = latents / config.scaling_factor
    if (statistics := _latent_statistics(latents, config)) is not None:
        mean, std = statistics
        latents = latents * std + mean
    return latents + (getattr(config, "shift_factor", None) or 0.0)


def scale_latents(latents: torch.Tensor, config: Any) -> torch.Tensor:
    """The inverse of `unscaled`: latents as the denoiser makes them, from latents as the encoder makes them."""
    latents = latents - (getattr(config, "shift_factor", None) or 0.0)
    if (statistics := _latent_statistics(latents, config)) is not None:
        mean, std = statistics
        latents = (latents - mean) / std
    found: torch.Tensor = latents * config.scaling_factor
    return found


def _latent_statistics(latents: torch.Tensor, config: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
    mean, std = (getattr(config, name, None) for name in ("latents_mean", "latents_std"))
    if mean is None or std is None:
        return None
    first, second = (torch.tensor(each).to(latents).view(1, -1, 1, 1) for each in (mean, std))
    return first, second


@torch.no_grad()
def encode_images(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Pictures (pictures, 3, height, width), -1 to 1, as latents the denoiser works on; no noise is drawn."""
    with _upcast_if_needed(vae):
        found = vae.encode(pixels.to(vae.dtype))
    latents = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents
    return scale_latents(latents, vae.config).to(pixels.dtype)


def decode_latents(pipe: Any, latents: torch.Tensor) -> Iterator[Image.Image | None]:
    """The pictures of latents (pictures, channels, h, w) one after the other; None for what is not finite."""
    vae = pipe.vae
    with _upcast_if_needed(vae):
        for each in latents:
            with torch.no_grad():
                pixels = vae.decode(
                    unscale_latents(each[None].to(pipe._execution_device, vae.dtype), vae.config)
                ).sample
            if not torch.isfinite(pixels).all():
                yield None
                continue
            yield pipe.image_processor.postprocess(pixels.float(), output_type="pil")[0]


@contextlib.contextmanager
def _upcast_if_needed(vae: Any) -> Iterator[None]:
    """Autoencoders that overflow in fp16 and say so (`force_upcast`) work in fp32 meanwhile, as diffusers has it."""
    dtype = vae.dtype
    upcast = dtype == torch.float16 and getattr(vae.config, "force_upcast", False)
    movable = not any(parameter.is_meta for parameter in vae.parameters())
    try:
        if upcast and movable:
            vae.to(torch.float32)
        yield
    finally:
        if upcast and movable:
            vae.to(dtype)
