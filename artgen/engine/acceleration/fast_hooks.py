"""`--fast`: attaches approximations to a pipeline for one call, and takes them off again.

diffusers' own caches (FasterCache, first-block cache and others of `diffusers.hooks`) are made for transformers whose
pipelines tell them where they are; its Stable Diffusion pipelines do not, and a UNet has no list of blocks for them.
Its hooks, on which they stand, serve a UNet as well.
"""

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from diffusers.hooks import HookRegistry, ModelHook
from torch import nn

from artgen.engine.acceleration.decoders import use_tiny_decoder
from artgen.engine.acceleration.deepcache import CacheSchedule, deepcache_hooks
from artgen.engine.guiding import SparseGuidance
from artgen.errors import UsageError
from artgen.registry import HubFiles
from artgen.spec.fast import CACHE_INTERVAL_STEPS, GUIDANCE_EXACT, GUIDANCE_INTERVAL, parse_presets

HOOK_PREFIX = "artgen"
GROUP_OFFLOADING_HOOK = "group_offloading"
"""What diffusers calls its hook on a layer that fetches the next one."""
_EMPTY_HOOK_REGISTRY = HookRegistry(nn.Identity())
ModuleWithHook = tuple[nn.Module, ModelHook]


@contextlib.contextmanager
def with_approximations(
    pipe: Any, fast: str | None, batch_size: int, extras: Mapping[str, HubFiles] = MappingProxyType({})
) -> Iterator[None]:
    """The pipeline with the approximations that a request names; as it was when the block is left.

    What they remember is made here and goes with them, so that nothing leaks from one call into the next.

    Args:
        pipe: a pipeline that `artgen.jobs.checks` lets have them.
        fast: their names in canonical form; None for the exact picture.
        batch_size: how many are drawn together.
        extras: what they need of the hub, by their names.

    Raises:
        UsageError: layers would be skipped that fetch others, as group offloading lets them.
    """
    attached: list[nn.Module] = []
    decoder = extras.get("tiny-decoder")
    try:
        for module, hook in _approximation_hooks(pipe, fast, batch_size):
            name = f"{HOOK_PREFIX}_{type(hook).__name__}"
            HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, name)
            attached.append(module)
        with use_tiny_decoder(pipe, decoder.folder) if decoder else contextlib.nullcontext():
            yield
    finally:
        for module in reversed(attached):
            registry = HookRegistry.check_if_exists_or_initialize(module)
            registry.remove_hook(
                next(name for name in reversed(registry.hooks) if name.startswith(HOOK_PREFIX)), recurse=False
            )


def _approximation_hooks(pipe: Any, fast: str | None, batch_size: int) -> Iterator[ModuleWithHook]:
    """The hooks of each approximation on their modules, the innermost first."""
    names = {entry.name for entry in parse_presets(fast)}
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    if "cache" in names:
        if any(
            GROUP_OFFLOADING_HOOK in getattr(module, "_diffusers_hook", _EMPTY_HOOK_REGISTRY).hooks
            for module in denoiser.modules()
        ):
            raise UsageError(
                "--fast cache skips layers that --offload group waits for.", "Use --offload model instead."
            )
        yield from deepcache_hooks(denoiser, CacheSchedule(CACHE_INTERVAL_STEPS))
    if "guidance" in names:
        yield denoiser, SparseGuidance(lambda: int(pipe.num_timesteps), batch_size, GUIDANCE_EXACT, GUIDANCE_INTERVAL)
