"""Encode texts with weights and texts of any length with CLIP text encoders.

A text is divided into chunks, each chunk is encoded alone, and the hidden states of the chunks are concatenated.
Weights multiply the hidden states (AUTOMATIC1111) or their difference from the hidden states of an empty prompt
(ComfyUI). The pooled embeddings of the first chunk are used, without weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from artgen.engine.loading.device import execution_device
from artgen.jobs.prompt_chunks import Chunk, tokenize
from artgen.spec import prompt_syntax

EMPTY_CHUNK = Chunk((), ())


@dataclass(frozen=True)
class TextOptions:
    """Store how texts are encoded.

    Attributes:
        weights: rule of the weights: a1111, comfy or none.
        chunked: whether long texts are encoded in chunks; otherwise they are truncated.
        clip_skip: hidden states from which layer, counted from the end and from 1, as in A1111.
    """

    weights: str = "none"
    chunked: bool = False
    clip_skip: int = 1


@dataclass(frozen=True)
class ClipEncoder:
    """Store a text encoder of a pipeline, with its tokenizer."""

    tokenizer: Any
    encoder: Any

    @property
    def max_tokens(self) -> int:
        """Return the token limit of a chunk, without start and end tokens."""
        return int(self.tokenizer.model_max_length) - 2

    def padded_ids(self, chunk: Chunk) -> list[int]:
        """Return the tokens of a chunk with start, end and padding tokens."""
        tokens, size = self.tokenizer, self.max_tokens
        padding = [tokens.pad_token_id] * (size - len(chunk.token_ids))
        return [tokens.bos_token_id, *chunk.token_ids, tokens.eos_token_id, *padding]


def clip_encoders(pipe: Any) -> list[ClipEncoder]:
    """Return the CLIP text encoders of a pipeline in order. The refiner of SDXL has only the second one."""
    pairs = [(getattr(pipe, f"tokenizer{n}", None), getattr(pipe, f"text_encoder{n}", None)) for n in ("", "_2")]
    return [ClipEncoder(tokenizer, encoder) for tokenizer, encoder in pairs if encoder is not None]


def count_chunks(pipe: Any, text: str, options: TextOptions) -> int:
    """Return the number of chunks of a text; 1 if it is truncated."""
    return max(len(_chunks(pipe, each, text, options)) for each in clip_encoders(pipe))


def is_plain(pipe: Any, text: str, options: TextOptions) -> bool:
    """Return whether diffusers encodes `prompt_syntax.plain_text` of a text in the same way."""
    if options.clip_skip > 1:
        return False
    chunks = [_chunks(pipe, each, text, options) for each in clip_encoders(pipe)]
    return all(len(each) == 1 and set(each[0].weights) <= {1.0} for each in chunks)


def encode_text(
    pipe: Any, text: str, options: TextOptions, num_chunks: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the embeddings of a text.

    Args:
        pipe: pipeline of Stable Diffusion 1, 2, XL or 3.
        text: text with weights.
        options: how it is encoded.
        num_chunks: number of chunks; missing chunks are empty.

    Returns:
        The embeddings, shape (1, 77 * chunks, D), for Stable Diffusion 3 followed by T5, and the pooled
        embeddings of the first chunk, shape (1, D); None for Stable Diffusion 1 and 2.
    """
    encoders = clip_encoders(pipe)
    is_sd3 = hasattr(pipe, "tokenizer_3")
    has_pooled = is_sd3 or hasattr(pipe, "text_encoder_2")
    chunks = [_chunks(pipe, each, text, options) for each in encoders]
    encoded = []
    for i in range(num_chunks):
        of_encoders = [each[i] if i < len(each) else EMPTY_CHUNK for each in chunks]
        # A1111 has no normalization for SDXL.
        encoded.append(_encode_chunk(pipe, encoders, of_encoders, options, normalize=is_sd3 or not has_pooled))
    embeds = torch.cat([hidden for hidden, _ in encoded], dim=1)
    pooled = encoded[0][1]
    if not has_pooled:
        return embeds, None
    if not is_sd3:
        return embeds, pooled[-1]
    plain = prompt_syntax.plain_text(text, options.weights)
    with torch.no_grad():
        t5 = pipe._get_t5_prompt_embeds(prompt=[plain], device=execution_device(pipe))
    embeds = torch.nn.functional.pad(embeds, (0, t5.shape[-1] - embeds.shape[-1]))
    return torch.cat([embeds, t5], dim=-2), torch.cat(pooled, dim=-1)


def _encode_chunk(
    pipe: Any, encoders: Sequence[ClipEncoder], chunks: Sequence[Chunk], options: TextOptions, *, normalize: bool
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the weighted hidden states of one chunk of all encoders, shape (1, 77, D), and their first outputs."""
    plain, weighted, pooled = [], [], []
    for each, chunk in zip(encoders, chunks, strict=True):
        hidden, first_output = _run(pipe, each, chunk, options)
        plain.append(hidden)
        pooled.append(first_output)
        if set(chunk.weights) <= {1.0}:
            weighted.append(hidden)
            continue
        weights = torch.ones_like(hidden[..., :1])
        weights[0, 1 : 1 + len(chunk.weights), 0] = torch.tensor(chunk.weights).to(hidden)
        if options.weights == "comfy":
            empty = _run(pipe, each, EMPTY_CHUNK, options)[0]
            weighted.append((hidden - empty) * weights + empty)
        else:
            weighted.append(hidden * weights)
    result = torch.cat(weighted, dim=-1)
    if normalize and options.weights == "a1111" and any(set(chunk.weights) - {1.0} for chunk in chunks):
        factor = torch.cat(plain, dim=-1).mean() / result.mean()
        result = result * factor if torch.isfinite(factor) else result
    return result, pooled


def _run(pipe: Any, encoder: ClipEncoder, chunk: Chunk, options: TextOptions) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the hidden states of a chunk, shape (1, 77, D), and the first output of the text encoder."""
    # Stable Diffusion XL and 3 use the penultimate layer.
    skipped = options.clip_skip - 1 + hasattr(pipe, "text_encoder_2")
    module = encoder.encoder
    with torch.no_grad():
        ids = torch.tensor([encoder.padded_ids(chunk)], device=execution_device(pipe))
        output = module(ids, output_hidden_states=skipped > 0)
        if hasattr(pipe, "text_encoder_2"):
            hidden = output.hidden_states[-skipped - 1]
        elif skipped:
            hidden = module.final_layer_norm(output.hidden_states[-skipped - 1])
        else:
            hidden = output[0]
    return hidden.to(module.dtype), output[0]


def _chunks(pipe: Any, encoder: ClipEncoder, text: str, options: TextOptions) -> tuple[Chunk, ...]:
    tokenizer = encoder.tokenizer
    embeddings = _embedding_tokens(tokenizer)

    def token_ids(texts: Sequence[str]) -> list[list[int]]:
        converted = pipe.maybe_convert_prompt(list(texts), tokenizer) if embeddings else list(texts)
        return tokenizer(converted, add_special_tokens=False, verbose=False).input_ids if converted else []

    def group_sizes(ids: list[int]) -> list[int]:
        return _embedding_sizes(ids, embeddings)

    comma = tokenizer.convert_tokens_to_ids(",</w>")
    return tokenize(
        text, options.weights, token_ids, encoder.max_tokens, comma,
        group_sizes=group_sizes if embeddings else None, chunked=options.chunked,
    )  # fmt: skip


def _embedding_tokens(tokenizer: Any) -> dict[int, str]:
    """Return the tokens of the loaded embeddings (textual inversions): id -> token."""
    special = set(tokenizer.all_special_tokens)
    return {number: token for token, number in tokenizer.added_tokens_encoder.items() if token not in special}


def _embedding_sizes(ids: Sequence[int], embeddings: dict[int, str]) -> list[int]:
    """Return the sizes of the groups of tokens: the vectors of an embedding have the tokens `x`, `x_1`, `x_2`."""
    sizes: list[int] = []
    name = ""
    for number in ids:
        token = embeddings.get(number, "")
        if name and token == f"{name}_{sizes[-1]}":
            sizes[-1] += 1
            continue
        name = token
        sizes.append(1)
    return sizes
