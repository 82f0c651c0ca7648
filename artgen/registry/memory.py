"""What a model takes in memory, from its headers and configurations: nothing is loaded."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from artgen.registry import diffusers_folder
from artgen.registry.describe import vae_scale_factor
from artgen.registry.resolved import ResolvedModel
from artgen.registry.safetensors_header import component_of, read_header
from artgen.registry.single_file_configs import single_file_config
from artgen.spec import memory_budget

DTYPE_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
VAE_TILE_PX = 512
"""Width and height in pixels of the tiles that a decoder works in."""


@lru_cache(maxsize=8)
def parameter_counts(model: ResolvedModel) -> Mapping[str, int]:
    """How many numbers each component of a model has, by diffusers' names."""
    if not model.is_file:
        chosen = diffusers_folder.select_weights(model.path)[1]
        return {name: sum(read_header(file).parameter_count for file in found.files) for name, found in chosen.items()}
    counted: dict[str, int] = {}
    main = "transformer" if model.is_flow_matching else "unet"
    for name, (_, shape) in read_header(model.path).tensors.items():
        part = component_of(name) or main
        numbers = 1
        for side in shape:
            numbers *= side
        counted[part] = counted.get(part, 0) + numbers
    return counted


def estimate_memory(
    model: ResolvedModel, dtype: str, size: tuple[int, int], batch_size: int, *, fp8: bool = False
) -> memory_budget.MemoryEstimate:
    """What a model and pictures of one size take.

    Args:
        model: with its files.
        dtype: `fp32`, `fp16` or `bf16`.
        size: width and height in pixels.
        batch_size: pictures drawn together, counted twice with guidance.
        fp8: whether the denoiser's weights are stored in 8 bits.
    """
    numbers, width = parameter_counts(model), DTYPE_BYTES[dtype]
    folder = single_file_config(model) if model.is_file else model.path
    main = diffusers_folder.denoiser_name(folder)
    vae = diffusers_folder.read_optional_json(folder / "vae" / "config.json")
    # diffusers decodes in fp32 what overflows in fp16.
    decoder = 4 if vae.get("force_upcast", True) and dtype == "fp16" and model.architecture == "sdxl" else width
    pixels = size[0] * size[1]
    latents = pixels // vae_scale_factor(vae) ** 2
    live = memory_budget.DECODER_ACTIVATION_FACTOR * _first(vae, "block_out_channels", 128) * decoder
    text = [name for name in numbers if name.startswith("text_encoder")]
    known = {*text, main, "vae"}
    return memory_budget.MemoryEstimate(
        text_encoder_bytes=tuple(numbers[name] * width for name in text),
        denoiser_bytes=numbers.get(main, 0) * (1 if fp8 else width),
        vae_bytes=numbers.get("vae", 0) * decoder,
        other_bytes=sum(count * width for name, count in numbers.items() if name not in known),
        denoise_activation_bytes=_values(diffusers_folder.read_optional_json(folder / main / "config.json"), latents)
        * batch_size
        * width,
        decode_activation_bytes=round(pixels * live),
        tiled_decode_bytes=round(min(pixels, VAE_TILE_PX * VAE_TILE_PX) * live + pixels * 3 * decoder),
    )


def _values(config: Mapping[str, Any], latents: int) -> int:
    """How many numbers a denoiser computes with at once, for each picture of so many latents."""
    if "block_out_channels" in config:
        return memory_budget.UNET_ACTIVATION_FACTOR * _first(config, "block_out_channels", 320) * latents
    hidden = int(config.get("num_attention_heads", 24)) * int(config.get("attention_head_dim", 64))
    patch = 2 if "Flux" in str(config.get("_class_name")) else int(config.get("patch_size") or 1)
    return memory_budget.TRANSFORMER_ACTIVATION_FACTOR * hidden * latents // (patch * patch)


def _first(config: Mapping[str, Any], name: str, default: int) -> int:
    value = config.get(name)
    return int(value[0]) if isinstance(value, list) and value else default
