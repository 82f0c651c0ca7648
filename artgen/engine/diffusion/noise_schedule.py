"""The forward process of diffusion: how noise takes a picture over, at any time in closed form.

q(x_t | x_0) is Gaussian with mean sqrt(alpha_bar_t) x_0 and variance 1 - alpha_bar_t (Ho et al. 2020, arXiv 2006.11239,
equation 4). Needs numpy alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from PIL import Image
from torch import Tensor

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


PIXEL_HALF_RANGE = 127.5
"""Grey levels to one unit of a model, whose pictures are -1 to 1."""

LAST_SIGMA_RATIO = 0.4
"""The noise at the last step, as a share of the first's. Of what is left below it, small networks see their own errors
as much as noise: on photographs at sigma 15, 25 and 50, PSNR and perceptual distance of ten steps are better than when
the levels go down to nothing."""


@dataclass(frozen=True)
class SigmaSchedule:
    """The noise levels a model was trained for, weakest first.

    Attributes:
        sigmas: standard deviations in grey levels (0..255), one for each timestep 0, 1, 2, ...
        prediction_type: what the model predicts: epsilon, sample or v_prediction.
    """

    sigmas: np.ndarray
    prediction_type: str

    @property
    def min_sigma(self) -> float:
        """Standard deviation of the weakest noise that the model knows, in grey levels."""
        return float(self.sigmas[0])

    @property
    def max_sigma(self) -> float:
        """Standard deviation of the strongest noise that the model knows, in grey levels."""
        return float(self.sigmas[-1])

    def timestep(self, sigma: float) -> float:
        """The timestep, rarely a whole one, with noise of `sigma` grey levels; log sigma is linear between two."""
        return float(np.interp(np.log(sigma), np.log(self.sigmas), np.arange(len(self.sigmas))))

    def sigmas_for(self, sigma: float, steps: int) -> list[float]:
        """Levels for a number of steps, from `sigma` evenly down to `LAST` of it; each step ends at the next one.

        The last step ends at no noise at all, so one step is the posterior mean at `sigma`.
        """
        return [float(level) for level in np.linspace(sigma, max(LAST_SIGMA_RATIO * sigma, self.min_sigma), steps)]


def sigma_schedule(config: Mapping[str, Any], model_name: str) -> SigmaSchedule:
    """The levels that a scheduler's configuration describes; `model_name` is the model's, for messages.

    Raises:
        ModelUnavailableError: noise that is not the usual variance-preserving kind.
    """
    schedule = str(config.get("beta_schedule", ""))
    prediction = str(config.get("prediction_type") or "epsilon")
    known = schedule in ("linear", "scaled_linear", "squaredcos_cap_v2") or config.get("trained_betas") is not None
    if not known or prediction not in ("epsilon", "sample", "v_prediction"):
        raise ModelUnavailableError(
            f"{model_name} has a {config.get('_class_name', 'scheduler')} that artgen cannot read noise levels from.",
            "Use a DDPM or DDIM model, or the bundled one: leave --model out.",
        )
    # In double precision: alpha_bar of the weakest levels is 1 in fp32.
    betas = DDIMScheduler.from_config(dict(config)).betas.double().numpy()
    kept = np.cumprod(1 - betas)
    with np.errstate(divide="ignore"):
        sigmas = PIXEL_HALF_RANGE * np.sqrt((1 - kept) / kept)
    return SigmaSchedule(sigmas[np.isfinite(sigmas)], prediction)


@dataclass(frozen=True)
class NoiseSchedule:
    """The noise of one model.

    Attributes:
        alphas_cumprod: the share of the variance that is signal, for each time, (times,): 1 - noise; 0 at the last time of models
            with zero terminal SNR (Lin et al., "Common diffusion noise schedules and sample steps are flawed", WACV
            2024, arXiv 2305.08891).
        prediction_type: `epsilon` the noise, `v_prediction` the velocity (Salimans and Ho, "Progressive distillation for
            fast sampling of diffusion models", ICLR 2022), `sample` the clean latents, or `flow`, the way from clean to
            noise (Lipman et al., "Flow matching for generative modeling", ICLR 2023).
    """

    alphas_cumprod: Tensor
    prediction_type: str

    def to(self, device: torch.device) -> "NoiseSchedule":
        """The same with its numbers on a device, where nothing waits for them."""
        return replace(self, alphas_cumprod=self.alphas_cumprod.to(device))

    @property
    def num_train_timesteps(self) -> int:
        """How many there are."""
        return len(self.alphas_cumprod)

    def _alpha_sigma(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """What clean latents and noise are multiplied with, each (batch, 1, 1, 1)."""
        kept = self.alphas_cumprod.to(timesteps.device)[timesteps].view(-1, 1, 1, 1)
        if self.prediction_type == "flow":
            return 1 - self._flow_sigma(timesteps), self._flow_sigma(timesteps)
        return kept.sqrt(), (1 - kept).sqrt()

    def _flow_sigma(self, timesteps: Tensor) -> Tensor:
        return ((timesteps.float() + 1) / self.num_train_timesteps).view(-1, 1, 1, 1)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network is shown."""
        signal, amount = self._alpha_sigma(timesteps)
        return signal * latents + amount * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network shall say."""
        signal, amount = self._alpha_sigma(timesteps)
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "v_prediction":
            return signal * noise - amount * latents
        return noise - latents if self.prediction_type == "flow" else latents

    def predict_x0(self, noisy_latents: Tensor, model_output: Tensor, timesteps: Tensor) -> Tensor:
        """The clean latents that the network meant by what it said."""
        signal, amount = self._alpha_sigma(timesteps)
        if self.prediction_type == "epsilon":
            return (noisy_latents - amount * model_output) / signal.clamp(min=1e-4)
        if self.prediction_type == "v_prediction":
            return signal * noisy_latents - amount * model_output
        return noisy_latents - amount * model_output if self.prediction_type == "flow" else model_output

    def sample_timesteps(self, count: int, generator: torch.Generator) -> Tensor:
        """Times to train at, (count,): all alike; for flow the middle ones more often.

        The latter by a normal distribution's logistic, as in Esser et al., "Scaling rectified flow transformers for
        high-resolution image synthesis", ICML 2024, arXiv 2403.03206.
        """
        if self.prediction_type == "flow":
            share = torch.randn(count, generator=generator).sigmoid()
            return (share * self.num_train_timesteps).long().clamp(max=self.num_train_timesteps - 1)
        return torch.randint(0, self.num_train_timesteps, (count,), generator=generator)

    def snr(self, timesteps: Tensor) -> Tensor:
        """Signal over noise, as variances, (batch,)."""
        signal, amount = self._alpha_sigma(timesteps)
        return (signal / amount.clamp(min=1e-6)).square().flatten()

    def min_snr_weights(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Min-SNR weights of the squared error in what the network says, (batch,); ones for gamma 0 and for flow.

        Hang et al., "Efficient diffusion training via min-SNR weighting strategy", ICCV 2023, arXiv 2303.09556: in
        clean latents the error weighs min(SNR, gamma); an error in the noise is SNR, one in the velocity SNR + 1 times
        that.
        """
        if not gamma or self.prediction_type == "flow":
            return torch.ones_like(timesteps, dtype=torch.float32)
        snr = self.snr(timesteps)
        least = snr.clamp(max=gamma)
        by = {"epsilon": snr.clamp(min=1e-8), "v_prediction": snr + 1, "sample": torch.ones_like(snr)}
        return least / by[self.prediction_type]


def read_noise_schedule(scheduler: Any, model_name: str) -> NoiseSchedule:
    """The noise that a pipeline's scheduler says its model was taught with.

    Args:
        scheduler: the pipeline's own.
        model_name: of the model, for the error.

    Raises:
        ModelUnavailableError: a kind of prediction that is not known.
    """
    config = scheduler.config
    if type(scheduler).__name__.startswith("FlowMatch"):
        return NoiseSchedule(torch.linspace(1, 0, int(config.num_train_timesteps)), "flow")
    prediction = str(config.get("prediction_type", "epsilon"))
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise ModelUnavailableError(
            f"{model_name} predicts {prediction!r}, which is not trained here.", "Choose another --model."
        )
    return NoiseSchedule(DDPMScheduler.from_config(config).alphas_cumprod.float(), prediction)
