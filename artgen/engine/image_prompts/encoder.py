"""Compute the embeddings of image prompts. The image encoder is loaded only while new images are encoded."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.oom import first_line, is_device_lost, is_oom
from artgen.errors import ModelUnavailableError
from artgen.events import Listener, Loading
from artgen.jobs.image_prompts import ImagePromptInput
from artgen.jobs.image_prompts.image_prompt_input import active_prompts
from artgen.registry.image_prompts import ImagePromptAdapter
from artgen.registry.image_prompts.layers import read_layers
from artgen.registry.safetensors_header import read_header
from artgen.system.command_state import register_reset

MAX_CACHED = 64

Embeddings = tuple[torch.Tensor, torch.Tensor]
"""Embeddings without and with the image, shape (1, 1, ...) each, on the CPU."""

_cache: "OrderedDict[tuple[Any, ...], Embeddings]" = OrderedDict()


@register_reset
def _clear() -> None:
    _cache.clear()


def encode_prompts(
    prompts: Sequence[ImagePromptInput], device_config: DeviceConfig, listener: Listener
) -> list[Embeddings]:
    """Return the embeddings of each image prompt, as `StableDiffusionPipeline.encode_image` of diffusers computes them.

    Raises:
        ModelUnavailableError: an image encoder cannot be loaded.
    """
    keys = [_key(each, device_config) for each in prompts]
    missing = [(key, each) for key, each in zip(keys, prompts, strict=True) if key not in _cache]
    for folder in dict.fromkeys(each.adapter.encoder for _, each in missing):
        group = [(key, each) for key, each in missing if each.adapter.encoder == folder]
        listener(Loading("image encoder"))
        encoder = _load_encoder(group[0][1].adapter, device_config)
        for key, each in group:
            _cache[key] = _encode(encoder, each)
    found = [_cache[key] for key in keys]
    while len(_cache) > MAX_CACHED:
        _cache.popitem(last=False)
    return found


def adapter_bytes(prompts: tuple[ImagePromptInput, ...], value_bytes: int) -> int:
    """Return the bytes of the weights of the adapters and the image encoders; equal files count once.

    Args:
        prompts: image prompts of a job.
        value_bytes: bytes of a value.
    """
    adapters = [each.adapter for each in active_prompts(prompts)]
    files = {file for each in adapters if each.sha256 for file in (each.path, *each.encoder_files)}
    return sum(read_header(file).parameter_count for file in files) * value_bytes


def _key(prompt: ImagePromptInput, device_config: DeviceConfig) -> tuple[Any, ...]:
    adapter = prompt.adapter
    reads_hidden_states = read_layers(adapter.path).reads_hidden_states
    return prompt.prompt.sha256, adapter.encoder_sha256, reads_hidden_states, device_config.device, device_config.dtype


def _load_encoder(adapter: ImagePromptAdapter, device_config: DeviceConfig) -> Any:
    try:
        with pipeline_cache.silence_libraries():
            encoder = CLIPVisionModelWithProjection.from_pretrained(
                adapter.encoder, dtype=device_config.torch_dtype, use_safetensors=True, local_files_only=True
            )
            return encoder.eval().to(device_config.device)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        if is_oom(error) or is_device_lost(error):
            raise
        raise ModelUnavailableError(
            f"Cannot load the image encoder of the adapter '{adapter.name}': {first_line(error).rstrip('.')}.",
            "Use another copy of the image encoder.",
        ) from error


@torch.no_grad()
def _encode(encoder: Any, prompt: ImagePromptInput) -> Embeddings:
    size = encoder.config.image_size
    with pipeline_cache.silence_libraries():
        processor = CLIPImageProcessor(size=size, crop_size=size)
    pixels = processor(prompt.prompt.image, return_tensors="pt").pixel_values
    pixels = pixels.to(device=encoder.device, dtype=encoder.dtype)
    if read_layers(prompt.adapter.path).reads_hidden_states:
        image = encoder(pixels, output_hidden_states=True).hidden_states[-2]
        empty = encoder(torch.zeros_like(pixels), output_hidden_states=True).hidden_states[-2]
    else:
        image = encoder(pixels).image_embeds
        empty = torch.zeros_like(image)
    return empty[None].cpu(), image[None].cpu()
