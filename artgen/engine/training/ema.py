"""Compute an exponential moving average (EMA) of the trainable parameters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """Store an exponential moving average of parameters, float32.

    Args:
        parameters: trainable parameters by name.
        decay: from 0 to 1. The decay of the first updates is lower, (1 + step) / (10 + step), so that the initial
            weights lose their influence.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.shadow: dict[str, Tensor] = {name: value.detach().clone() for name, value in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, nn.Parameter], step: int) -> None:
        """Move the average towards the parameters after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in parameters.items():
            self.shadow[name].lerp_(value.detach(), 1 - decay)

    @contextmanager
    def swap_in(self, parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
        """Replace the parameters by their average inside the context."""
        original = {name: value.data for name, value in parameters.items()}
        for name, value in parameters.items():
            value.data = self.shadow[name]
        try:
            yield
        finally:
            for name, value in parameters.items():
                value.data = original[name]
