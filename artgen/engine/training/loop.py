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

from artgen.engine.training import order
from artgen.engine.training.checkpoints import Learner
from artgen.engine.training.objectives import Objective
from artgen.engine.training.schedule import learning_rate
from artgen.errors import NonFiniteError
from artgen.settings import Optimisation

Assemble = Callable[[order.Pick, torch.Generator], dict[str, Any]]
"""A pick -> the arguments of the objective's forward, on the device."""


@dataclass(frozen=True)
class Step:
    """One step of the optimiser.

    Attributes:
        step: counted from 1.
        parts: of the loss, by name, each the mean over the step's batches and all processes.
        rate: the learning rate.
        seconds: that it took.
        pictures: that it saw.
    """

    step: int
    parts: Mapping[str, float]
    rate: float
    seconds: float
    pictures: int

    @property
    def loss(self) -> float:
        """What was made small."""
        return self.parts["loss"]


@dataclass(frozen=True)
class Loop:
    """A training that can be stepped.

    Attributes:
        accelerator: device, precision and processes.
        objective: as accelerate wraps it.
        learner: what changes.
        settings: how it learns.
        seed: decides everything that is drawn at random.
        sizes: of the pictures, width and height in pixels.
        assemble: makes batches.
    """

    accelerator: Accelerator
    objective: Any
    learner: Learner
    settings: Optimisation
    seed: int
    sizes: list[order.Size] = field(repr=False)
    assemble: Assemble = field(repr=False)

    def steps(self, done: int = 0) -> Iterator[Step]:
        """Trains from after step `done` to the end.

        Raises:
            NonFiniteError: the loss is NaN or infinite; the weights are those of the step before.
        """
        processes = self.accelerator.num_processes
        each = self.settings.gradient_accumulation_steps * processes
        picks = order.batches(self.sizes, self.settings.train_batch_size, self.seed)
        picks = islice(picks, done * each, None)
        for step in range(done, self.settings.train_steps):
            began = time.monotonic()
            rate = learning_rate(step, self.settings)
            mine = list(islice(picks, each))[self.accelerator.process_index :: processes]
            parts = self._learn(mine, rate, step)
            pictures = each * self.settings.train_batch_size
            yield Step(step + 1, parts, rate, time.monotonic() - began, pictures)

    def _learn(self, picks: list[order.Pick], rate: float, step: int) -> dict[str, float]:
        optimiser = self.learner.optimiser
        for group in optimiser.param_groups:
            group["lr"] = rate
        sums: dict[str, Tensor] = {}
        for place, pick in enumerate(picks):
            generator = order.generator(self.seed, pick.number)
            torch.manual_seed(generator.initial_seed())  # for what draws by itself, such as dropout
            last = place == len(picks) - 1
            with _together(self.accelerator, self.objective, last):
                parts = self.objective(**self.assemble(pick, generator))
                self.accelerator.backward(parts["loss"] / len(picks))
            for name, value in parts.items():
                sums[name] = sums.get(name, 0) + value.detach().float() / len(picks)
        means = self._means(sums, step)
        if self.settings.max_grad_norm:
            self.accelerator.clip_grad_norm_(list(self.learner.parameters.values()), self.settings.max_grad_norm)
        optimiser.step()
        optimiser.zero_grad()
        if self.learner.average is not None:
            self.learner.average.update(self.learner.parameters, step)
        return means

    def _means(self, sums: Mapping[str, Tensor], step: int) -> dict[str, float]:
        reduced: Any = self.accelerator.reduce(torch.stack(list(sums.values())), reduction="mean")
        found = dict(zip(sums, reduced.tolist(), strict=True))
        if not torch.isfinite(reduced).all():
            raise NonFiniteError(
                f"The loss of step {step + 1} is not a finite number.",
                "Lower --learning-rate, or use --dtype bf16 or fp32; --resume goes on from the last checkpoint.",
            )
        return found


def _together(accelerator: Accelerator, objective: Objective, last: bool) -> Any:
    """Gradients of all processes are put together at the last batch of a step only."""
    return contextlib.nullcontext() if last else accelerator.no_sync(objective)
