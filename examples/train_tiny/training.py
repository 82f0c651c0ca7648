"""What the trainings of this folder and of `train_denoiser` share: options, clock, learning rate and steps."""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """What a training yields after each step."""

    step: int
    loss: float
    rate: float


def learning_rate(step: int, share: float, peak: float, warm_up: int, least: float) -> float:
    """A warm-up over some steps, then a cosine down to `least` of the peak; `share` of the training done, 0 to 1."""
    left = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    return peak * min(1.0, (step + 1) / warm_up) * (least + (1 - least) * left)


def parser(
    about: str | None, work: str, *, steps: int, batch: int, rate: float, average: float
) -> argparse.ArgumentParser:
    """The options that all trainings take, with what one of them begins with."""
    words = argparse.ArgumentParser(description=about)
    words.add_argument("--work", type=Path, default=Path(work))
    words.add_argument("--device", default="cpu")
    words.add_argument("--steps", type=int, default=steps)
    words.add_argument("--minutes", type=float, help="of training; instead of --steps")
    words.add_argument("--until", type=int, help="stop at this step; started again, it goes on")
    words.add_argument("--batch", type=int, default=batch)
    words.add_argument("--rate", type=float, default=rate)
    words.add_argument("--average", type=float, default=average, help="decay of averaged weights")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--threads", type=int, default=2)
    return words


class Training:
    """Counts steps and seconds up to `options.steps` or `options.minutes`; a child says how to `learn`."""

    warm_up = 200
    least = 0.02

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.step, self.seconds = 0, 0.0

    def learn(self, rate: float) -> float:
        """One step of the optimiser; the loss before it."""
        raise NotImplementedError

    def done(self) -> float:
        """The share of the training that is behind, by steps or by the clock."""
        if self.options.minutes:
            return float(self.seconds / (60 * self.options.minutes))
        return float(self.step / self.options.steps)

    def over(self) -> bool:
        """True at the end of `--steps` or `--minutes`, and at the step `--until`."""
        return self.done() >= 1 or self.step == self.options.until

    def steps(self) -> Iterator[Step]:
        """Trains until it is over, yielding after each step."""
        while not self.over():
            begun = time.monotonic()
            rate = learning_rate(self.step, self.done(), self.options.rate, self.warm_up, self.least)
            loss = self.learn(rate)
            self.step += 1
            self.seconds += time.monotonic() - begun
            yield Step(self.step, loss, rate)
