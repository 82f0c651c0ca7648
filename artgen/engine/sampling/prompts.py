"""Detect prompts that exceed the token limit of a model, and encode long prompts in chunks.

A CLIP text encoder accepts 77 tokens including the start and end tokens. diffusers truncates a longer prompt and logs
a warning. artgen determines the truncated part before generation. With `--long-prompt chunk` it encodes the prompt in
chunks of 75 tokens and concatenates the embeddings, as AUTOMATIC1111 does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import transformers

from artgen.engine.loading.device import execution_device
from artgen.errors import UsageError
from artgen.registry import ResolvedModel, single_file_config
from artgen.registry.diffusers_folder import read_model_index


@dataclass(frozen=True)
class PromptTokenizer:
    """Store the tokenizer of a model with the largest token limit.

    Attributes:
        tokenizer: Tokenizer of transformers.
        max_tokens: Token limit without start and end tokens.
    """

    tokenizer: Any
    max_tokens: int


@lru_cache(maxsize=8)
def tokenizer_for(model: ResolvedModel) -> PromptTokenizer | None:
    """Return the tokenizer of a model without loading the model, or None if the pipeline has no tokenizer.

    A model with several text encoders has the limit of the encoder with the most tokens, such as T5. CLIP receives the
    first 77 tokens. The limits of T5 (without its end token) and of language models (without their template) are those
    of the pipelines of diffusers.
    """
    folder = single_file_config(model) if model.is_file else model.path
    index = read_model_index(folder, model.omitted)
    for encoder in sorted(model.pipeline_entry.encoders, key=lambda each: -(each.max_tokens or 0)):
        name = encoder.component.replace("text_encoder", "tokenizer")
        library, class_name = index.get(name) or ("", "")
        cls = getattr(transformers, str(class_name), None)
        if library == "transformers" and cls and encoder.max_tokens and any(index.get(encoder.component) or ()):
            tokenizer = cls.from_pretrained(folder / name, local_files_only=True)
            limit = _max_tokens(tokenizer) if encoder.kind in ("clip", "bert") else encoder.max_tokens
            return PromptTokenizer(tokenizer, limit - (encoder.kind == "t5"))
    return None


def truncated_part(model: ResolvedModel, prompt: str) -> str:
    """Return the end of `prompt` beyond the token limit of the model. Empty if the prompt fits."""
    prompt_tokenizer = tokenizer_for(model) if prompt else None
    if prompt_tokenizer is None:
        return ""
    max_tokens = prompt_tokenizer.max_tokens
    tokens = prompt_tokenizer.tokenizer(prompt, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
    if len(tokens.input_ids) <= max_tokens:
        return ""
    return prompt[tokens.offset_mapping[max_tokens][0] :].strip()


def reject_long(model: ResolvedModel, prompt: str) -> None:
    """Validate that a prompt fits the token limit of the model.

    Raises:
        UsageError: The prompt is too long. The message contains the part beyond the limit.
    """
    truncated = truncated_part(model, prompt)
    prompt_tokenizer = tokenizer_for(model)
    if truncated and prompt_tokenizer:
        raise UsageError(
            f"Cannot use the prompt: the model has a limit of {prompt_tokenizer.max_tokens} tokens. "
            f"The part beyond the limit is '{truncated}'.",
            "Shorten the prompt, or use --long-prompt chunk.",
        )


def reject_chunks(model: ResolvedModel, prompt: str) -> None:
    """Validate that a prompt of a model without chunks fits the token limit.

    Raises:
        UsageError: The prompt is too long.
    """
    if truncated_part(model, prompt):
        raise UsageError(
            f"Cannot encode the prompt in chunks: '{model.name}' is not Stable Diffusion 1, 2 or XL.",
            "Shorten the prompt, or use --long-prompt truncate.",
            settings=("long_prompt",),
        )


def truncation_note(label: str, truncated: str) -> str:
    """Return the note for a truncated prompt.

    Args:
        label: `prompt` or `negative prompt`.
        truncated: the part beyond the limit.
    """
    return f"The {label} is too long for this model. Ignoring its end: '{truncated}'."


def encode_chunked(
    pipe: Any, prompts: Sequence[str], negative_prompts: Sequence[str], uses_cfg: bool
) -> dict[str, Any]:
    """Encode prompts of any length in chunks. Return keyword arguments for the pipeline.

    Args:
        pipe: A Stable Diffusion 1, 2 or XL pipeline.
        prompts: One prompt per image.
        negative_prompts: One negative prompt per image.
        uses_cfg: Whether classifier-free guidance is used. Without it negative prompts are ignored.

    Returns:
        `prompt_embeds` and `negative_prompt_embeds`, shape (B, 77 * chunks, D). For SDXL also the pooled embeddings of
        the first chunk, shape (B, D).
    """
    num_chunks = max(_count_chunks(_first(pipe, "tokenizer"), text) for text in (*prompts, *negative_prompts))
    embeds, pooled = _encode_chunks(pipe, prompts, num_chunks)
    kwargs = {"prompt_embeds": embeds}
    if pooled is not None:
        kwargs["pooled_prompt_embeds"] = pooled
    if not uses_cfg:
        return kwargs
    negative_pooled: torch.Tensor | None
    if pooled is not None and pipe.config.force_zeros_for_empty_prompt and not any(negative_prompts):
        # SDXL was trained with zeros in place of the embedding of an empty prompt.
        negative_embeds, negative_pooled = torch.zeros_like(embeds), torch.zeros_like(pooled)
    else:
        negative_embeds, negative_pooled = _encode_chunks(pipe, negative_prompts, num_chunks)
    kwargs["negative_prompt_embeds"] = negative_embeds
    if negative_pooled is not None:
        kwargs["negative_pooled_prompt_embeds"] = negative_pooled
    return kwargs


def _first(pipe: Any, component: str) -> Any:
    """Return the first text encoder or tokenizer of a pipeline. The refiner of SDXL has only the second one."""
    return getattr(pipe, component, None) or getattr(pipe, f"{component}_2", None)


def _max_tokens(tokenizer: Any) -> int:
    return int(tokenizer.model_max_length) - 2


def _count_chunks(tokenizer: Any, text: str) -> int:
    tokens = len(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)
    return max(1, -(-tokens // _max_tokens(tokenizer)))


def _encode_chunks(pipe: Any, texts: Sequence[str], num_chunks: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return embeddings, shape (B, 77 * chunks, D), and for SDXL pooled embeddings, shape (B, D)."""
    second = getattr(pipe, "text_encoder_2", None)
    encoders = [(pipe.tokenizer, pipe.text_encoder), (getattr(pipe, "tokenizer_2", None), second)]
    embeds, pooled = [], []
    for text in texts:
        outputs = [
            [
                _run_text_encoder(pipe, encoder, ids, second is not None)
                for ids in _chunk_ids(tokenizer, text, num_chunks)
            ]
            for tokenizer, encoder in encoders
            if encoder is not None  # The refiner of SDXL has only the second one.
        ]
        embeds.append(torch.cat([torch.cat([hidden for hidden, _ in chunks], dim=1) for chunks in outputs], dim=-1))
        if second is not None:
            pooled.append(outputs[-1][0][1])
    return torch.cat(embeds), torch.cat(pooled) if pooled else None


def _chunk_ids(tokenizer: Any, text: str, num_chunks: int) -> list[list[int]]:
    """Return the token ids of each chunk with start, end and padding tokens."""
    size = _max_tokens(tokenizer)
    tokens = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    chunks = [tokens[i * size : (i + 1) * size] for i in range(num_chunks)]
    return [
        [tokenizer.bos_token_id, *chunk, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * (size - len(chunk))]
        for chunk in chunks
    ]


def _run_text_encoder(
    pipe: Any, encoder: Any, token_ids: list[int], penultimate: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the hidden states and the first output of a text encoder for one chunk."""
    with torch.no_grad():
        out = encoder(torch.tensor([token_ids], device=execution_device(pipe)), output_hidden_states=penultimate)
    hidden = out.hidden_states[-2] if penultimate else out[0]
    return hidden.to(encoder.dtype), out[0]
