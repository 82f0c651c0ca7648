"""Attach the adapters of image prompts to a pipeline for one call.

The denoiser keeps its own attention processors, which are set again after the call, so that the next image without an
image prompt is bit-identical. The layers of the adapters are cached like control nets.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.image_processor import IPAdapterMaskProcessor
from safetensors import SafetensorError
from safetensors.torch import load_file

from artgen.engine.image_prompts.encoder import encode_prompts
from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.components import Pipeline, denoiser_of
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.loaded_parts import cached_part
from artgen.engine.loading.oom import first_line, is_device_lost, is_oom
from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Listener, Loading
from artgen.jobs.image_prompts import ImagePromptInput
from artgen.jobs.image_prompts.image_prompt_input import active_prompts
from artgen.jobs.image_prompts.load import OFFLOAD_MODES
from artgen.jobs.job import GenerationJob
from artgen.jobs.pipeline_options import uses_cfg
from artgen.registry.image_prompts import ImagePromptAdapter
from artgen.system.files import file_identity

PREFIXES = ("image_proj", "ip_adapter")
"""Parts of an adapter file."""


@dataclass
class _Layers:
    """Store the layers of the adapters.

    Attributes:
        processors: attention processors by name; self-attention keeps the denoiser's own processors.
        projection: module that projects the image embeddings.
    """

    processors: dict[str, Any]
    projection: Any

    @property
    def components(self) -> dict[str, Any]:
        """Return the modules, for the count of memory."""
        return {"projection": self.projection, **self.processors}


@contextlib.contextmanager
def with_image_prompts(
    pipe: Pipeline, jobs: Sequence[GenerationJob], device_config: DeviceConfig, offload: str | None, listener: Listener
) -> Iterator[dict[str, Any]]:
    """Attach the image prompts of jobs within the block, and yield the keyword arguments of the pipeline call.

    Args:
        pipe: pipeline of Stable Diffusion 1, SDXL or Flux.
        jobs: jobs of the batch; all jobs of a batch have the same image prompts.
        device_config, offload: placement of the pipeline.
        listener: receives the events of the loading.

    Raises:
        UsageError: the offload mode or the pipeline does not support image prompts.
        ModelUnavailableError: an adapter or an image encoder cannot be loaded.
    """
    job = jobs[0]
    prompts = active_prompts(job.image_prompts)
    if not prompts:
        yield {}
        return
    if job.model.architecture == "flux":
        from artgen.engine.image_prompts import redux  # rarely necessary

        yield redux.redux_arguments(pipe, jobs, device_config, listener)
        return
    if offload in OFFLOAD_MODES:
        raise UsageError(
            f"Cannot combine --offload {offload} with an image prompt.",
            "Use --offload model.",
            settings=("offload", "image_prompt"),
        )
    embeddings = encode_prompts(prompts, device_config, listener)
    unet = denoiser_of(pipe)
    original = dict(unet.attn_processors)
    original_projection, original_type = unet.encoder_hid_proj, unet.config.encoder_hid_dim_type
    try:
        layers = _load_cached([each.adapter for each in prompts], unet, device_config, listener)
        _set_processors(unet, layers.processors)
        unet.encoder_hid_proj = layers.projection
        unet.config.encoder_hid_dim_type = "ip_image_proj"
        pipe.set_ip_adapter_scale([float(each.prompt.spec.scale) for each in prompts])
        arguments: dict[str, Any] = {
            "ip_adapter_image_embeds": [
                torch.cat(each) if uses_cfg(job.request, job.model.pipeline_entry) else each[1]
                for each in _on_device(embeddings, device_config)
            ]
        }
        if any(each.prompt.mask is not None for each in prompts):
            masks = [_mask(each, job.padded_size) for each in prompts]
            arguments["cross_attention_kwargs"] = {"ip_adapter_masks": masks}
        yield arguments
    finally:
        _set_processors(unet, original)
        unet.encoder_hid_proj = original_projection
        unet.config.encoder_hid_dim_type = original_type


def _set_processors(unet: Any, processors: dict[str, Any]) -> None:
    """Set the attention processors of a denoiser without a projection, whose attention layers are counted too."""
    unet.encoder_hid_proj = None
    unet.set_attn_processor(dict(processors))


def _on_device(
    embeddings: Sequence[tuple[torch.Tensor, torch.Tensor]], device_config: DeviceConfig
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(empty.to(device_config.device), image.to(device_config.device)) for empty, image in embeddings]


def _mask(prompt: ImagePromptInput, size: tuple[int, int]) -> torch.Tensor:
    """Return the mask of an image prompt, shape (1, 1, H, W); 1 everywhere without a mask."""
    width, height = size
    if prompt.prompt.mask is None:
        return torch.ones(1, 1, height, width)
    mask: torch.Tensor = IPAdapterMaskProcessor().preprocess(prompt.prompt.mask, height=height, width=width)
    return mask


def _load_cached(
    adapters: Sequence[ImagePromptAdapter], unet: Any, device_config: DeviceConfig, listener: Listener
) -> _Layers:
    """Return the layers of adapters for a denoiser. The denoiser is changed."""
    files = tuple(file_identity(each.path) for each in adapters)
    shapes = (tuple(unet.config.block_out_channels), unet.config.cross_attention_dim, tuple(unet.attn_processors))
    name = ", ".join(dict.fromkeys(each.short_name for each in adapters))

    def load() -> _Layers:
        listener(Loading("image prompt adapter"))
        return _load(adapters, unet)

    entry = cached_part(("image prompts", shapes), files, name, load, device_config)
    entry.active = True
    return entry.value  # type: ignore[no-any-return]


def _load(adapters: Sequence[ImagePromptAdapter], unet: Any) -> _Layers:
    try:
        with pipeline_cache.silence_libraries():
            unet._load_ip_adapter_weights([_read(each) for each in adapters])
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        if is_oom(error) or is_device_lost(error):
            raise
        names = ", ".join(f"'{each.name}'" for each in adapters)
        raise ModelUnavailableError(
            f"Cannot load the image prompt adapter {names}: {first_line(error).rstrip('.')}.",
            "Use an adapter for the architecture of the model.",
        ) from error
    projection, unet.encoder_hid_proj = unet.encoder_hid_proj, None
    return _Layers(dict(unet.attn_processors), projection)


def _read(adapter: ImagePromptAdapter) -> dict[str, dict[str, torch.Tensor]]:
    """Return the tensors of an adapter in the two parts that diffusers expects."""
    parts: dict[str, dict[str, torch.Tensor]] = {prefix: {} for prefix in PREFIXES}
    for name, tensor in load_file(adapter.path).items():
        prefix, _, rest = name.partition(".")
        if prefix in parts:
            parts[prefix][rest] = tensor
    return parts
