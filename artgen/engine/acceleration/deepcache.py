"""Deep features of a UNet, taken over from one step to the next.

DeepCache (Ma, Fang and Wang, CVPR 2024, arXiv 2312.00858): from step to step the deep features of a UNet change far
less than the shallow ones. One step of several computes all of it; the others compute the layers next to input and
output, and take what would have come from below as it was.
"""

from collections.abc import Iterator
from typing import Any

import torch
from diffusers.hooks import ModelHook
from torch import nn


class CacheSchedule:
    """Which calls of a UNet compute everything.

    Attributes:
        recompute: whether the present one does.
        batch_size: how many rows its batch has.
    """

    def __init__(self, interval: int) -> None:
        """Takes of how many calls one computes everything, 1 or more."""
        self.recompute = True
        self.batch_size = 0
        self._interval = interval
        self._calls_since_recompute = 0
        self._cached_batch_size = 0

    def start_call(self, batch_size: int) -> None:
        """Begins a call with a batch of `batch_size`; one that has more rows than what is kept computes everything."""
        self.batch_size = batch_size
        self.recompute = self._calls_since_recompute % self._interval == 0 or batch_size > self._cached_batch_size
        if self.recompute:
            self._calls_since_recompute, self._cached_batch_size = 0, batch_size
        self._calls_since_recompute += 1


class _StepCounterHook(ModelHook):  # type: ignore[misc]  # diffusers comes without types
    """On the UNet: tells the rhythm of each call."""

    def __init__(self, schedule: CacheSchedule) -> None:
        super().__init__()
        self._schedule = schedule

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:  # noqa: ARG002
        self._schedule.start_call(len(args[0] if args else kwargs["sample"]))
        return args, kwargs


class _FeatureCacheHook(ModelHook):  # type: ignore[misc]  # diffusers comes without types
    """On a part of the UNet: gives what it gave when everything was computed last."""

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
    """Hooks, each with the module it goes on, that make a UNet compute everything only when the rhythm says so.

    Between, it runs its first convolution, the last layer of its last up block, and its output.

    Args:
        unet: a `UNet2DConditionModel`.
        schedule: counts its calls.
    """
    last: Any = unet.up_blocks[-1]  # type: ignore[index]
    layers = [*last.resnets[:-1], *(getattr(last, "attentions", None) or [])[:-1]]
    for module in (*unet.down_blocks, unet.mid_block, *unet.up_blocks[:-1], *layers):  # type: ignore[misc,index]
        if module is not None:
            yield module, _FeatureCacheHook(schedule)
    yield unet, _StepCounterHook(schedule)


def _slice_last(output: Any, batch_size: int) -> Any:
    """The last rows of every tensor of an output; with guidance the second half of a batch belongs to the prompts."""
    if isinstance(output, tuple):
        return tuple(_slice_last(part, batch_size) for part in output)
    return output[-batch_size:] if isinstance(output, torch.Tensor) else output
