"""Checkpoints that resume exactly: weights, averaged weights, optimiser, counters, random states."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of a module's parameters, warmed up over the first steps."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = [p.detach().clone() for p in module.parameters()]

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Moves the average towards the module's parameters; `step` counts from zero."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [p.detach() for p in module.parameters()]
        torch._foreach_lerp_(self.shadow, current, 1 - decay)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Within, the module's parameters are the averaged ones."""
        kept = [p.data for p in module.parameters()]
        for parameter, shadow in zip(module.parameters(), self.shadow, strict=True):
            parameter.data = shadow
        try:
            yield
        finally:
            for parameter, data in zip(module.parameters(), kept, strict=True):
                parameter.data = data


def save(
    path: Path,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Average,
    random: np.random.Generator,
    state: dict[str, Any],
) -> None:
    """Writes a checkpoint beside `path` and renames it over, so that a reader never sees half."""
    content = {
        "module": module.state_dict(),
        "average": average.shadow,
        "optimiser": optimiser.state_dict(),
        "torch": torch.get_rng_state(),
        "numpy": random.bit_generator.state,
        **state,
    }
    part = path.with_suffix(".part")
    torch.save(content, part)
    part.replace(path)


def load(
    path: Path,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Average,
    random: np.random.Generator,
) -> dict[str, Any]:
    """Restores everything `save` wrote and returns the counters."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    module.load_state_dict(content.pop("module"))
    shadow: list[Tensor] = content.pop("average")
    for mine, saved in zip(average.shadow, shadow, strict=True):
        mine.copy_(saved)
    optimiser.load_state_dict(content.pop("optimiser"))
    torch.set_rng_state(content.pop("torch"))
    random.bit_generator.state = content.pop("numpy")
    return content
