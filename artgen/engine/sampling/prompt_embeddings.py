"""Compute and cache prompt embeddings.

A batch often repeats a prompt or negative prompt, and a large text encoder (the T5 of Stable Diffusion 3) takes seconds
per prompt. Each prompt is encoded separately, so its embedding does not depend on the other prompts of the batch.
"""

import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from artgen.engine.loading import lora
from artgen.engine.loading.device import execution_device
from artgen.engine.sampling.clip_encoding import TextOptions, encode_text, is_plain
from artgen.spec import prompt_syntax

EMBEDDING_KWARGS = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
"""Values that `encode_prompt` returns, in order, and pipeline arguments that replace the prompt."""

MAX_CACHE_BYTES = 64 << 20
"""Largest size of the cached embeddings of one text encoder."""

EncodedPrompt = tuple[torch.Tensor | None, ...]

PLAIN_TEXT = TextOptions()


class _EmbeddingCache(OrderedDict[tuple[Any, ...], EncodedPrompt]):
    """Store the embeddings of one text encoder, least recently used first."""

    def put(self, key: tuple[Any, ...], value: EncodedPrompt) -> None:
        """Add an entry. Remove the least recently used entries beyond MAX_CACHE_BYTES."""
        self[key] = value
        while sum(map(_nbytes, self.values())) > MAX_CACHE_BYTES and len(self) > 1:
            self.popitem(last=False)


_embedding_caches: "weakref.WeakKeyDictionary[Any, _EmbeddingCache]" = weakref.WeakKeyDictionary()


def prompt_embeddings(
    pipe: Any, prompts: Sequence[str], negative_prompts: Sequence[str], uses_cfg: bool
) -> dict[str, torch.Tensor]:
    """Return embeddings of plain texts as keyword arguments for a pipeline, with batch size `len(prompts)`.

    Args:
        pipe: A pipeline of Stable Diffusion 1, 2, XL or 3.
        prompts: One prompt per image.
        negative_prompts: One negative prompt per image. Empty: no negative prompt.
        uses_cfg: Whether classifier-free guidance is used.
    """
    return stack_embeddings(
        [
            encode_cached(pipe, prompt, negative, uses_cfg)
            for prompt, negative in zip(prompts, negative_prompts, strict=True)
        ]
    )


def stack_embeddings(encoded_prompts: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
    """Return the results of `encode_prompt` for several prompts as keyword arguments for a pipeline."""
    kwargs = {}
    for name, tensors in zip(EMBEDDING_KWARGS, zip(*encoded_prompts, strict=True), strict=False):
        present = [tensor for tensor in tensors if tensor is not None]
        if len(present) == len(tensors):
            kwargs[name] = torch.cat(present) if len(present) > 1 else present[0]
    return kwargs


def encode_cached(
    pipe: Any,
    prompt: str,
    negative_prompt: str,
    uses_cfg: bool,
    options: TextOptions = PLAIN_TEXT,
    num_chunks: int = 1,
) -> EncodedPrompt:
    """Return the result of `encode_prompt`, from the cache if possible."""
    text_encoder = pipe.text_encoder or pipe.text_encoder_2  # The refiner of SDXL has only the second one.
    cache = _embedding_caches.setdefault(text_encoder, _EmbeddingCache())
    loras = lora.active_text_encoder_loras(pipe)
    device = execution_device(pipe)
    key = (prompt, negative_prompt, uses_cfg, options, num_chunks, text_encoder.dtype, str(device), loras)
    if key in cache:
        cache.move_to_end(key)
        return cache[key]
    encoded = encode_prompt(pipe, prompt, negative_prompt, uses_cfg, device, options, num_chunks)
    cache.put(key, encoded)
    return encoded


def encode_prompt(
    pipe: Any,
    prompt: str,
    negative_prompt: str,
    uses_cfg: bool,
    device: torch.device,
    options: TextOptions = PLAIN_TEXT,
    num_chunks: int = 1,
) -> EncodedPrompt:
    """Encode one prompt on `device`, without caching.

    diffusers encodes prompts of one chunk without weights.

    Args:
        pipe: A pipeline of Stable Diffusion 1, 2, XL or 3.
        prompt: Text with weights.
        negative_prompt: Text with weights. Empty: no negative prompt.
        uses_cfg: Whether classifier-free guidance is used. Without it, the negative prompt is ignored.
        device: Device of the pipeline.
        options: How the texts are encoded.
        num_chunks: Number of chunks of both prompts.

    Returns:
        The embeddings in the order of `EMBEDDING_KWARGS`.
    """
    texts = (prompt, negative_prompt) if uses_cfg else (prompt,)
    # The pipeline of InstructPix2Pix has no `encode_prompt`.
    if num_chunks == 1 and hasattr(pipe, "encode_prompt") and all(is_plain(pipe, text, options) for text in texts):
        return _encode_plain(pipe, *(prompt_syntax.plain_text(text, options.weights) for text in texts), device=device)
    embeds, pooled = encode_text(pipe, prompt, options, num_chunks)
    if not uses_cfg:
        return embeds, None, pooled, None
    if not negative_prompt and getattr(pipe.config, "force_zeros_for_empty_prompt", False):
        # SDXL was trained with zeros in place of the embedding of an empty prompt.
        return embeds, torch.zeros_like(embeds), pooled, pooled if pooled is None else torch.zeros_like(pooled)
    negative_embeds, negative_pooled = encode_text(pipe, negative_prompt, options, num_chunks)
    return embeds, negative_embeds, pooled, negative_pooled


def _encode_plain(pipe: Any, prompt: str, *negative_prompt: str, device: torch.device) -> EncodedPrompt:
    # Stable Diffusion XL and 3 require these arguments. None: every text encoder receives the same prompt.
    other_prompts = {name: None for name in ("prompt_2", "prompt_3") if hasattr(pipe, f"text_encoder{name[6:]}")}
    with torch.no_grad():
        encoded: EncodedPrompt = pipe.encode_prompt(
            prompt=[prompt],
            **other_prompts,
            device=device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=bool(negative_prompt),
            negative_prompt=[*negative_prompt] if any(negative_prompt) else None,
        )
    return encoded


def _nbytes(encoded: EncodedPrompt) -> int:
    return sum(tensor.nbytes for tensor in encoded if tensor is not None)
