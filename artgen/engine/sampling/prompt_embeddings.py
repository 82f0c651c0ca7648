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

EMBEDDING_KWARGS = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
"""Values that `encode_prompt` returns, in order, and pipeline arguments that replace the prompt."""

MAX_CACHE_BYTES = 64 << 20
"""Largest size of the cached embeddings of one text encoder."""

EncodedPrompt = tuple[torch.Tensor | None, ...]


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
    """Return prompt embeddings as keyword arguments for a pipeline, with batch size `len(prompts)`.

    Args:
        pipe: A pipeline of Stable Diffusion 1, 2, XL or 3.
        prompts: One prompt per image.
        negative_prompts: One negative prompt per image. Empty: no negative prompt.
        uses_cfg: Whether classifier-free guidance is used.
    """
    return stack_embeddings(
        [
            _encode_cached(pipe, prompt, negative, uses_cfg)
            for prompt, negative in zip(prompts, negative_prompts, strict=True)
        ]
    )


def stack_embeddings(encoded_prompts: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
    """Return the results of `encode_prompt` for several prompts as keyword arguments for a pipeline."""
    kwargs = {}
    for name, tensors in zip(EMBEDDING_KWARGS, zip(*encoded_prompts, strict=True), strict=False):
        if all(tensor is not None for tensor in tensors):
            kwargs[name] = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
    return kwargs


def _encode_cached(pipe: Any, prompt: str, negative_prompt: str, uses_cfg: bool) -> EncodedPrompt:
    text_encoder = pipe.text_encoder or pipe.text_encoder_2  # The refiner of SDXL has only the second one.
    cache = _embedding_caches.setdefault(text_encoder, _EmbeddingCache())
    loras = lora.active_text_encoder_loras(pipe)
    key = (prompt, negative_prompt, uses_cfg, text_encoder.dtype, str(execution_device(pipe)), loras)
    if key in cache:
        cache.move_to_end(key)
        return cache[key]
    encoded = encode_prompt(pipe, prompt, negative_prompt, uses_cfg, execution_device(pipe))
    cache.put(key, encoded)
    return encoded


def encode_prompt(pipe: Any, prompt: str, negative_prompt: str, uses_cfg: bool, device: torch.device) -> EncodedPrompt:
    """Encode one prompt on `device`. Return the embeddings in the order of `EMBEDDING_KWARGS`, without caching."""
    # Stable Diffusion XL and 3 require these arguments. None: every text encoder receives the same prompt.
    other_prompts = {name: None for name in ("prompt_2", "prompt_3") if hasattr(pipe, f"text_encoder{name[6:]}")}
    with torch.no_grad():
        encoded: EncodedPrompt = pipe.encode_prompt(
            prompt=[prompt],
            **other_prompts,
            device=device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=uses_cfg,
            negative_prompt=[negative_prompt] if negative_prompt else None,
        )
    return encoded


def _nbytes(encoded: EncodedPrompt) -> int:
    return sum(tensor.nbytes for tensor in encoded if tensor is not None)
