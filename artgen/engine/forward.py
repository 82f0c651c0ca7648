"""The forward process of diffusion: how noise takes a picture over, at any time in closed form.

q(x_t | x_0) is Gaussian with mean sqrt(alpha_bar_t) x_0 and variance 1 - alpha_bar_t (Ho et al. 2020, arXiv 2006.11239,
equation 4). Needs numpy alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from artgen.errors import ModelUnavailableError

NUM_TRAIN_TIMESTEPS = 1000
"""Timesteps from the picture to noise."""

SCHEDULE_CONFIGS: dict[str, dict[str, Any]] = {
    "linear": {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    "scaled-linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "flow": {"_class_name": "FlowMatchEulerDiscreteScheduler"},
}
"""Schedules by name, in the words of diffusers' configurations: of DDPM (Ho et al. 2020), of Stable Diffusion (Rombach
et al. 2022), of Improved DDPM (Nichol and Dhariwal 2021), and the straight line of flow matching (Lipman et al. 2023).
"""


@dataclass(frozen=True)
class NoiseLevel:
    """A time t, 0 (the picture) to 1000, where a state is signal * x0 + noise * epsilon."""

    timestep: int
    alpha: float
    sigma: float

    @property
    def snr_db(self) -> float | None:
        """Signal to noise ratio in decibels, of data with variance 1; None where there is no noise, or nothing else."""
        if not self.sigma or not self.alpha:
            return None
        return 20 * math.log10(self.alpha / self.sigma)


def noise_levels(config: Mapping[str, Any], count: int) -> list[NoiseLevel]:
    """`count` evenly spaced times from 0 to 1000, 2 or more.

    Args:
        config: of a diffusers scheduler, or one of `CONFIGS`.
        count: how many.

    Raises:
        ModelUnavailableError: a schedule of another kind.
    """
    times = [round(t) for t in np.linspace(0, NUM_TRAIN_TIMESTEPS, count)]
    if str(config.get("_class_name", "")).startswith("FlowMatch"):
        return [NoiseLevel(t, 1 - t / NUM_TRAIN_TIMESTEPS, t / NUM_TRAIN_TIMESTEPS) for t in times]
    kept = np.concatenate([[1.0], np.cumprod(1 - _betas(config))])
    return [NoiseLevel(t, float(kept[t] ** 0.5), float((1 - kept[t]) ** 0.5)) for t in times]


def _betas(config: Mapping[str, Any]) -> np.ndarray:
    """The variance that each of 1000 timesteps adds, (1000,)."""
    if config.get("trained_betas") is not None:
        given = np.asarray(config["trained_betas"], np.float64)
        if given.shape == (NUM_TRAIN_TIMESTEPS,):
            return given
    start, end = float(config.get("beta_start", 0.0001)), float(config.get("beta_end", 0.02))
    match config.get("beta_schedule", "linear"):
        case "linear":
            return np.linspace(start, end, NUM_TRAIN_TIMESTEPS)
        case "scaled_linear":
            return np.asarray(np.linspace(start**0.5, end**0.5, NUM_TRAIN_TIMESTEPS) ** 2)
        case "squaredcos_cap_v2":
            kept = np.cos((np.arange(NUM_TRAIN_TIMESTEPS + 1) / NUM_TRAIN_TIMESTEPS + 0.008) / 1.008 * np.pi / 2) ** 2
            return np.asarray(np.minimum(1 - kept[1:] / kept[:-1], 0.999))
        case other:
            raise ModelUnavailableError(
                f"The noise schedule {other!r} is not known here.",
                f"Leave --model out: --schedule {'|'.join(SCHEDULE_CONFIGS)}.",
            )


def add_noise(image: Image.Image, levels: list[NoiseLevel], seed: int) -> list[Image.Image]:
    """A picture (mode RGB) at each time, under one and the same noise; values beyond black and white are cut off."""
    clean = np.asarray(image, np.float32) / 127.5 - 1
    epsilon = np.random.default_rng(seed).standard_normal(clean.shape, np.float32)
    states = (np.float32(time.alpha) * clean + np.float32(time.sigma) * epsilon for time in levels)
    return [Image.fromarray(np.rint(np.clip((state + 1) * 127.5, 0, 255)).astype(np.uint8)) for state in states]
