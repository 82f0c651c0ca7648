"""Prompts read by text encoders that are in memory only meanwhile: `--offload text` on the CPU.

There is no other memory to put them in, so the pipeline that reads has no denoiser, the one that draws no text
encoders, and each is let go of before the other is loaded. That is how diffusers' guide to Stable Diffusion 3 has its
T5, twice the size of the denoiser, out of the way.
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
from artgen.jobs.prepare import Job

MAX_PREFETCH_BYTES = 256 << 20
"""Bytes of embeddings up to which prompts of coming pictures are read too, while the text encoders are there."""

PromptEmbeddings = dict[str, torch.Tensor]


@dataclass(frozen=True)
class _PromptKey:
    """What a picture's embeddings depend on beside the model."""

    prompt: str
    negative_prompt: str
    uses_cfg: bool
    chunked: bool

    @classmethod
    def from_job(cls, job: Job) -> "_PromptKey":
        request = job.prompt_request
        texts = request.prompt, request.negative_prompt
        long = request.long_prompt == "chunk" and any(prompts.truncated_part(job.model, text) for text in texts)
        return cls(*texts, request.uses_cfg, long)


_embedding_cache: dict[tuple[Any, ...], dict[_PromptKey, PromptEmbeddings]] = {}
"""The embeddings of the last model, by its files and where it computes."""


def encodes_prompts_first(memory_settings: MemorySettings, device_config: DeviceConfig) -> bool:
    """Whether prompts are read before the model is loaded."""
    return memory_settings.offload == "text" and not device_config.is_gpu


def encode_prompts(
    jobs: Sequence[Job], upcoming: Iterable[Job], device_config: DeviceConfig, listener: Listener
) -> None:
    """Reads the prompts of pictures, for `told`.

    Where one of them is new, the model that is loaded is let go of, and the text encoders after it.

    Args:
        jobs: pictures that are drawn together, with a model that `artgen.jobs.checks` lets be read apart.
        upcoming: pictures after them, for the same model.
        device_config: the CPU, and the precision.
        listener: is told what is loaded.

    Raises:
        ModelUnavailableError: weights are missing, damaged or of another architecture.
    """
    place = _cache_key(jobs[0], device_config)
    if place not in _embedding_cache:
        _embedding_cache.clear()
    rows = _embedding_cache.setdefault(place, {})
    wanted = [_PromptKey.from_job(job) for job in jobs]
    if any(words not in rows for words in wanted):
        if _nbytes(rows) > MAX_PREFETCH_BYTES:
            rows.clear()
        pipeline_cache.clear_cache()
        reader = pipeline_cache.load_text_encoders(jobs[0].model, device_config, listener)
        for words in wanted:
            if words not in rows:
                rows[words] = _encode_prompt(reader, words)
        for job in upcoming:
            if _nbytes(rows) > MAX_PREFETCH_BYTES:
                break
            if (words := _PromptKey.from_job(job)) not in rows:
                rows[words] = _encode_prompt(reader, words)
        del reader
        pipeline_cache.empty_cuda_cache()


def cached_embeddings(jobs: Sequence[Job], device_config: DeviceConfig) -> dict[str, torch.Tensor]:
    """What was read of these pictures' prompts, as keyword arguments for a pipeline, one row a picture.

    The same that a pipeline is given that reads itself.
    """
    rows = _embedding_cache[_cache_key(jobs[0], device_config)]
    found = [rows[_PromptKey.from_job(job)] for job in jobs]
    return {name: torch.cat([row[name] for row in found]) if len(found) > 1 else one for name, one in found[0].items()}


def _cache_key(job: Job, device_config: DeviceConfig) -> tuple[Any, ...]:
    return job.model.path, job.model.revision, job.model.variant, device_config


def _encode_prompt(pipe: Any, key: _PromptKey) -> PromptEmbeddings:
    with pipeline_cache.silence_libraries():
        if key.chunked:
            return dict(prompts.encode_chunked(pipe, [key.prompt], [key.negative_prompt], key.uses_cfg))
        encoded = prompt_embeddings.encode_prompt(
            pipe, key.prompt, key.negative_prompt, key.uses_cfg, torch.device("cpu")
        )
    return prompt_embeddings.stack_embeddings([encoded])


def _nbytes(entries: dict[_PromptKey, PromptEmbeddings]) -> int:
    return sum(tensor.nbytes for row in entries.values() for tensor in row.values())
