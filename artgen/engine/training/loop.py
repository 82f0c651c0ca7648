"""The loop itself: a generator that yields what each step came to; its caller saves, shows and stops."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from artgen.engine.training import batch_order
from artgen.engine.training.checkpoints import TrainState
from artgen.engine.training.losses import Objective
from artgen.engine.training.lr_schedule import learning_rate_at
from artgen.errors import NonFiniteError
from artgen.spec.settings import OptimizerSettings

BuildBatch = Callable[[batch_order.BatchSpec, torch.Generator], dict[str, Any]]
"""A pick -> the arguments of the objective's forward, on the device."""


@dataclass(frozen=True)
class TrainStep:
    """One step of the optimiser.

    Attributes:
        step: counted from 1.
        losses: of the loss, by name, each the mean over the step's batches and all processes.
        learning_rate: the learning rate.
        seconds: that it took.
        num_images: that it saw.
    """

    step: int
    losses: Mapping[str, float]
    learning_rate: float
    seconds: float
    num_images: int

    @property
    def loss(self) -> float:
        """What was made small."""
        return self.losses["loss"]


@dataclass(frozen=True)
class TrainingLoop:
    """A training that can be stepped.

    Attributes:
        accelerator: device, precision and processes.
        objective: as accelerate wraps it.
        train_state: what changes.
        settings: how it learns.
        seed: decides everything that is drawn at random.
        image_sizes: of the pictures, width and height in pixels.
        build_batch: makes batches.
    """

    accelerator: Accelerator
    objective: Any
    train_state: TrainState
    settings: OptimizerSettings
    seed: int
    image_sizes: list[batch_order.ImageSize] = field(repr=False)
    build_batch: BuildBatch = field(repr=False)

    def steps(self, start_step: int = 0) -> Iterator[TrainStep]:
        """Trains from after step `start_step` to the end.

        Raises:
            NonFiniteError: the loss is NaN or infinite; the weights are those of the step before.
        """
        processes = self.accelerator.num_processes
        each = self.settings.gradient_accumulation_steps * processes
        picks = batch_order.batches(self.image_sizes, self.settings.train_batch_size, self.seed)
        picks = islice(picks, start_step * each, None)
        for step in range(start_step, self.settings.train_steps):
            began = time.monotonic()
            rate = learning_rate_at(step, self.settings)
            mine = list(islice(picks, each))[self.accelerator.process_index :: processes]
            parts = self._train_step(mine, rate, step)
            pictures = each * self.settings.train_batch_size
            yield TrainStep(step + 1, parts, rate, time.monotonic() - began, pictures)

    def _train_step(
        self, batch_specs: list[batch_order.BatchSpec], learning_rate: float, step: int
    ) -> dict[str, float]:
        optimiser = self.train_state.optimizer
        for group in optimiser.param_groups:
            group["lr"] = learning_rate
        sums: dict[str, Tensor] = {}
        for place, pick in enumerate(batch_specs):
            generator = batch_order.batch_generator(self.seed, pick.index)
            torch.manual_seed(generator.initial_seed())  # for what draws by itself, such as dropout
            last = place == len(batch_specs) - 1
            with _gradient_sync(self.accelerator, self.objective, last):
                parts = self.objective(**self.build_batch(pick, generator))
                self.accelerator.backward(parts["loss"] / len(batch_specs))
            for name, value in parts.items():
                sums[name] = sums.get(name, 0) + value.detach().float() / len(batch_specs)
        means = self._reduce_losses(sums, step)
        if self.settings.max_grad_norm:
            self.accelerator.clip_grad_norm_(list(self.train_state.parameters.values()), self.settings.max_grad_norm)
        optimiser.step()
        optimiser.zero_grad()
        if self.train_state.ema is not None:
            self.train_state.ema.update(self.train_state.parameters, step)
        return means

    def _reduce_losses(self, losses: Mapping[str, Tensor], step: int) -> dict[str, float]:
        reduced: Any = self.accelerator.reduce(torch.stack(list(losses.values())), reduction="mean")
        found = dict(zip(losses, reduced.tolist(), strict=True))
        if not torch.isfinite(reduced).all():
            raise NonFiniteError(
                f"The loss of step {step + 1} is not a finite number.",
                "Lower --learning-rate, or use --dtype bf16 or fp32; --resume goes on from the last checkpoint.",
            )
        return found


def _gradient_sync(accelerator: Accelerator, objective: Objective, is_last_batch: bool) -> Any:
    """Gradients of all processes are put together at the last batch of a step only."""
    return contextlib.nullcontext() if is_last_batch else accelerator.no_sync(objective)
