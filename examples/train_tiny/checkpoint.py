"""Save and load checkpoints: weights, averaged weights, optimizer, counters and random states."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class EMA:
    """Store an exponential moving average of a module's parameters, with a warm-up of the decay."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = [p.detach().clone() for p in module.parameters()]

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards the module's parameters. `step` is counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [p.detach() for p in module.parameters()]
        torch._foreach_lerp_(self.shadow, current, 1 - decay)

    @contextmanager
    def swap_in(self, module: nn.Module) -> Iterator[None]:
        """Replace the module's parameters by the averages inside the context."""
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
    optimizer: torch.optim.Optimizer,
    average: EMA,
    random: np.random.Generator,
    state: dict[str, Any],
) -> None:
    """Write a checkpoint atomically."""
    content = {
        "module": module.state_dict(),
        "average": average.shadow,
        "optimiser": optimizer.state_dict(),
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
    optimizer: torch.optim.Optimizer,
    average: EMA,
    random: np.random.Generator,
) -> dict[str, Any]:
    """Load a checkpoint of `save` and return the counters."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    module.load_state_dict(content.pop("module"))
    shadow: list[Tensor] = content.pop("average")
    for mine, saved in zip(average.shadow, shadow, strict=True):
        mine.copy_(saved)
    optimizer.load_state_dict(content.pop("optimiser"))
    torch.set_rng_state(content.pop("torch"))
    random.bit_generator.state = content.pop("numpy")
    return content
