"""Build the arguments of a pipeline call that contain the prompts."""

from collections.abc import Mapping, Sequence
from typing import Any

from artgen.engine.sampling import prompt_embeddings, prompts
from artgen.errors import UsageError
from artgen.events import Listener, Notice
from artgen.jobs.job import GenerationJob


def prompt_arguments(pipe: Any, jobs: Sequence[GenerationJob], accepted: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the prompts as keyword arguments: embeddings if possible, otherwise texts.

    Raises:
        UsageError: The pipeline has no argument for a negative prompt.
    """
    request = jobs[0].request
    texts = [job.request.prompt for job in jobs]
    negative_texts = [job.request.negative_prompt for job in jobs]
    if request.long_prompt == "chunk" and any(
        prompts.truncated_part(jobs[0].model, text) for text in (*texts, *negative_texts)
    ):
        return prompts.encode_chunked(pipe, texts, negative_texts, request.uses_cfg)
    if prompt_embeddings.supports_embeddings(pipe):
        return prompt_embeddings.prompt_embeddings(pipe, texts, negative_texts, request.uses_cfg)
    if not any(negative_texts):
        return {"prompt": texts}
    if "negative_prompt" not in accepted:
        raise UsageError(
            f"Cannot use the negative prompt: {type(pipe).__name__} does not support one.",
            "Remove --negative-prompt.",
        )
    return {"prompt": texts, "negative_prompt": negative_texts}


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
