"""Implement DeepCache: reuse the deep features of a UNet from one step to the next.

DeepCache (Ma, Fang and Wang, CVPR 2024, arXiv 2312.00858) uses the observation that deep features change far less from
step to step than shallow features. One step of several runs the complete UNet. The other steps run only the layers
next to the input and the output, and reuse the output of the deep layers.
"""

from collections.abc import Iterator
from typing import Any

import torch
from diffusers.hooks import ModelHook
from torch import nn


class CacheSchedule:
    """Decide which calls of a UNet run all layers.

    Attributes:
        recompute: whether the current call runs all layers.
        batch_size: batch size of the current call.
    """

    def __init__(self, interval: int) -> None:
        """Store the interval: one of `interval` calls, 1 or more, runs all layers."""
        self.recompute = True
        self.batch_size = 0
        self._interval = interval
        self._calls_since_recompute = 0
        self._cached_batch_size = 0

    def start_call(self, batch_size: int) -> None:
        """Start a call. A batch that is larger than the cached batch runs all layers."""
        self.batch_size = batch_size
        self.recompute = self._calls_since_recompute % self._interval == 0 or batch_size > self._cached_batch_size
        if self.recompute:
            self._calls_since_recompute, self._cached_batch_size = 0, batch_size
        self._calls_since_recompute += 1


class _StepCounterHook(ModelHook):  # type: ignore[misc]  # diffusers has no types
    """Report each call of the UNet to the schedule."""

    def __init__(self, schedule: CacheSchedule) -> None:
        super().__init__()
        self._schedule = schedule

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:  # noqa: ARG002
        self._schedule.start_call(len(args[0] if args else kwargs["sample"]))
        return args, kwargs


class _FeatureCacheHook(ModelHook):  # type: ignore[misc]  # diffusers has no types
    """Return the cached output of a deep module unless the schedule requires a new one."""

    def __init__(self, schedule: CacheSchedule) -> None:
        super().__init__()
        self._schedule = schedule
        self._cached_output: Any = None

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        if not self._schedule.recompute:
            return _slice_last(self._cached_output, self._schedule.batch_size)
        self._cached_output = self.fn_ref.original_forward(*args, **kwargs)
        return self._cached_output


def deepcache_hooks(unet: nn.Module, schedule: CacheSchedule) -> Iterator[tuple[nn.Module, ModelHook]]:
    """Yield each module of a UNet that needs a hook, with its hook.

    If the schedule does not require all layers, the UNet runs its first convolution, the last layer of its last up
    block, and its output layers.

    Args:
        unet: a `UNet2DConditionModel`.
        schedule: schedule shared by all hooks.
    """
    last: Any = unet.up_blocks[-1]  # type: ignore[index]
    layers = [*last.resnets[:-1], *(getattr(last, "attentions", None) or [])[:-1]]
    for module in (*unet.down_blocks, unet.mid_block, *unet.up_blocks[:-1], *layers):  # type: ignore[misc,index]
        if module is not None:
            yield module, _FeatureCacheHook(schedule)
    yield unet, _StepCounterHook(schedule)


def _slice_last(output: Any, batch_size: int) -> Any:
    """Return the last samples of every tensor: with guidance, the prompts' samples are the second half of a batch."""
    if isinstance(output, tuple):
        return tuple(_slice_last(part, batch_size) for part in output)
    return output[-batch_size:] if isinstance(output, torch.Tensor) else output
