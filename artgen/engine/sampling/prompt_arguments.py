"""Build the arguments of a pipeline call that contain the prompts."""

from collections.abc import Mapping, Sequence
from typing import Any

from artgen.engine.sampling import prompt_embeddings, prompts
from artgen.events import Listener, Notice
from artgen.jobs.job import GenerationJob
from artgen.jobs.pipeline_options import uses_cfg


def prompt_arguments(pipe: Any, jobs: Sequence[GenerationJob]) -> Mapping[str, Any]:
    """Return the prompts as keyword arguments: embeddings if possible, otherwise texts."""
    request, entry = jobs[0].request, jobs[0].model.pipeline_entry
    cfg = uses_cfg(request, entry)
    texts = [job.request.prompt for job in jobs]
    negative_texts = [job.request.negative_prompt for job in jobs]
    if request.long_prompt == "chunk" and any(
        prompts.truncated_part(jobs[0].model, text) for text in (*texts, *negative_texts)
    ):
        return prompts.encode_chunked(pipe, texts, negative_texts, cfg)
    if entry.supports("prompt-embeddings"):
        return prompt_embeddings.prompt_embeddings(pipe, texts, negative_texts, cfg)
    if not any(negative_texts):
        if not cfg or entry.default_negative_prompt is None:
            return {"prompt": texts}
        negative_texts = [entry.default_negative_prompt] * len(texts)
    arguments: dict[str, Any] = {"prompt": texts, "negative_prompt": negative_texts}
    if entry.negative_prompt == "true-cfg":
        arguments["true_cfg_scale"] = entry.true_cfg_scale
    return arguments


def truncated_prompts(job: GenerationJob, listener: Listener) -> dict[str, str]:
    """Return the truncated parts of the prompts as facts for the record."""
    request = job.request
    if request.long_prompt == "chunk":
        return {}
    facts = {}
    for name, label in (("prompt", "prompt"), ("negative_prompt", "negative prompt")):
        if truncated := prompts.truncated_part(job.model, getattr(request, name)):
            listener(Notice(prompts.truncation_note(label, truncated)))
            facts[f"dropped_{name}"] = truncated
    return facts
