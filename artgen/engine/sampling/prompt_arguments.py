"""Build the arguments of a pipeline call that contain the prompts."""

from collections.abc import Sequence
from typing import Any

from artgen.engine.sampling import prompts
from artgen.engine.sampling.clip_encoding import TextOptions
from artgen.engine.sampling.conditioning import Conditioning, chunks_of_jobs, encode_job, stack_conditionings
from artgen.engine.sampling.prompt_embeddings import EncodedPrompt, encode_cached
from artgen.events import Listener, Notice
from artgen.jobs.job import GenerationJob
from artgen.jobs.pipeline_options import uses_cfg
from artgen.jobs.prompt_plan import conditioning_key, encoded_text


def prompt_conditioning(pipe: Any, jobs: Sequence[GenerationJob]) -> Conditioning | None:
    """Return the embeddings of the prompts of a batch; None if the pipeline encodes the texts."""
    entry = jobs[0].model.pipeline_entry
    if not entry.supports("prompt-embeddings"):
        return None
    cfg, num_chunks = uses_cfg(jobs[0].request, entry), chunks_of_jobs(pipe, jobs)

    def encode(prompt: str, negative_prompt: str, options: TextOptions, chunks: int) -> EncodedPrompt:
        return encode_cached(pipe, prompt, negative_prompt, cfg, options, chunks)

    distinct = {conditioning_key(job.request): job for job in jobs}
    encoded = {key: encode_job(job, encode, num_chunks) for key, job in distinct.items()}
    return stack_conditionings([encoded[conditioning_key(job.request)] for job in jobs])


def text_arguments(jobs: Sequence[GenerationJob]) -> dict[str, Any]:
    """Return the prompts as keyword arguments of a pipeline that encodes the texts."""
    request, entry = jobs[0].request, jobs[0].model.pipeline_entry
    texts = [encoded_text(job.request.prompt, job.request) for job in jobs]
    negative_texts = [encoded_text(job.request.negative_prompt, job.request) for job in jobs]
    if not any(negative_texts):
        if not uses_cfg(request, entry) or entry.default_negative_prompt is None:
            return {"prompt": texts}
        negative_texts = [entry.default_negative_prompt] * len(texts)
    arguments: dict[str, Any] = {"prompt": texts, "negative_prompt": negative_texts}
    if entry.negative_prompt == "true-cfg":
        arguments["true_cfg_scale"] = entry.true_cfg_scale
    return arguments


def truncated_prompts(job: GenerationJob, listener: Listener) -> dict[str, str]:
    """Return the truncated parts of the prompts as facts for the record."""
    facts = {}
    for name, label in (("prompt", "prompt"), ("negative_prompt", "negative prompt")):
        if truncated := prompts.truncated_prompt(job.model, job.request, name):
            listener(Notice(prompts.truncation_note(label, truncated, job.request)))
            if job.request.long_prompt != "chunk":
                facts[f"dropped_{name}"] = truncated
    return facts
