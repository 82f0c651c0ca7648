"""Attach hooks of diffusers to the modules of a pipeline for one pipeline call, and detach them.

The order matters: a hook that is attached later surrounds the hooks that were attached before. `pipeline_call` attaches
the caches of `--fast` first, then the hook of composed prompts (AND), which calls the denoiser for each part of a
prompt, then the hook of `--guide`, which receives one unconditional and one conditional prediction per image.
"""

import contextlib
from collections.abc import Iterable, Iterator

from diffusers.hooks import HookRegistry, ModelHook
from torch import nn

HOOK_PREFIX = "artgen"
ModuleWithHook = tuple[nn.Module, ModelHook]


@contextlib.contextmanager
def attached_hooks(hooks: Iterable[ModuleWithHook]) -> Iterator[None]:
    """Attach hooks to modules, innermost hooks first. Detach them after the block, also after an exception.

    Pass new hooks for each pipeline call, so that no state is carried from one call to the next.
    """
    attached: list[tuple[nn.Module, str]] = []
    try:
        for module, hook in hooks:
            name = f"{HOOK_PREFIX}_{type(hook).__name__}"
            HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, name)
            attached.append((module, name))
        yield
    finally:
        for module, name in reversed(attached):
            HookRegistry.check_if_exists_or_initialize(module).remove_hook(name, recurse=False)
