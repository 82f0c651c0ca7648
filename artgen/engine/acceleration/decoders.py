"""Another decoder in the place of a model's own, for one call."""

import contextlib
import copy
import weakref
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import DecoderOutput

from artgen.engine.sampling.vae import scale_latents
from artgen.errors import ModelUnavailableError


@contextlib.contextmanager
def use_tiny_decoder(pipe: Any, folder: Path) -> Iterator[None]:
    """The pipeline with a tiny decoder (TAESD); its encoder, which sees input pictures, stays its own.

    Args:
        pipe: a Stable Diffusion pipeline whose latents the tiny decoder was distilled for.
        folder: an `AutoencoderTiny`.

    Raises:
        ModelUnavailableError: its file lacks tensors.
    """
    vae, decoder = pipe.vae, _load_tiny_decoder(folder, str(pipe._execution_device), pipe.vae.dtype)

    def decode(latents: torch.Tensor, return_dict: bool = True, **_: Any) -> Any:
        # diffusers has made the autoencoder's latents of the denoiser's, which the tiny one takes as they were.
        scaled = scale_latents(latents, vae.config)
        sample = decoder.decode(scaled.to(decoder.device, decoder.dtype)).sample
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    with _patched_decode(vae, decode):
        yield


_TILING_ATTRS = ("use_slicing", "use_tiling", "tile_sample_min_size", "tile_latent_min_size")
"""How diffusers' autoencoders keep whether they decode pictures one by one, and in tiles."""


@contextlib.contextmanager
def use_bf16_decoder(pipe: Any) -> Iterator[None]:
    """The pipeline with its own decoder in bf16, for one that overflows in fp16 and is slow in fp32.

    Args:
        pipe: a pipeline with an `AutoencoderKL`.
    """
    if pipe.vae not in _bf16_decoders:
        _bf16_decoders[pipe.vae] = copy.deepcopy(pipe.vae).to(torch.bfloat16)  # weights that go there do not come back
    decoder = _bf16_decoders[pipe.vae]
    for name in _TILING_ATTRS:
        if hasattr(pipe.vae, name):
            setattr(decoder, name, getattr(pipe.vae, name))

    def decode(latents: torch.Tensor, return_dict: bool = True, **_: Any) -> Any:
        sample = decoder.decode(latents.to(torch.bfloat16)).sample.to(latents.dtype)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    with _patched_decode(pipe.vae, decode):
        yield


_bf16_decoders: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def _patched_decode(vae: Any, decode: Callable[..., Any]) -> Iterator[None]:
    before = vae.__dict__.get("decode")
    vae.decode = decode
    try:
        yield
    finally:
        if before is None:
            del vae.decode
        else:
            vae.decode = before


@lru_cache(maxsize=1)
def _load_tiny_decoder(folder: Path, device: str, dtype: torch.dtype) -> Any:
    decoder, report = AutoencoderTiny.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    if report["missing_keys"]:
        raise ModelUnavailableError(
            f"The tiny decoder in {folder} lacks {len(report['missing_keys'])} of its tensors.",
            "Remove that folder and run the command again with a network.",
        )
    return decoder.to(device)
