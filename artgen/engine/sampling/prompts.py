"""What a text encoder can take, and what to do with a prompt that is longer.

CLIP's text encoders see 77 tokens, two of them marks. A longer prompt is cut by diffusers with a log line; here the
part that would be lost is found beforehand and, on request, the prompt is encoded in chunks of 75 tokens whose
embeddings are laid end to end, as AUTOMATIC1111 does.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import transformers

from artgen.errors import UsageError
from artgen.registry import ResolvedModel, single_file_config


@dataclass(frozen=True)
class PromptTokenizer:
    """The tokenizer that sees most of a prompt, and how many tokens of it reach the model, marks not counted."""

    tokenizer: Any
    max_tokens: int


@lru_cache(maxsize=8)
def tokenizer_for(model: ResolvedModel) -> PromptTokenizer | None:
    """What reads a model's prompts, without loading the model; None for a pipeline without a tokenizer.

    Stable Diffusion 3 and Flux show CLIP 77 tokens and T5 as many as diffusers' `max_sequence_length`, 256 and 512.
    """
    folder = single_file_config(model) if model.is_file else model.path
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    for name, encoder, room in (
        ("tokenizer_3", "text_encoder_3", 255),
        ("tokenizer_2", "text_encoder_2", 511),
        ("tokenizer", "text_encoder", 0),
    ):
        library, tokenizer_class = index.get(name) or ("", "")
        encoder_class = (index.get(encoder) or (None, None))[1]
        if library != "transformers" or not encoder_class or (room and not str(encoder_class).startswith("T5")):
            continue
        tokenizer = getattr(transformers, str(tokenizer_class)).from_pretrained(folder / name, local_files_only=True)
        return PromptTokenizer(tokenizer, room or _max_tokens(tokenizer))
    return None


def truncated_part(model: ResolvedModel, prompt: str) -> str:
    """The end of `prompt`, as it was written, that the model's text encoder would not see; empty when all fits."""
    found = tokenizer_for(model) if prompt else None
    if found is None:
        return ""
    tokens = found.tokenizer(prompt, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
    if len(tokens.input_ids) <= found.max_tokens:
        return ""
    return prompt[tokens.offset_mapping[found.max_tokens][0] :].strip()


def reject_long(model: ResolvedModel, prompt: str) -> None:
    """Refuses a prompt that does not fit.

    Raises:
        UsageError: naming the part that would be lost.
    """
    lost = truncated_part(model, prompt)
    found = tokenizer_for(model)
    if lost and found:
        raise UsageError(
            f"The prompt is over the model's limit of {found.max_tokens} tokens by: {lost!r}.",
            "Shorten it, or use --long-prompt chunk.",
        )


def encode_chunked(
    pipe: Any, prompts: Sequence[str], negative_prompts: Sequence[str], uses_cfg: bool
) -> dict[str, Any]:
    """Prompt embeddings of any length, as keyword arguments for the pipeline.

    Args:
        pipe: a Stable Diffusion 1, 2 or XL pipeline.
        prompts, negative_prompts: one of each for every picture of the batch.
        uses_cfg: whether classifier-free guidance is on, so that negatives matter.

    Returns:
        `prompt_embeds` of shape (pictures, 77 * chunks, width), the same for negatives, and the pooled
        embeddings (pictures, width) of the first chunk for SDXL.

    Raises:
        UsageError: the model's text encoder is not CLIP.
    """
    if not hasattr(pipe, "unet") or "CLIP" not in type(getattr(pipe, "text_encoder", None)).__name__:
        raise UsageError(
            f"--long-prompt chunk works with Stable Diffusion 1, 2 and XL, not with {type(pipe).__name__}.",
            "Shorten the prompt.",
        )
    chunks = max(_count_chunks(pipe.tokenizer, text) for text in (*prompts, *negative_prompts))
    encoded = _encode_chunks(pipe, prompts, chunks)
    result = {"prompt_embeds": encoded[0]}
    if encoded[1] is not None:
        result["pooled_prompt_embeds"] = encoded[1]
    if not uses_cfg:
        return result
    unprompted: tuple[torch.Tensor, torch.Tensor | None]
    if encoded[1] is not None and pipe.config.force_zeros_for_empty_prompt and not any(negative_prompts):
        # SDXL was trained to see zeros, not the embedding of an empty prompt.
        unprompted = torch.zeros_like(encoded[0]), torch.zeros_like(encoded[1])
    else:
        unprompted = _encode_chunks(pipe, negative_prompts, chunks)
    result["negative_prompt_embeds"] = unprompted[0]
    if unprompted[1] is not None:
        result["negative_pooled_prompt_embeds"] = unprompted[1]
    return result


def _max_tokens(tokenizer: Any) -> int:
    return int(tokenizer.model_max_length) - 2


def _count_chunks(tokenizer: Any, text: str) -> int:
    tokens = len(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)
    return max(1, -(-tokens // _max_tokens(tokenizer)))


def _encode_chunks(pipe: Any, texts: Sequence[str], num_chunks: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    second = getattr(pipe, "text_encoder_2", None)
    rows, pooled = [], []
    for text in texts:
        first = [
            _run_text_encoder(pipe, 1, ids, second is not None) for ids in _chunk_ids(pipe.tokenizer, text, num_chunks)
        ]
        row = torch.cat([hidden for hidden, _ in first], dim=1)
        if second is not None:
            other = [_run_text_encoder(pipe, 2, ids, True) for ids in _chunk_ids(pipe.tokenizer_2, text, num_chunks)]
            row = torch.cat([row, torch.cat([hidden for hidden, _ in other], dim=1)], dim=-1)
            pooled.append(other[0][1])
        rows.append(row)
    return torch.cat(rows), torch.cat(pooled) if pooled else None


def _chunk_ids(tokenizer: Any, text: str, num_chunks: int) -> list[list[int]]:
    room = _max_tokens(tokenizer)
    tokens = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    parts = [tokens[i * room : (i + 1) * room] for i in range(num_chunks)]
    return [
        [tokenizer.bos_token_id, *part, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * (room - len(part))]
        for part in parts
    ]


def _run_text_encoder(
    pipe: Any, encoder_number: int, token_ids: list[int], penultimate: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    encoder = pipe.text_encoder if encoder_number == 1 else pipe.text_encoder_2
    with torch.no_grad():
        out = encoder(torch.tensor([token_ids], device=pipe._execution_device), output_hidden_states=penultimate)
    hidden = out.hidden_states[-2] if penultimate else out[0]
    return hidden.to(encoder.dtype), out[0]
