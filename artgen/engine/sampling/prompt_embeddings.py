"""Prompt embeddings, computed once for each distinct prompt.

A batch says the same negative prompt, or the same prompt with other seeds, again and again; a large text encoder (the
T5 of Stable Diffusion 3) costs seconds each time. Each prompt is encoded by itself, so that its embedding does not
depend on its neighbours.
"""

import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from artgen.engine.loading import lora

EMBEDDING_KWARGS = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
"""What `encode_prompt` returns, in order, and what a pipeline takes in a prompt's place."""

MAX_CACHE_BYTES = 64 << 20
"""Bytes of embeddings that are kept for a model."""

EncodedPrompt = tuple[torch.Tensor | None, ...]


class _EmbeddingCache(OrderedDict[tuple[Any, ...], EncodedPrompt]):
    """The embeddings of one text encoder, the least recently used first."""

    def put(self, key: tuple[Any, ...], value: EncodedPrompt) -> None:
        self[key] = value
        while sum(map(_nbytes, self.values())) > MAX_CACHE_BYTES and len(self) > 1:
            self.popitem(last=False)


_embedding_caches: "weakref.WeakKeyDictionary[Any, _EmbeddingCache]" = weakref.WeakKeyDictionary()


def supports_embeddings(pipe: Any) -> bool:
    """Whether a pipeline is one whose `encode_prompt` is known here: Stable Diffusion 1, 2, XL and 3."""
    return type(pipe).__name__.startswith("StableDiffusion") and hasattr(pipe, "encode_prompt")


def prompt_embeddings(
    pipe: Any, prompts: Sequence[str], negative_prompts: Sequence[str], uses_cfg: bool
) -> dict[str, torch.Tensor]:
    """Embeddings as keyword arguments for a pipeline, one row a picture.

    Args:
        pipe: a pipeline that `can_embed`.
        prompts, negative_prompts: one of each a picture; an empty negative counts as none.
        uses_cfg: whether classifier-free guidance is on.
    """
    return stack_embeddings(
        [
            _encode_cached(pipe, prompt, negative, uses_cfg)
            for prompt, negative in zip(prompts, negative_prompts, strict=True)
        ]
    )


def stack_embeddings(encoded_prompts: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
    """What `encode` returned of several prompts, as keyword arguments for a pipeline."""
    found = {}
    for name, parts in zip(EMBEDDING_KWARGS, zip(*encoded_prompts, strict=True), strict=False):
        if all(part is not None for part in parts):
            found[name] = torch.cat(parts) if len(parts) > 1 else parts[0]
    return found


def _encode_cached(pipe: Any, prompt: str, negative_prompt: str, uses_cfg: bool) -> EncodedPrompt:
    kept = _embedding_caches.setdefault(pipe.text_encoder, _EmbeddingCache())
    changed = lora.active_text_encoder_loras(pipe)
    key = (prompt, negative_prompt, uses_cfg, pipe.text_encoder.dtype, str(pipe._execution_device), changed)
    if key in kept:
        kept.move_to_end(key)
        return kept[key]
    encoded = encode_prompt(pipe, prompt, negative_prompt, uses_cfg, pipe._execution_device)
    kept.put(key, encoded)
    return encoded


def encode_prompt(pipe: Any, prompt: str, negative_prompt: str, uses_cfg: bool, device: torch.device) -> EncodedPrompt:
    """What a pipeline's text encoders make of a prompt on `device`, in the order of `NAMES`; nothing is remembered."""
    several = {name: None for name in ("prompt_2", "prompt_3") if hasattr(pipe, f"text_encoder{name[6:]}")}
    with torch.no_grad():
        encoded: EncodedPrompt = pipe.encode_prompt(
            prompt=[prompt],
            **several,
            device=device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=uses_cfg,
            negative_prompt=[negative_prompt] if negative_prompt else None,
        )
    return encoded


def _nbytes(encoded: EncodedPrompt) -> int:
    return sum(part.nbytes for part in encoded if part is not None)
