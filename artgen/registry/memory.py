"""Estimate the memory that a model needs from its headers and configurations, without loading it."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from artgen.registry import diffusers_folder
from artgen.registry.catalog import ModelInfo
from artgen.registry.checkpoint_content import component_of, read_weights_header
from artgen.registry.describe import spatial_patch, vae_scale_factor
from artgen.registry.resolved import ResolvedModel
from artgen.registry.safetensors_header import read_header
from artgen.registry.single_file_configs import single_file_config
from artgen.spec import memory_budget

DTYPE_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
QUANTIZED_BYTES = {"fp8": 1.0, "int8": 1.0, "nf4": 0.5}
"""Bytes of a quantized value."""
VAE_TILE_PX = 512
"""Width and height in pixels of the tiles of tiled VAE decoding."""
CATALOG_DECODER_CHANNELS = 128
"""Channels of the decoder at the full size of the image; the same in nearly all models."""


@lru_cache(maxsize=8)
def parameter_counts(model: ResolvedModel) -> Mapping[str, int]:
    """Return the number of parameters of each component, by diffusers' component names."""
    if not model.is_file:
        weights = diffusers_folder.select_weights(model.path, model.omitted)[1]
        return {name: sum(read_header(file).parameter_count for file in found.files) for name, found in weights.items()}
    counts: dict[str, int] = {}
    if model.single_file:
        for component, found in model.single_file.base_weights().items():
            counts[component] = sum(read_header(file).parameter_count for file in found.files)
    denoiser = diffusers_folder.denoiser_name(single_file_config(model))
    for name, (_, shape) in read_weights_header(model.path).tensors.items():
        component = component_of(name) or denoiser
        counts[component] = counts.get(component, 0) + math.prod(shape)
    return counts


def estimate_memory(
    model: ResolvedModel, dtype: str, size: tuple[int, int], batch_size: int, *, quantize: str | None = None
) -> memory_budget.MemoryEstimate:
    """Estimate the memory of a model that generates images of one size.

    Args:
        model: the model on the disk.
        dtype: `fp32`, `fp16` or `bf16`.
        size: width and height in pixels.
        batch_size: images per forward pass of the denoiser; with guidance, each image counts twice.
        quantize: format of the denoiser's weights, a key of `QUANTIZED_BYTES`; None: `dtype`.
    """
    parameters, dtype_bytes = parameter_counts(model), DTYPE_BYTES[dtype]
    folder = single_file_config(model) if model.is_file else model.path
    denoiser = diffusers_folder.denoiser_name(folder)
    denoiser_config = diffusers_folder.read_optional_config(folder / denoiser / "config.json")
    vae = diffusers_folder.read_optional_config(folder / "vae" / "config.json")
    # diffusers decodes in fp32 if the VAE overflows in fp16.
    is_upcast = vae.get("force_upcast", True) and dtype == "fp16" and model.pipeline_entry.supports("vae-upcast")
    vae_dtype_bytes = 4 if is_upcast else dtype_bytes
    pixels = size[0] * size[1]
    latents = pixels // vae_scale_factor(vae) ** 2
    decode_bytes_per_pixel = (
        memory_budget.DECODER_ACTIVATION_FACTOR * _first(vae, "block_out_channels", 128) * vae_dtype_bytes
    )
    text_encoders = [name for name in parameters if name.startswith("text_encoder")]
    others = parameters.keys() - {*text_encoders, denoiser, "vae"}
    return memory_budget.MemoryEstimate(
        text_encoder_bytes=tuple(parameters[name] * dtype_bytes for name in text_encoders),
        denoiser_bytes=_denoiser_bytes(model, denoiser, dtype_bytes, quantize),
        vae_bytes=parameters.get("vae", 0) * vae_dtype_bytes,
        other_bytes=sum(parameters[name] * dtype_bytes for name in others),
        denoise_activation_bytes=_values(denoiser_config, latents) * batch_size * dtype_bytes,
        decode_activation_bytes=round(pixels * decode_bytes_per_pixel),
        tiled_decode_bytes=round(
            min(pixels, VAE_TILE_PX * VAE_TILE_PX) * decode_bytes_per_pixel + pixels * 3 * vae_dtype_bytes
        ),
    )


def estimate_catalog_memory(info: ModelInfo, dtype: str) -> memory_budget.MemoryEstimate:
    """Estimate the memory of a model of the catalog from its parameter counts, at its native size.

    The activations are estimated for a decoder with 128 channels at the full size. The denoiser needs less memory.

    Args:
        info: a model with `parameters`.
        dtype: `fp32`, `fp16` or `bf16`.
    """
    dtype_bytes = DTYPE_BYTES[dtype]
    pixels = (info.width or 0) * (info.height or 0)
    decode_bytes_per_pixel = memory_budget.DECODER_ACTIVATION_FACTOR * CATALOG_DECODER_CHANNELS * dtype_bytes
    sizes = {name: count * dtype_bytes for name, count in info.parameters.items()}
    text_encoders = [name for name in sizes if name.startswith("text_encoder")]
    denoisers = [name for name in sizes if name in ("unet", "transformer")]
    vaes = [name for name in sizes if name in ("vae", "movq")]
    others = sizes.keys() - {*text_encoders, *denoisers, *vaes}
    return memory_budget.MemoryEstimate(
        text_encoder_bytes=tuple(sizes[name] for name in text_encoders),
        denoiser_bytes=sum(sizes[name] for name in denoisers),
        vae_bytes=sum(sizes[name] for name in vaes),
        other_bytes=sum(sizes[name] for name in others),
        denoise_activation_bytes=0,
        decode_activation_bytes=round(pixels * decode_bytes_per_pixel),
        tiled_decode_bytes=round(
            min(pixels, VAE_TILE_PX * VAE_TILE_PX) * decode_bytes_per_pixel + pixels * 3 * dtype_bytes
        ),
    )


def _denoiser_bytes(model: ResolvedModel, denoiser: str, dtype_bytes: int, quantize: str | None) -> int:
    """Return the size of the denoiser's weights. int8 and nf4 store only matrices in fewer bits, fp8 all weights."""
    count, per_value = parameter_counts(model).get(denoiser, 0), QUANTIZED_BYTES.get(quantize or "", dtype_bytes)
    shapes = [shape for file in model.weight_files() for name, (_, shape) in read_weights_header(file).tensors.items()
              if not model.is_file or component_of(name) is None]  # fmt: skip
    others = 0 if quantize in (None, "fp8") else sum(math.prod(shape) for shape in shapes if len(shape) != 2)
    return round((count - others) * per_value + others * dtype_bytes)


def catalog_peak_bytes(info: ModelInfo, offload: str = "none") -> int | None:
    """Return the computed GPU memory of a model of the catalog in 16 bits at its native size; None if it is unknown.

    Args:
        info: the model.
        offload: one of `memory_budget.OFFLOAD_MODES`.
    """
    if not info.parameters or not info.width:
        return None
    return memory_budget.estimate_peak_bytes(estimate_catalog_memory(info, "fp16"), offload, vae_tiling=False)


def position_limit_px(model: ResolvedModel) -> int | None:
    """Return the largest side in pixels for which a transformer has position embeddings; None without a limit."""
    folder = single_file_config(model) if model.is_file else model.path
    transformer = diffusers_folder.read_optional_config(folder / "transformer" / "config.json")
    limit = transformer.get("pos_embed_max_size")
    vae = diffusers_folder.read_optional_config(folder / "vae" / "config.json")
    if model.pipeline_entry.position_limit is None or not limit:
        return None
    side = math.isqrt(limit) if model.pipeline_entry.position_limit == "area" else limit
    return side * spatial_patch(transformer.get("patch_size")) * vae_scale_factor(vae)


def _values(config: Mapping[str, Any], latents: int) -> int:
    """Return the number of activation values that a denoiser needs at once for an image.

    Args:
        config: the denoiser's configuration.
        latents: H/8 * W/8 of the image.
    """
    if "block_out_channels" in config:
        return memory_budget.UNET_ACTIVATION_FACTOR * _first(config, "block_out_channels", 320) * latents
    hidden = int(config.get("num_attention_heads", 24)) * int(config.get("attention_head_dim", 64))
    patch = 2 if "Flux" in str(config.get("_class_name")) else spatial_patch(config.get("patch_size"))
    return memory_budget.TRANSFORMER_ACTIVATION_FACTOR * hidden * latents // (patch * patch)


def _first(config: Mapping[str, Any], name: str, default: int) -> int:
    value = config.get(name)
    return int(value[0]) if isinstance(value, list) and value else default
