"""Replace the decoder of a pipeline's VAE for one call."""

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

from artgen.engine.loading.device import execution_device
from artgen.engine.sampling.vae import scale_latents
from artgen.errors import ModelUnavailableError
from artgen.system.counts import counted
from artgen.system.files import FileIdentity, file_identity


@contextlib.contextmanager
def use_tiny_decoder(pipe: Any, folder: Path) -> Iterator[None]:
    """Decode with a tiny decoder (TAESD) within the block. Input images are encoded with the pipeline's own encoder.

    Args:
        pipe: a Stable Diffusion pipeline with the latent format of the tiny decoder.
        folder: folder of an `AutoencoderTiny`.

    Raises:
        ModelUnavailableError: the file of the tiny decoder is incomplete.
    """
    files = tuple(file_identity(path) for path in sorted(folder.iterdir()))
    vae, decoder = pipe.vae, _load_tiny_decoder(folder, files, str(execution_device(pipe)), pipe.vae.dtype)

    def decode(latents: torch.Tensor, return_dict: bool = True, **_: Any) -> Any:
        # diffusers has unscaled the latents for the pipeline's own VAE. The tiny decoder takes scaled latents.
        scaled = scale_latents(latents, vae.config)
        sample = decoder.decode(scaled.to(decoder.device, decoder.dtype)).sample
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    with _patched_decode(vae, decode):
        yield


_TILING_ATTRS = ("use_slicing", "use_tiling", "tile_sample_min_size", "tile_latent_min_size")
"""Attributes of a diffusers VAE that enable and configure slicing and tiling."""


@contextlib.contextmanager
def use_bf16_decoder(pipe: Any) -> Iterator[None]:
    """Decode with a bf16 copy of the pipeline's decoder within the block, for a VAE that overflows in fp16.

    Args:
        pipe: a pipeline with an `AutoencoderKL`.
    """
    decoder = bf16_decoder(pipe.vae)
    for name in _TILING_ATTRS:
        if hasattr(pipe.vae, name):
            setattr(decoder, name, getattr(pipe.vae, name))

    def decode(latents: torch.Tensor, return_dict: bool = True, **_: Any) -> Any:
        sample = decoder.decode(latents.to(torch.bfloat16)).sample.to(latents.dtype)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    with _patched_decode(pipe.vae, decode):
        yield


_bf16_decoders: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()


def bf16_decoder(vae: Any) -> Any:
    """Return the cached bf16 copy of a VAE. A copy is necessary: conversion to bf16 and back is lossy."""
    if vae not in _bf16_decoders:
        _bf16_decoders[vae] = copy.deepcopy(vae).to(torch.bfloat16)
    return _bf16_decoders[vae]


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
def _load_tiny_decoder(
    folder: Path,
    files: tuple[FileIdentity, ...],  # noqa: ARG001 - part of the cache key
    device: str,
    dtype: torch.dtype,
) -> Any:
    decoder, report = AutoencoderTiny.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    if report["missing_keys"]:
        raise ModelUnavailableError(
            f"Cannot load the tiny decoder in '{folder}': "
            f"{counted(len(report['missing_keys']), 'tensor is', 'tensors are')} missing.",
            "Remove the folder and run the command again with a network connection.",
        )
    return decoder.to(device)
