"""Detect prompts that exceed the token limit of a model.

diffusers truncates a longer prompt and logs a warning. artgen determines the truncated part before generation.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import transformers

from artgen.engine.loading.processors import usable_class
from artgen.errors import UsageError
from artgen.jobs.prompt_plan import encoded_text, prompt_plan
from artgen.registry import ResolvedModel, single_file_config
from artgen.registry.diffusers_folder import read_model_index
from artgen.registry.embeddings import without_placeholders
from artgen.spec import prompt_syntax
from artgen.spec.base_requests import PromptRequest
from artgen.spec.embedding import PLACEHOLDER_PATTERN, vector_names


@dataclass(frozen=True)
class PromptTokenizer:
    """Store the tokenizer of a model with the largest token limit.

    Attributes:
        tokenizer: Tokenizer of transformers.
        max_tokens: Token limit without start and end tokens.
        kind: Kind of its text encoder: clip, t5, bert or llm.
    """

    tokenizer: Any
    max_tokens: int
    kind: str


@lru_cache(maxsize=8)
def tokenizer_for(model: ResolvedModel) -> PromptTokenizer | None:
    """Return the tokenizer of a model without loading the model, or None if the pipeline has no tokenizer.

    A model with several text encoders has the limit of the encoder with the most tokens, such as T5. Without chunks,
    CLIP receives the first 77 tokens. T5 (without its end token) and language models (without their template) have
    the same limits as in the pipelines of diffusers.
    """
    folder = single_file_config(model) if model.is_file else model.path
    index = read_model_index(folder, model.omitted)
    for encoder in sorted(model.pipeline_entry.encoders, key=lambda each: -(each.max_tokens or 0)):
        name = encoder.component.replace("text_encoder", "tokenizer")
        library, class_name = index.get(name) or ("", "")
        cls = getattr(transformers, str(class_name), None)
        if library == "transformers" and cls and encoder.max_tokens and any(index.get(encoder.component) or ()):
            loaded = usable_class(cls).from_pretrained(folder / name, local_files_only=True)
            tokenizer = getattr(loaded, "tokenizer", loaded)  # of a processor of images and text
            limit = _max_tokens(tokenizer) if encoder.kind in ("clip", "bert") else encoder.max_tokens
            return PromptTokenizer(tokenizer, limit - (encoder.kind == "t5"), encoder.kind)
    return None


def truncated_part(model: ResolvedModel, prompt: str) -> str:
    """Return the end of `prompt` beyond the token limit of the model. Empty if the prompt fits."""
    prompt_tokenizer = tokenizer_for(model) if prompt else None
    if prompt_tokenizer is None:
        return ""
    max_tokens = prompt_tokenizer.max_tokens
    if names := [name for match in PLACEHOLDER_PATTERN.finditer(prompt) for name in vector_names(match[0])]:
        prompt_tokenizer.tokenizer.add_tokens(names)
        prompt = PLACEHOLDER_PATTERN.sub(lambda match: " ".join(vector_names(match[0])), prompt)
    tokens = prompt_tokenizer.tokenizer(prompt, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
    if len(tokens.input_ids) <= max_tokens:
        return ""
    return prompt[tokens.offset_mapping[max_tokens][0] :].strip()


def truncated_prompt(model: ResolvedModel, request: PromptRequest, name: str) -> str:
    """Return the part of the prompt or the negative prompt that is not encoded. Empty if it fits.

    Args:
        model: resolved model.
        request: complete request.
        name: `prompt` or `negative_prompt`.
    """
    entry, text = model.pipeline_entry, getattr(request, name)
    if request.long_prompt == "chunk" and not has_truncated_encoder(model):
        return ""
    if not entry.supports("prompt-syntax"):
        return truncated_part(model, encoded_text(text, request))
    plan, rule = prompt_plan(request), request.prompt_weights or "none"
    texts = plan.prompts if name == "prompt" else plan.negative_prompts
    parts = (truncated_part(model, prompt_syntax.plain_text(text, rule)) for text in texts)
    return without_placeholders(next((part for part in parts if part), ""), request.embeddings)


def has_truncated_encoder(model: ResolvedModel) -> bool:
    """Return whether a text encoder of a model with chunks is not CLIP, so that it receives a truncated prompt."""
    prompt_tokenizer = tokenizer_for(model) if model.pipeline_entry.supports("long-prompts") else None
    return prompt_tokenizer is not None and prompt_tokenizer.kind != "clip"


def reject_long(model: ResolvedModel, request: PromptRequest, name: str) -> None:
    """Validate that a prompt fits the token limit of the model.

    Raises:
        UsageError: The prompt is too long. The message contains the part beyond the limit.
    """
    truncated = truncated_prompt(model, request, name)
    prompt_tokenizer = tokenizer_for(model)
    if truncated and prompt_tokenizer:
        chunks = ", or use --long-prompt chunk" if model.pipeline_entry.supports("long-prompts") else ""
        raise UsageError(
            f"Cannot use the prompt: the model has a limit of {prompt_tokenizer.max_tokens} tokens. "
            f"The part beyond the limit is '{truncated}'.",
            f"Shorten the prompt{chunks}.",
        )


def truncation_note(label: str, truncated: str, request: PromptRequest) -> str:
    """Return the note for a truncated prompt.

    Args:
        label: `prompt` or `negative prompt`.
        truncated: the part beyond the limit.
        request: complete request.
    """
    if request.long_prompt == "chunk":
        return f"The {label} is too long for T5, which ignores its end: '{truncated}'. CLIP uses the complete {label}."
    return f"The {label} is too long for this model. Ignoring its end: '{truncated}'."


def _max_tokens(tokenizer: Any) -> int:
    return int(tokenizer.model_max_length) - 2
