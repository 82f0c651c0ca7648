"""Place the components of a pipeline: device or CPU memory, fp8 weights, VAE tiling and slicing."""

from typing import Any

import torch
from accelerate import cpu_offload

from artgen.engine.loading import weights
from artgen.engine.loading.components import denoiser_of
from artgen.engine.loading.device import DeviceConfig
from artgen.errors import UsageError
from artgen.registry import VAE_TILE_PX

CPU = torch.device("cpu")

VAE_SLICING_MIN_PIXELS = 256 * 256
"""Pixels of an image above which a decoder is not faster with batches."""


def apply_offload(pipe: Any, device_config: DeviceConfig, offload: str | None) -> None:
    """Move a pipeline to its device, or install offloading hooks. Offloading does not change the image.

    Args:
        pipe: diffusers pipeline in CPU memory.
        device_config: device of the computation.
        offload: one of `artgen.spec.memory_budget.OFFLOAD_MODES`, or None for `none`. With `text` on the CPU, the
            pipeline has no text encoders.

    Raises:
        UsageError: the mode needs a GPU.
    """
    if not device_config.is_gpu:
        if offload not in (None, "none", "text"):
            raise UsageError(
                f"Cannot use --offload {offload}: it needs a GPU, and the device is {device_config.device}.",
                "Remove --offload.",
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


def place_module(module: torch.nn.Module, device_config: DeviceConfig, offload: str | None) -> None:
    """Move a module that is used with a pipeline to its device, or install offloading hooks on it.

    Args:
        module: module in CPU memory.
        device_config: device of the computation.
        offload: offload mode of the pipeline. With `model`, the pipeline that contains the module places it; see
            `offload_again`.
    """
    device = torch.device(device_config.device)
    if not device_config.is_gpu or offload in (None, "none", "text"):
        module.to(device)
    elif offload == "sequential":
        cpu_offload(module, device, offload_buffers=len(module._parameters) > 0)
    elif offload == "group":
        _group_offload_module(module, device)


def offload_again(pipe: Any, device_config: DeviceConfig, offload: str | None) -> None:
    """Install the hooks of `--offload model` on a pipeline that has more components than the model's pipeline."""
    if device_config.is_gpu and offload == "model":
        pipe.enable_model_cpu_offload(device=device_config.device)


def _group_offload_module(module: torch.nn.Module, device: torch.device) -> None:
    from diffusers.hooks import apply_group_offloading  # Slow import that other modes do not need.

    use_stream = device.type == "cuda"  # Without streams, each layer waits for its copy.
    apply_group_offloading(
        module, onload_device=device, offload_device=CPU, offload_type="leaf_level",
        use_stream=use_stream, record_stream=use_stream,
    )  # fmt: skip


def group_offload(pipe: Any, device: torch.device, *, text_encoders_only: bool) -> None:
    """Keep layers in CPU memory and copy each to the device before its use, with prefetching of the next layer.

    The copies on the device are freed, not copied back. VAEs are always on the device: they are small, and diffusers
    changes their dtype.

    Args:
        pipe: diffusers pipeline in CPU memory.
        device: device of the computation.
        text_encoders_only: whether only the text encoders are offloaded.
    """
    for name, module in pipe.components.items():
        if not isinstance(module, torch.nn.Module):
            continue
        if name.startswith("vae") or (text_encoders_only and not name.startswith("text_encoder")):
            module.to(device)
        else:
            _group_offload_module(module, device)


def quantize_denoiser(pipe: Any, device_config: DeviceConfig) -> None:
    """Store the denoiser's weights in fp8 if `device_config.quantize` is `fp8`; see `weights.cast_to_fp8`."""
    if device_config.quantize == "fp8":
        weights.cast_to_fp8(denoiser_of(pipe), device_config.torch_dtype)


def enable_vae_slicing_if_large(pipe: Any, batch_size: int, pixels_per_image: int) -> None:
    """Decode the large images of a batch one by one, which limits the decoder's memory to the memory of one image.

    Args:
        pipe: pipeline after `set_vae_tiling`.
        batch_size: images per pipeline call.
        pixels_per_image: number of pixels of an image.
    """
    vae = getattr(pipe, "vae", None)
    is_large = batch_size > 1 and pixels_per_image > VAE_SLICING_MIN_PIXELS
    if is_large and vae is not None and hasattr(vae, "use_slicing"):
        vae.enable_slicing()


def set_vae_tiling(pipe: Any, enabled: bool) -> None:
    """Enable or disable VAE slicing and tiling: less memory, no visible seams, but slightly different colors.

    The norms and the attention of a VAE depend on its complete input. With the bundled VAE, a 1024x1024 photograph
    decoded in tiles of 512 pixels differs from the untiled result by 30.9 dB PSNR, in tiles of 256 pixels by 29.2 dB.
    Tiles are therefore 512 pixels wide for every model.
    """
    verb = "enable" if enabled else "disable"
    vae = getattr(pipe, "vae", None)
    for feature in ("slicing", "tiling"):
        if hasattr(vae, f"use_{feature}"):
            getattr(vae, f"{verb}_{feature}")()
    if enabled and vae is not None and hasattr(vae, "tile_latent_min_size"):
        vae.tile_latent_min_size = vae.tile_latent_min_size * VAE_TILE_PX // vae.tile_sample_min_size
        vae.tile_sample_min_size = VAE_TILE_PX
