"""The moving average of weights, which is often better than where they are."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """An exponential moving average of parameters, float32.

    Args:
        parameters: by name.
        decay: from 0 to 1; at first less, (1 + step) / (10 + step), so that the beginning is forgotten.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.shadow: dict[str, Tensor] = {name: value.detach().clone() for name, value in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, nn.Parameter], step: int) -> None:
        """Moves it towards the parameters as they are after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in parameters.items():
            self.shadow[name].lerp_(value.detach(), 1 - decay)

    @contextmanager
    def swap_in(self, parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
        """Within, the parameters are the averaged ones."""
        kept = {name: value.data for name, value in parameters.items()}
        for name, value in parameters.items():
            value.data = self.shadow[name]
        try:
            yield
        finally:
            for name, value in parameters.items():
                value.data = kept[name]
