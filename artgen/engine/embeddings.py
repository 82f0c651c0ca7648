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

from artgen.engine import adapters

NAMES = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
"""What `encode_prompt` returns, in order, and what a pipeline takes in a prompt's place."""

LIMIT = 64 << 20
"""Bytes of embeddings that are kept for a model."""

Encoded = tuple[torch.Tensor | None, ...]


class _Kept(OrderedDict[tuple[Any, ...], Encoded]):
    """The embeddings of one text encoder, the least recently used first."""

    def keep(self, key: tuple[Any, ...], value: Encoded) -> None:
        self[key] = value
        while sum(map(_bytes, self.values())) > LIMIT and len(self) > 1:
            self.popitem(last=False)


_kept: "weakref.WeakKeyDictionary[Any, _Kept]" = weakref.WeakKeyDictionary()


def can_embed(pipe: Any) -> bool:
    """Whether a pipeline is one whose `encode_prompt` is known here: Stable Diffusion 1, 2, XL and 3."""
    return type(pipe).__name__.startswith("StableDiffusion") and hasattr(pipe, "encode_prompt")


def embedded(pipe: Any, prompts: Sequence[str], negatives: Sequence[str], guided: bool) -> dict[str, torch.Tensor]:
    """Embeddings as keyword arguments for a pipeline, one row a picture.

    Args:
        pipe: a pipeline that `can_embed`.
        prompts, negatives: one of each a picture; an empty negative counts as none.
        guided: whether classifier-free guidance is on.
    """
    return joined(
        [_encoded(pipe, prompt, negative, guided) for prompt, negative in zip(prompts, negatives, strict=True)]
    )


def joined(rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """What `encode` returned of several prompts, as keyword arguments for a pipeline."""
    found = {}
    for name, parts in zip(NAMES, zip(*rows, strict=True), strict=False):
        if all(part is not None for part in parts):
            found[name] = torch.cat(parts) if len(parts) > 1 else parts[0]
    return found


def _encoded(pipe: Any, prompt: str, negative: str, guided: bool) -> Encoded:
    kept = _kept.setdefault(pipe.text_encoder, _Kept())
    changed = adapters.on_text_encoders(pipe)
    key = (prompt, negative, guided, pipe.text_encoder.dtype, str(pipe._execution_device), changed)
    if key in kept:
        kept.move_to_end(key)
        return kept[key]
    encoded = encode(pipe, prompt, negative, guided, pipe._execution_device)
    kept.keep(key, encoded)
    return encoded


def encode(pipe: Any, prompt: str, negative: str, guided: bool, device: torch.device) -> Encoded:
    """What a pipeline's text encoders make of a prompt on `device`, in the order of `NAMES`; nothing is remembered."""
    several = {name: None for name in ("prompt_2", "prompt_3") if hasattr(pipe, f"text_encoder{name[6:]}")}
    with torch.no_grad():
        encoded: Encoded = pipe.encode_prompt(
            prompt=[prompt],
            **several,
            device=device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=guided,
            negative_prompt=[negative] if negative else None,
        )
    return encoded


def _bytes(encoded: Encoded) -> int:
    return sum(part.nbytes for part in encoded if part is not None)
