"""Encode prompts before loading the denoiser, then free the text encoders: `--offload text` on the CPU.

The CPU has no second memory to offload to. Therefore one pipeline contains only the text encoders and another one the
remaining components, and each is released before the other is loaded. The guide of diffusers to Stable Diffusion 3
does the same for T5, which is twice as large as the denoiser.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from artgen.engine.loading import loaded_models, pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.embeddings import attached_embeddings
from artgen.engine.memory_policy import make_room
from artgen.engine.memory_settings import MemorySettings
from artgen.engine.sampling import prompt_embeddings
from artgen.engine.sampling.clip_encoding import TextOptions
from artgen.engine.sampling.conditioning import (
    Conditioning,
    chunks_of_jobs,
    encode_job,
    stack_conditionings,
    text_options,
)
from artgen.engine.sampling.prompt_embeddings import EncodedPrompt
from artgen.events import Listener
from artgen.jobs.job import GenerationJob
from artgen.jobs.pipeline_options import uses_cfg
from artgen.jobs.prompt_plan import conditioning_key, prompt_plan
from artgen.system.command_state import register_reset

MAX_PREFETCH_BYTES = 256 << 20
"""Size of the cached embeddings up to which prompts of later jobs are encoded too."""

_embedding_cache: dict[tuple[Any, ...], dict["_PromptKey", Conditioning]] = {}
"""Embeddings of the last model: `_cache_key` -> prompts -> embeddings."""


@dataclass(frozen=True)
class _PromptKey:
    """Identify the embeddings of a job for one model."""

    texts: tuple[str, str, str, str, float]
    uses_cfg: bool
    options: TextOptions
    steps: int

    @classmethod
    def from_job(cls, job: GenerationJob) -> "_PromptKey":
        request = job.request
        steps = (request.steps or 1) if prompt_plan(request).is_dynamic else 0
        cfg = uses_cfg(request, job.model.pipeline_entry)
        return cls(conditioning_key(request), cfg, text_options(job), steps)


def encodes_prompts_first(memory_settings: MemorySettings, device_config: DeviceConfig) -> bool:
    """Return whether prompts are encoded before the denoiser is loaded."""
    return memory_settings.offload == "text" and not device_config.is_gpu


def encode_prompts(
    jobs: Sequence[GenerationJob], upcoming: Iterable[GenerationJob], device_config: DeviceConfig, listener: Listener
) -> None:
    """Encode the prompts of jobs and cache the embeddings for `cached_embeddings`.

    If a prompt is not cached, the cached pipeline is released, the text encoders are loaded, and then released.

    Args:
        jobs: Jobs of one pipeline call. The text encoders of the model are separable (`artgen.jobs.checks`).
        upcoming: Later jobs with the same model. Their prompts are encoded too, up to `MAX_PREFETCH_BYTES`.
        device_config: The CPU and the precision.
        listener: Receives the loaded components.

    Raises:
        ModelUnavailableError: Weights are missing, damaged or of another architecture.
    """
    cache_key = _cache_key(jobs[0], device_config)
    if cache_key not in _embedding_cache:
        _embedding_cache.clear()
    embeddings = _embedding_cache.setdefault(cache_key, {})
    keys = [_PromptKey.from_job(job) for job in jobs]
    if all(key in embeddings for key in keys):
        return
    if _nbytes(embeddings) > MAX_PREFETCH_BYTES:
        embeddings.clear()
    pipeline_cache.clear_cache()
    make_room(jobs[0].model, jobs[0], len(jobs), device_config, MemorySettings(len(jobs), False, "text"))
    pipe = pipeline_cache.load_text_encoders(jobs[0].model, device_config, listener)
    for key, job in zip(keys, jobs, strict=True):
        if key not in embeddings:
            embeddings[key] = _encode_prompts(pipe, job)
    for job in upcoming:
        if _nbytes(embeddings) > MAX_PREFETCH_BYTES:
            break
        if (key := _PromptKey.from_job(job)) not in embeddings:
            embeddings[key] = _encode_prompts(pipe, job)
    del pipe
    loaded_models.empty_device_cache()


def cached_embeddings(jobs: Sequence[GenerationJob], device_config: DeviceConfig) -> Conditioning:
    """Return the embeddings of the jobs, with batch size `len(jobs)`.

    The embeddings equal the embeddings that a pipeline with text encoders computes.
    """
    embeddings = _embedding_cache[_cache_key(jobs[0], device_config)]
    return stack_conditionings([embeddings[_PromptKey.from_job(job)] for job in jobs])


@register_reset
def clear_embeddings() -> None:
    """Remove all cached embeddings."""
    _embedding_cache.clear()


def _cache_key(job: GenerationJob, device_config: DeviceConfig) -> tuple[Any, ...]:
    return job.model, device_config


def _encode_prompts(pipe: Any, job: GenerationJob) -> Conditioning:
    cfg = uses_cfg(job.request, job.model.pipeline_entry)

    def encode(prompt: str, negative_prompt: str, options: TextOptions, num_chunks: int) -> EncodedPrompt:
        device = torch.device("cpu")
        return prompt_embeddings.encode_prompt(pipe, prompt, negative_prompt, cfg, device, options, num_chunks)

    with pipeline_cache.silence_libraries(), attached_embeddings(pipe, job.embeddings):
        return encode_job(job, encode, chunks_of_jobs(pipe, [job]))


def _nbytes(entries: dict[_PromptKey, Conditioning]) -> int:
    return sum(entry.nbytes() for entry in entries.values())
