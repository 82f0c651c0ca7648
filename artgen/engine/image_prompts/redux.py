"""Add image prompts to the text embeddings of Flux with the pipeline Flux Redux of diffusers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPriorReduxPipeline
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import SiglipImageProcessor, SiglipVisionModel

from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.components import Pipeline
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.loaded_parts import cached_part
from artgen.engine.loading.oom import first_line, is_device_lost, is_oom
from artgen.errors import ModelUnavailableError
from artgen.events import Listener, Loading
from artgen.jobs.image_prompts.image_prompt_input import active_prompts
from artgen.jobs.job import GenerationJob
from artgen.jobs.prompt_plan import encoded_text
from artgen.registry.image_prompts import ImagePromptAdapter
from artgen.registry.image_prompts.layers import read_layers
from artgen.system.files import file_identity

PROCESSOR_FOLDER = "feature_extractor"


@dataclass(frozen=True)
class _Parts:
    """Store the parts of Flux Redux: image encoder, image processor and image embedder."""

    encoder: Any
    processor: Any
    embedder: Any

    @property
    def components(self) -> dict[str, Any]:
        """Return the modules, for the count of memory."""
        return {"image_encoder": self.encoder, "image_embedder": self.embedder}


@torch.no_grad()
def redux_arguments(
    pipe: Pipeline, jobs: Sequence[GenerationJob], device_config: DeviceConfig, listener: Listener
) -> dict[str, Any]:
    """Return the embeddings of the prompts and the image prompts as keyword arguments of a Flux pipeline.

    As in diffusers, the scale of an image multiplies the embeddings of the image and of the prompt, and the results of
    several images are added.

    Args:
        pipe: pipeline of Flux with its text encoders.
        jobs: jobs of the batch, with the same image prompts.
        device_config: device and precision.
        listener: receives the events of the loading.

    Raises:
        ModelUnavailableError: the image encoder or the image embedder cannot be loaded.
    """
    prompts = active_prompts(jobs[0].image_prompts)
    parts = _load_cached(prompts[0].adapter, device_config, listener)
    prior = FluxPriorReduxPipeline(
        image_encoder=parts.encoder,
        feature_extractor=parts.processor,
        image_embedder=parts.embedder,
        text_encoder=pipe.text_encoder,
        tokenizer=pipe.tokenizer,
        text_encoder_2=pipe.text_encoder_2,
        tokenizer_2=pipe.tokenizer_2,
    )
    images = [each.prompt.image for each in prompts]
    scales = [float(each.prompt.spec.scale) for each in prompts]
    texts = [encoded_text(job.request.prompt, job.request) for job in jobs]
    found = {
        text: prior(
            image=images,
            prompt=[text] * len(images),
            prompt_embeds_scale=scales,
            pooled_prompt_embeds_scale=scales,
            return_dict=False,
        )
        for text in dict.fromkeys(texts)
    }
    return {
        "prompt": None,
        "prompt_embeds": torch.cat([found[text][0] for text in texts]),
        "pooled_prompt_embeds": torch.cat([found[text][1] for text in texts]),
    }


def _load_cached(adapter: ImagePromptAdapter, device_config: DeviceConfig, listener: Listener) -> _Parts:
    files = tuple(file_identity(each) for each in (adapter.path, *adapter.encoder_files))

    def load() -> _Parts:
        listener(Loading("Flux Redux"))
        return _load(adapter, device_config)

    entry = cached_part(("Flux Redux",), files, adapter.short_name, load, device_config)
    entry.active = True
    return entry.value  # type: ignore[no-any-return]


def _load(adapter: ImagePromptAdapter, device_config: DeviceConfig) -> _Parts:
    layers = read_layers(adapter.path)
    try:
        with pipeline_cache.silence_libraries():
            encoder = SiglipVisionModel.from_pretrained(
                adapter.encoder, dtype=device_config.torch_dtype, use_safetensors=True, local_files_only=True
            )
            embedder = ReduxImageEncoder(redux_dim=layers.image_width, txt_in_features=layers.text_width)
            embedder.load_state_dict(load_file(adapter.path))
            processor = _processor(adapter.encoder.parent / PROCESSOR_FOLDER, encoder.config.image_size)
            embedder = embedder.eval().to(device=device_config.device, dtype=device_config.torch_dtype)
            return _Parts(encoder.eval().to(device_config.device), processor, embedder)
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        if is_oom(error) or is_device_lost(error):
            raise
        raise ModelUnavailableError(
            f"Cannot load the image prompt adapter '{adapter.name}': {first_line(error).rstrip('.')}.",
            "Use another copy of Flux Redux.",
        ) from error


def _processor(folder: Path, size: int) -> Any:
    """Return the image processor in a folder; if the folder does not exist, the default for a size in pixels."""
    if (folder / "preprocessor_config.json").is_file():
        return SiglipImageProcessor.from_pretrained(folder, local_files_only=True)
    return SiglipImageProcessor(size={"height": size, "width": size})
