"""Encode prompts before loading the denoiser, then free the text encoders: `--offload text` on the CPU.

The CPU has no second memory to offload to. Therefore one pipeline contains only the text encoders and another one the
remaining components, and each is released before the other is loaded. The guide of diffusers to Stable Diffusion 3
does the same for T5, which is twice as large as the denoiser.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.memory_policy import MemorySettings
from artgen.engine.sampling import prompt_embeddings, prompts
from artgen.events import Listener
from artgen.jobs.job import GenerationJob
from artgen.jobs.pipeline_options import uses_cfg

MAX_PREFETCH_BYTES = 256 << 20
"""Size of the cached embeddings up to which prompts of later jobs are encoded too."""

PromptEmbeddings = dict[str, torch.Tensor]


@dataclass(frozen=True)
class _PromptKey:
    """Identify the embeddings of a job for one model."""

    prompt: str
    negative_prompt: str
    uses_cfg: bool
    chunked: bool

    @classmethod
    def from_job(cls, job: GenerationJob) -> "_PromptKey":
        request = job.request
        texts = request.prompt, request.negative_prompt
        chunked = request.long_prompt == "chunk" and any(prompts.truncated_part(job.model, text) for text in texts)
        return cls(*texts, uses_cfg(request, job.model.pipeline_entry), chunked)


_embedding_cache: dict[tuple[Any, ...], dict[_PromptKey, PromptEmbeddings]] = {}
"""Embeddings of the last model: `_cache_key` -> prompts -> embeddings."""


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
    pipe = pipeline_cache.load_text_encoders(jobs[0].model, device_config, listener)
    for key in keys:
        if key not in embeddings:
            embeddings[key] = _encode_prompt(pipe, key)
    for job in upcoming:
        if _nbytes(embeddings) > MAX_PREFETCH_BYTES:
            break
        if (key := _PromptKey.from_job(job)) not in embeddings:
            embeddings[key] = _encode_prompt(pipe, key)
    del pipe
    pipeline_cache.empty_cuda_cache()


def cached_embeddings(jobs: Sequence[GenerationJob], device_config: DeviceConfig) -> dict[str, torch.Tensor]:
    """Return the embeddings of the jobs as keyword arguments for a pipeline, with batch size `len(jobs)`.

    The embeddings equal the embeddings that a pipeline with text encoders computes.
    """
    embeddings = _embedding_cache[_cache_key(jobs[0], device_config)]
    entries = [embeddings[_PromptKey.from_job(job)] for job in jobs]
    if len(entries) == 1:
        return dict(entries[0])
    return {name: torch.cat([entry[name] for entry in entries]) for name in entries[0]}


def clear_embeddings() -> None:
    """Remove all cached embeddings."""
    _embedding_cache.clear()


def _cache_key(job: GenerationJob, device_config: DeviceConfig) -> tuple[Any, ...]:
    return job.model, device_config


def _encode_prompt(pipe: Any, key: _PromptKey) -> PromptEmbeddings:
    with pipeline_cache.silence_libraries():
        if key.chunked:
            return dict(prompts.encode_chunked(pipe, [key.prompt], [key.negative_prompt], key.uses_cfg))
        encoded = prompt_embeddings.encode_prompt(
            pipe, key.prompt, key.negative_prompt, key.uses_cfg, torch.device("cpu")
        )
    return prompt_embeddings.stack_embeddings([encoded])


def _nbytes(entries: dict[_PromptKey, PromptEmbeddings]) -> int:
    return sum(tensor.nbytes for entry in entries.values() for tensor in entry.values())
