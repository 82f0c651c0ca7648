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

from artgen.approximations import CACHE_INTERVAL, GUIDANCE_EXACT, GUIDANCE_INTERVAL, chosen
from artgen.engine.caching import Rhythm, caching_hooks
from artgen.engine.decoding import tiny_decoder
from artgen.engine.guiding import SparseGuidance
from artgen.errors import UsageError
from artgen.registry import Part

HOOK = "artgen"
STREAMED = "group_offloading"
"""What diffusers calls its hook on a layer that fetches the next one."""
_NONE = HookRegistry(nn.Identity())
Hooked = tuple[nn.Module, ModelHook]


@contextlib.contextmanager
def approximated(
    pipe: Any, fast: str | None, pictures: int, parts: Mapping[str, Part] = MappingProxyType({})
) -> Iterator[None]:
    """The pipeline with the approximations that a request names; as it was when the block is left.

    What they remember is made here and goes with them, so that nothing leaks from one call into the next.

    Args:
        pipe: a pipeline that `artgen.fitting` lets have them.
        fast: their names in canonical form; None for the exact picture.
        pictures: how many are drawn together.
        parts: what they need of the hub, by their names.

    Raises:
        UsageError: layers would be skipped that fetch others, as group offloading lets them.
    """
    attached: list[nn.Module] = []
    decoder = parts.get("tiny-decoder")
    try:
        for module, hook in _hooks(pipe, fast, pictures):
            name = f"{HOOK}_{type(hook).__name__}"
            HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, name)
            attached.append(module)
        with tiny_decoder(pipe, decoder.folder) if decoder else contextlib.nullcontext():
            yield
    finally:
        for module in reversed(attached):
            registry = HookRegistry.check_if_exists_or_initialize(module)
            registry.remove_hook(
                next(name for name in reversed(registry.hooks) if name.startswith(HOOK)), recurse=False
            )


def _hooks(pipe: Any, fast: str | None, pictures: int) -> Iterator[Hooked]:
    """The hooks of each approximation on their modules, the innermost first."""
    names = {entry.name for entry in chosen(fast)}
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    if "cache" in names:
        if any(STREAMED in getattr(module, "_diffusers_hook", _NONE).hooks for module in denoiser.modules()):
            raise UsageError(
                "--fast cache skips layers that --offload group waits for.", "Use --offload model instead."
            )
        yield from caching_hooks(denoiser, Rhythm(CACHE_INTERVAL))
    if "guidance" in names:
        yield denoiser, SparseGuidance(lambda: int(pipe.num_timesteps), pictures, GUIDANCE_EXACT, GUIDANCE_INTERVAL)
