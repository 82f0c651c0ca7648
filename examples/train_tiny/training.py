"""Define the options, the timer, the learning rate and the loop of the trainings here and in `train_denoiser`."""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """Represent one training step."""

    step: int
    loss: float
    rate: float


def learning_rate(step: int, progress: float, peak: float, warm_up: int, min_factor: float) -> float:
    """Return the learning rate: a warm-up, then a cosine to `least` of the peak. `share` is the progress, 0 to 1."""
    decay = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return peak * min(1.0, (step + 1) / warm_up) * (min_factor + (1 - min_factor) * decay)


def parser(
    about: str | None, work: str, *, steps: int, batch: int, rate: float, average: float
) -> argparse.ArgumentParser:
    """Return a parser of the common options, with the defaults of one training."""
    arguments = argparse.ArgumentParser(description=about)
    arguments.add_argument("--work", type=Path, default=Path(work))
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--steps", type=int, default=steps)
    arguments.add_argument("--minutes", type=float, help="total minutes of training; instead of --steps")
    arguments.add_argument("--until", type=int, help="stop at this step; the next run resumes")
    arguments.add_argument("--batch", type=int, default=batch)
    arguments.add_argument("--rate", type=float, default=rate)
    arguments.add_argument("--average", type=float, default=average, help="EMA decay of the weights")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--threads", type=int, default=2)
    return arguments


class Training:
    """Count steps and seconds up to `options.steps` or `options.minutes`. Subclasses implement `learn`."""

    warm_up = 200
    min_factor = 0.02

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.step, self.seconds = 0, 0.0

    def train_step(self, rate: float) -> float:
        """Run one optimizer step and return its loss."""
        raise NotImplementedError

    def progress(self) -> float:
        """Return the progress of the training, 0 to 1, by steps or by time."""
        if self.options.minutes:
            return float(self.seconds / (60 * self.options.minutes))
        return float(self.step / self.options.steps)

    def is_finished(self) -> bool:
        """Return True at the end of `--steps` or `--minutes`, and at the step `--until`."""
        return self.progress() >= 1 or self.step == self.options.until

    def steps(self) -> Iterator[Step]:
        """Train to the end; yield after each step."""
        while not self.is_finished():
            start_time = time.monotonic()
            rate = learning_rate(self.step, self.progress(), self.options.rate, self.warm_up, self.min_factor)
            loss = self.train_step(rate)
            self.step += 1
            self.seconds += time.monotonic() - start_time
            yield Step(self.step, loss, rate)
