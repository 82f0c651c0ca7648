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


class Rhythm:
    """Which calls of a UNet compute everything.

    Attributes:
        fresh: whether the present one does.
        rows: how many rows its batch has.
    """

    def __init__(self, interval: int) -> None:
        """Takes of how many calls one computes everything, 1 or more."""
        self.fresh = True
        self.rows = 0
        self._interval = interval
        self._calls = 0
        self._kept_rows = 0

    def call(self, rows: int) -> None:
        """Begins a call with a batch of `rows`; one that has more rows than what is kept computes everything."""
        self.rows = rows
        self.fresh = self._calls % self._interval == 0 or rows > self._kept_rows
        if self.fresh:
            self._calls, self._kept_rows = 0, rows
        self._calls += 1


class _Count(ModelHook):  # type: ignore[misc]  # diffusers comes without types
    """On the UNet: tells the rhythm of each call."""

    def __init__(self, rhythm: Rhythm) -> None:
        super().__init__()
        self._rhythm = rhythm

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:  # noqa: ARG002
        self._rhythm.call(len(args[0] if args else kwargs["sample"]))
        return args, kwargs


class _Kept(ModelHook):  # type: ignore[misc]  # diffusers comes without types
    """On a part of the UNet: gives what it gave when everything was computed last."""

    def __init__(self, rhythm: Rhythm) -> None:
        super().__init__()
        self._rhythm = rhythm
        self._output: Any = None

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        if not self._rhythm.fresh:
            return _last_rows(self._output, self._rhythm.rows)
        self._output = self.fn_ref.original_forward(*args, **kwargs)
        return self._output


def caching_hooks(unet: nn.Module, rhythm: Rhythm) -> Iterator[tuple[nn.Module, ModelHook]]:
    """Hooks, each with the module it goes on, that make a UNet compute everything only when the rhythm says so.

    Between, it runs its first convolution, the last layer of its last up block, and its output.

    Args:
        unet: a `UNet2DConditionModel`.
        rhythm: counts its calls.
    """
    last: Any = unet.up_blocks[-1]  # type: ignore[index]
    layers = [*last.resnets[:-1], *(getattr(last, "attentions", None) or [])[:-1]]
    for module in (*unet.down_blocks, unet.mid_block, *unet.up_blocks[:-1], *layers):  # type: ignore[misc,index]
        if module is not None:
            yield module, _Kept(rhythm)
    yield unet, _Count(rhythm)


def _last_rows(output: Any, rows: int) -> Any:
    """The last rows of every tensor of an output; with guidance the second half of a batch belongs to the prompts."""
    if isinstance(output, tuple):
        return tuple(_last_rows(part, rows) for part in output)
    return output[-rows:] if isinstance(output, torch.Tensor) else output
