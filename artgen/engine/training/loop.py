"""Run the training steps as a generator. The caller saves, reports and stops."""

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
"""Build the keyword arguments of the objective's `forward`, on the device, from a batch specification."""


@dataclass(frozen=True)
class TrainStep:
    """Represent one optimizer step.

    Attributes:
        step: index of the step, counted from 1.
        losses: loss terms by name, means over the batches of the step and all processes.
        learning_rate: learning rate of the step.
        seconds: duration of the step.
        num_images: number of images in the batches of all processes.
    """

    step: int
    losses: Mapping[str, float]
    learning_rate: float
    seconds: float
    num_images: int

    @property
    def loss(self) -> float:
        """Return the minimized value."""
        return self.losses["loss"]


@dataclass(frozen=True)
class TrainingLoop:
    """Run training steps.

    Attributes:
        accelerator: device, precision and processes.
        objective: the loss, wrapped by accelerate.
        train_state: parameters, optimizer and EMA.
        settings: optimizer settings; all of them are set.
        seed: seed of all random numbers.
        image_sizes: width and height of each image, in pixels.
        build_batch: builds the arguments of the objective.
    """

    accelerator: Accelerator
    objective: Any
    train_state: TrainState
    settings: OptimizerSettings
    seed: int
    image_sizes: list[batch_order.ImageSize] = field(repr=False)
    build_batch: BuildBatch = field(repr=False)

    def steps(self, start_step: int = 0) -> Iterator[TrainStep]:
        """Train from step `start_step` + 1 to the last step.

        Raises:
            NonFiniteError: the loss is NaN or infinite. The weights have the values of the previous step.
        """
        processes = self.accelerator.num_processes
        batches_per_step = self.settings.gradient_accumulation_steps * processes
        batch_size = self.settings.train_batch_size or 1
        batch_specs = batch_order.batches(self.image_sizes, batch_size, self.seed)
        batch_specs = islice(batch_specs, start_step * batches_per_step, None)
        for step in range(start_step, self.settings.train_steps or 0):
            start_time = time.monotonic()
            rate = learning_rate_at(step, self.settings)
            own_batches = list(islice(batch_specs, batches_per_step))[self.accelerator.process_index :: processes]
            losses = self._train_step(own_batches, rate, step)
            num_images = batches_per_step * batch_size
            yield TrainStep(step + 1, losses, rate, time.monotonic() - start_time, num_images)

    def _train_step(
        self, batch_specs: list[batch_order.BatchSpec], learning_rate: float, step: int
    ) -> dict[str, float]:
        optimizer = self.train_state.optimizer
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        sums: dict[str, Tensor] = {}
        for position, spec in enumerate(batch_specs):
            generator = batch_order.batch_generator(self.seed, spec.index)
            torch.manual_seed(generator.initial_seed())  # seed of modules that use the global generator: dropout
            is_last = position == len(batch_specs) - 1
            with _gradient_sync(self.accelerator, self.objective, is_last):
                losses = self.objective(**self.build_batch(spec, generator))
                self.accelerator.backward(losses["loss"] / len(batch_specs))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach().float() / len(batch_specs)
        means = self._reduce_losses(sums, step)
        if self.settings.max_grad_norm:
            self.accelerator.clip_grad_norm_(list(self.train_state.parameters.values()), self.settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        if self.train_state.ema is not None:
            self.train_state.ema.update(self.train_state.parameters, step)
        return means

    def _reduce_losses(self, losses: Mapping[str, Tensor], step: int) -> dict[str, float]:
        reduced: Any = self.accelerator.reduce(torch.stack(list(losses.values())), reduction="mean")
        means = dict(zip(losses, reduced.tolist(), strict=True))
        if not torch.isfinite(reduced).all():
            raise NonFiniteError(
                f"Cannot continue training: the loss of step {step + 1} is NaN or infinite.",
                "Lower --learning-rate, or use --dtype bf16 or fp32. --resume continues from the last checkpoint.",
            )
        return means


def _gradient_sync(accelerator: Accelerator, objective: Objective, is_last_batch: bool) -> Any:
    """Synchronize the gradients of all processes only in the last batch of a step."""
    return contextlib.nullcontext() if is_last_batch else accelerator.no_sync(objective)
