"""Attach the approximations of `--fast` to a pipeline for one call, and detach them.

The caches of `diffusers.hooks` (FasterCache, first-block cache and others) support transformers whose pipelines report
the current step. The Stable Diffusion pipelines of diffusers do not report it, and a UNet has no list of blocks. This
module uses the same hook classes for a UNet.
"""

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from diffusers.hooks import HookRegistry
from torch import nn

from artgen.engine.acceleration.decoders import use_tiny_decoder
from artgen.engine.acceleration.deepcache import CacheSchedule, deepcache_hooks
from artgen.engine.sampling.denoiser_hooks import ModuleWithHook, attached_hooks
from artgen.errors import UsageError
from artgen.registry import HubFiles
from artgen.spec.fast import CACHE_INTERVAL_STEPS, parse_presets

GROUP_OFFLOADING_HOOK = "group_offloading"
"""Name that diffusers gives the hook that prefetches the next layer."""
_EMPTY_HOOK_REGISTRY = HookRegistry(nn.Identity())


@contextlib.contextmanager
def with_approximations(
    pipe: Any, fast: str | None, extras: Mapping[str, HubFiles] = MappingProxyType({})
) -> Iterator[None]:
    """Attach the approximations of a request to a pipeline. Restore the pipeline after the block.

    Args:
        pipe: pipeline that passed `artgen.jobs.fast_parts.check_fast`.
        fast: names in canonical form; None for no approximation.
        extras: files from the hub, by name of the approximation.

    Raises:
        UsageError: `cache` would skip layers that prefetch other layers (group offloading).
        ModelUnavailableError: the tiny decoder is incomplete.
    """
    decoder = extras.get("tiny-decoder")
    use_decoder = use_tiny_decoder(pipe, decoder.folder) if decoder else contextlib.nullcontext()
    with attached_hooks(_approximation_hooks(pipe, fast)), use_decoder:
        yield


def _approximation_hooks(pipe: Any, fast: str | None) -> Iterator[ModuleWithHook]:
    """Yield each module with its hook, innermost hooks first."""
    if "cache" not in {entry.name for entry in parse_presets(fast)}:
        return
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    if any(
        GROUP_OFFLOADING_HOOK in getattr(module, "_diffusers_hook", _EMPTY_HOOK_REGISTRY).hooks
        for module in denoiser.modules()
    ):
        raise UsageError(
            "Cannot use --fast cache with --offload group: the cache skips layers that prefetch other layers.",
            "Use --offload model instead.",
        )
    yield from deepcache_hooks(denoiser, CacheSchedule(CACHE_INTERVAL_STEPS))
