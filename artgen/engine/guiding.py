"""Classifier-free guidance that is computed at some steps only.

Guidance asks the denoiser twice at each step, with the prompt and without. What the two answers differ in changes
slowly once the picture is laid out, so that later steps may ask once and take the difference over (the CFG-Cache of
FasterCache, Lv et al. 2024, arXiv 2410.19355; Dinh et al. 2024, arXiv 2408.11194, guide at some steps alone). To leave
guidance out altogether (Castillo et al. 2023, arXiv 2312.12487) changes the picture much more.
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers.hooks import ModelHook
from torch import nn


class SparseGuidance(ModelHook):  # type: ignore[misc]  # diffusers comes without types
    """On a denoiser: runs the half of the batch that has the prompts alone, where it may.

    diffusers puts the rows without prompts first.
    """

    def __init__(self, steps: Callable[[], int], pictures: int, exact: float, interval: int) -> None:
        """How to guide.

        Args:
            steps: says, at the first step, how many there are.
            pictures: how many are drawn together; a batch with guidance has twice as many rows.
            exact: the share of the steps, the first ones, that guide exactly, 0 to 1.
            interval: one of so many of the others does.
        """
        super().__init__()
        self._steps, self._pictures, self._exact, self._interval = steps, pictures, exact, interval
        self._step = 0
        self._difference: torch.Tensor | None = None

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        step, self._step = self._step, self._step + 1
        if self._difference is None or step < self._exact * self._steps() or step % self._interval == 0:
            output = self.fn_ref.original_forward(*args, **kwargs)
            without, with_prompt = output[0].chunk(2)
            self._difference = with_prompt - without
            return output
        with_prompt = self.fn_ref.original_forward(*self._half(args), **self._half(kwargs))[0]
        return (torch.cat([with_prompt - self._difference, with_prompt]),)

    def _half(self, value: Any) -> Any:
        """The second half of every tensor with a row for each row of the batch."""
        if isinstance(value, dict):
            return {name: self._half(part) for name, part in value.items()}
        if isinstance(value, tuple):
            return tuple(self._half(part) for part in value)
        if isinstance(value, torch.Tensor) and value.ndim and len(value) == 2 * self._pictures:
            return value[self._pictures :]
        return value
