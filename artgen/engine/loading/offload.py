"""Where the parts of a pipeline lie, and in how many bits: on their device, or in main memory until they are needed."""

from typing import Any

import torch

from artgen.engine.loading import weights
from artgen.engine.loading.device import DeviceConfig
from artgen.errors import UsageError
from artgen.registry import VAE_TILE_PX

CPU = torch.device("cpu")

VAE_SLICING_MIN_PIXELS = 256 * 256
"""Pixels of a picture beyond which a decoder gains nothing from several at a time."""


def apply_offload(pipe: Any, device_config: DeviceConfig, offload: str | None) -> None:
    """Moves a pipeline to its device, whole or part by part as `offload` says; no pixel depends on it.

    Args:
        pipe: a diffusers pipeline in main memory.
        device_config: where it computes.
        offload: one of `artgen.spec.memory_budget.MODES`, or None for `none`; with `text` a pipeline on the CPU has no
            text encoders.

    Raises:
        UsageError: offloading without a GPU.
    """
    if not device_config.is_gpu:
        if offload not in (None, "none", "text"):
            raise UsageError(
                f"--offload {offload} needs a GPU; this runs on the {device_config.device}.", "Leave it out."
            )
        offload = None
    if offload == "model":
        pipe.enable_model_cpu_offload(device=device_config.device)
    elif offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device_config.device)
    elif offload in ("text", "group"):
        group_offload(pipe, torch.device(device_config.device), text_encoders_only=offload == "text")
    else:
        pipe.to(device_config.device)


def group_offload(pipe: Any, device: torch.device, *, text_encoders_only: bool) -> None:
    """Leaves layers in main memory and brings each to the device when its turn comes, the next one ahead of time.

    The weights stay where they are: what was on the device is let go of, not carried back. Autoencoders lie on the
    device in any case: they are small, and diffusers changes their precision in between.

    Args:
        pipe: a diffusers pipeline in main memory.
        device: where it computes.
        text_encoders_only: whether the text encoders alone are treated so; the rest lies on the device.
    """
    from diffusers.hooks import apply_group_offloading  # what it imports, others would wait for

    for name, module in pipe.components.items():
        if not isinstance(module, torch.nn.Module):
            continue
        if name.startswith("vae") or (text_encoders_only and not name.startswith("text_encoder")):
            module.to(device)
        else:
            apply_group_offloading(
                module, onload_device=device, offload_device=CPU, offload_type="leaf_level",
                use_stream=device.type == "cuda", record_stream=device.type == "cuda",  # else each layer is waited for
            )  # fmt: skip


def quantize_denoiser(pipe: Any, device_config: DeviceConfig) -> None:
    """Stores the denoiser's weights in 8 bits where the device_config says so; see `weights.in_8_bits`."""
    if device_config.quantize == "fp8":
        denoiser = getattr(pipe, "unet", None) or pipe.transformer
        weights.cast_to_fp8(denoiser, device_config.torch_dtype)


def enable_vae_slicing_if_large(pipe: Any, batch_size: int, pixels_per_image: int) -> None:
    """Decodes large pictures that are drawn together one after the other: the decoder's memory is then that of one.

    Args:
        pipe: after `tile`.
        batch_size: pictures drawn together.
        pixels_per_image: of one of them.
    """
    if batch_size > 1 and pixels_per_image > VAE_SLICING_MIN_PIXELS and hasattr(pipe.vae, "enable_slicing"):
        pipe.vae.enable_slicing()


def set_vae_tiling(pipe: Any, enabled: bool) -> None:
    """Decodes in slices and tiles from now on, or whole: less memory, no seams to be seen, but other tones.

    An autoencoder's norms and attention look at all that they are given. With the bundled one a photograph of 1024x1024
    in tiles of 512 is 30.9 dB from the whole, in tiles of 256 29.2 dB; tiles are 512 pixels wide whatever the model
    was trained at.
    """
    verb = "enable" if enabled else "disable"
    for method in (f"{verb}_slicing", f"{verb}_tiling"):
        if hasattr(pipe.vae, method):
            getattr(pipe.vae, method)()
    if enabled and hasattr(pipe.vae, "tile_latent_min_size"):
        pipe.vae.tile_latent_min_size = pipe.vae.tile_latent_min_size * VAE_TILE_PX // pipe.vae.tile_sample_min_size
        pipe.vae.tile_sample_min_size = VAE_TILE_PX
